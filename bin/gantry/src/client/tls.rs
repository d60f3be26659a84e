//! TLS to the engine: `--tlsverify` checks its certificate against `ca.pem`, `--tls` alone only encrypts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Whose certificate is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verify {
    /// One that `ca.pem` signed.
    Engine,
    /// Any.
    Nobody,
}

/// Files of certificates.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// What a handshake needs.
pub(crate) struct Tls(TlsConnector);

impl Tls {
    pub(crate) fn load(files: &Files, verify: Verify) -> Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .context("TLS has no protocol version")?;
        let builder = match verify {
            Verify::Engine => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(&files.ca)? {
                    roots.add(certificate).with_context(|| format!("{} is no CA", files.ca.display()))?;
                }
                builder.with_root_certificates(roots)
            }
            Verify::Nobody => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(TakesAny(provider)))
            }
        };
        let is_client_known = files.cert.exists() || files.key.exists();
        let config = if is_client_known {
            let key = PrivateKeyDer::from_pem_file(&files.key)
                .with_context(|| format!("could not read the key {}", files.key.display()))?;
            builder
                .with_client_auth_cert(certificates(&files.cert)?, key)
                .with_context(|| format!("{} and {} do not fit", files.cert.display(), files.key.display()))?
        } else {
            builder.with_no_client_auth()
        };
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).context("the host is no name for TLS")?;
        self.0.connect(name, stream).await.context("TLS handshake failed")
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let what = || format!("could not read the certificate {}", path.display());
    CertificateDer::pem_file_iter(path).with_context(what)?.collect::<Result<_, _>>().with_context(what)
}

/// For `--tls` without `--tlsverify`: whoever answers is taken for the engine, as Docker does.
#[derive(Debug)]
struct TakesAny(Arc<CryptoProvider>);

impl ServerCertVerifier for TakesAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
