//! Asks a client for credentials over a stream of its own.

use gantry_proto_containerd::transfer::{AuthRequest, AuthResponse, AuthType};
use tokio::sync::Mutex;
use tonic::Status;

use crate::status;

use super::registry::OpenStream;

/// What a client knows of a registry. The `Debug` of it tells no secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing.
    None,
    /// A name and a password.
    Basic { username: String, password: String },
    /// An identity token: it is changed for others.
    Refresh(String),
    /// The value of an `Authorization` header.
    Header(String),
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic { .. } => "Basic(…)",
            Self::Refresh(_) => "Refresh(…)",
            Self::Header(_) => "Header(…)",
        })
    }
}

/// Asks one question at a time.
pub(crate) struct Asker(Mutex<OpenStream>);

impl Asker {
    pub(crate) fn new(stream: OpenStream) -> Self {
        Self(Mutex::new(stream))
    }

    /// Asks who we are for that host.
    ///
    /// # Errors
    /// Cancelled if the client left, InvalidArgument for what is no answer.
    pub(crate) async fn ask(&self, host: &str, reference: &str) -> Result<Answer, Status> {
        let gone = || status::cancelled("the client has closed its stream of credentials");
        let mut stream = self.0.lock().await;
        let question = AuthRequest {
            host: host.to_owned(),
            reference: reference.to_owned(),
            wwwauthenticate: Vec::new(),
        };
        if !stream.send(&question).await {
            return Err(gone());
        }
        let message = stream.incoming.message().await?.ok_or_else(gone)?;
        let answer: AuthResponse = message
            .unpack()
            .map_err(|error| status::invalid_argument(format!("credentials: {error}")))?
            .ok_or_else(|| status::invalid_argument(format!("{:?} are no credentials", message.name())))?;
        Ok(match answer.auth_type() {
            AuthType::None => Answer::None,
            AuthType::Credentials => Answer::Basic { username: answer.username, password: answer.secret },
            AuthType::Refresh => Answer::Refresh(answer.secret),
            AuthType::Header => Answer::Header(answer.secret),
        })
    }
}
