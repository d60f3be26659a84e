//! Whom to trust, and what to show. Nothing else in this crate knows rustls.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::{ClientCertificate, Error, Roots};

/// What tells connections to one host under different configurations apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Identity {
    pub(crate) ca: Vec<Vec<u8>>,
    pub(crate) client: Vec<ClientCertificate>,
    pub(crate) skip_verify: bool,
}

/// The certificates of [`Roots`], read when they are first needed.
#[derive(Debug)]
pub(crate) struct Trust {
    roots: Roots,
    store: OnceLock<Arc<RootCertStore>>,
}

impl Trust {
    pub(crate) fn new(roots: Roots) -> Result<Self, Error> {
        let trust = Self { roots, store: OnceLock::new() };
        if let Roots::Pem(pem) = &trust.roots {
            let mut store = RootCertStore::empty();
            add(&mut store, pem, "the root certificates")?;
            // Nobody else has it yet.
            let _ = trust.store.set(Arc::new(store));
        }
        Ok(trust)
    }

    fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(self.store.get_or_init(|| Arc::new(usual(&self.roots))))
    }

    /// The configuration for hosts of `identity`; `host` is for errors.
    pub(crate) fn configuration(&self, identity: &Identity, host: &str) -> Result<ClientConfig, Error> {
        let wrong = |problem: String| Error::Configuration { host: host.into(), problem };
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(error.to_string()))?;
        let builder = if identity.skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(Arc::clone(&provider))))
        } else if identity.ca.is_empty() {
            builder.with_root_certificates(self.store())
        } else {
            let mut store = RootCertStore::clone(&self.store());
            for pem in &identity.ca {
                add(&mut store, pem, host)?;
            }
            builder.with_root_certificates(store)
        };
        if identity.client.is_empty() {
            return Ok(builder.with_no_client_auth());
        }
        let mut keys = Vec::with_capacity(identity.client.len());
        for pair in &identity.client {
            keys.push(Arc::new(client_key(pair, &provider).map_err(wrong)?));
        }
        Ok(builder.with_client_cert_resolver(Arc::new(Shown(keys))))
    }
}

fn usual(roots: &Roots) -> RootCertStore {
    let mut store = RootCertStore::empty();
    if matches!(roots, Roots::Native) {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if store.is_empty() {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    store
}

fn add(store: &mut RootCertStore, pem: &[u8], host: &str) -> Result<(), Error> {
    let certificates = chain(pem);
    let count = certificates.as_ref().map_or(0, Vec::len);
    let added = store.add_parsable_certificates(certificates.unwrap_or_default()).0;
    if added == 0 || added < count {
        let problem = format!("of {count} certificates to be trusted, {added} can be used");
        return Err(Error::Configuration { host: host.into(), problem });
    }
    Ok(())
}

fn chain(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()
}

fn client_key(pair: &ClientCertificate, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let certificates = chain(&pair.certificate).filter(|chain| !chain.is_empty());
    let certificates = certificates.ok_or("the client's certificate is not PEM")?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.expose().as_bytes())
        .map_err(|_| "the key of the client's certificate is not PEM")?;
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|error| format!("the key of the client's certificate cannot be used: {error}"))?;
    let certified = CertifiedKey::new(certificates, key);
    match certified.keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err("the client's certificate is of another key".into())
        }
        _ => Ok(certified),
    }
}

/// The first certificate whose key can sign what the server understands.
#[derive(Debug)]
struct Shown(Vec<Arc<CertifiedKey>>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.iter().find(|key| key.key.choose_scheme(schemes).is_some()).cloned()
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Takes any certificate (`skip_verify`), but wants its owner.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
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

/// Whether a failed connection is one to a server that does not speak TLS.
pub(crate) fn is_plain_server(error: &(dyn std::error::Error + 'static)) -> bool {
    match cause_in_tls(error) {
        Some(Ok(error)) => matches!(
            error,
            rustls::Error::InvalidMessage(_)
                | rustls::Error::InappropriateMessage { .. }
                | rustls::Error::InappropriateHandshakeMessage { .. }
        ),
        Some(Err(kind)) => matches!(kind, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset),
        None => false,
    }
}

/// Whether one side does not take the other's certificate, or nothing that the other speaks: trying again changes nothing.
pub(crate) fn is_refusal(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(cause_in_tls(error), Some(Ok(_)))
}

/// The innermost error of TLS, or the kind of that of the connection below.
fn cause_in_tls<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<Result<&'a rustls::Error, io::ErrorKind>> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(Ok(error));
        }
        cause = error.source();
        if let Some(error) = error.downcast_ref::<io::Error>() {
            // It hides the error that it carries from source() and shows that one's source instead.
            match error.get_ref() {
                Some(inner) => cause = Some(inner),
                None => return Some(Err(error.kind())),
            }
        }
    }
    None
}
