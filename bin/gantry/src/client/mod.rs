//! A thin client of Docker's Engine API: HTTP/1.1 over whatever [`Endpoint`] says.
//!
//! The version is agreed upon without a question of its own: the newest is used until the engine says that it is too new,
//! and says which one it has. What cannot be sent twice is preceded by a ping.

mod call;
mod connect;
mod endpoint;
mod error;
mod hijack;
mod on_demand;
mod timing;
mod tls;

pub(crate) use call::{Body, Call, segment};
pub(crate) use connect::Transport;
pub(crate) use endpoint::{DEFAULT_SOCKET, Endpoint};
pub(crate) use error::ApiError;
pub(crate) use hijack::Hijacked;
pub(crate) use timing::Timings;
pub(crate) use tls::{Files, Tls, Verify};

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use gantry_docker_api::{ApiVersion, header};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;

use call::{Payload, full};

/// The largest answer that is one JSON value, in bytes.
const MAX_ANSWER: usize = 256 << 20;
/// The largest error.
const MAX_ERROR: usize = 1 << 20;

/// How the engine is reached when it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnDemand {
    /// It is started: nobody said where it is.
    Start,
    /// It is an error.
    Fail,
}

/// The engine.
pub(crate) struct Client {
    endpoint: Endpoint,
    tls: Option<Tls>,
    on_demand: OnDemand,
    headers: BTreeMap<String, String>,
    version: Cell<ApiVersion>,
    /// Whether the version is the one of an answer, or given.
    is_agreed: Cell<bool>,
    idle: RefCell<Vec<SendRequest<Body>>>,
    pub(crate) timings: Timings,
}

impl Client {
    pub(crate) fn new(
        endpoint: Endpoint,
        tls: Option<Tls>,
        on_demand: OnDemand,
        version: Option<ApiVersion>,
        headers: BTreeMap<String, String>,
    ) -> Self {
        Self {
            endpoint,
            tls,
            on_demand,
            headers,
            version: Cell::new(version.unwrap_or(ApiVersion::MAX)),
            is_agreed: Cell::new(version.is_some()),
            idle: RefCell::default(),
            timings: Timings::default(),
        }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The version that requests are sent with.
    pub(crate) fn version(&self) -> ApiVersion {
        self.version.get()
    }

    /// Agrees upon a version, if that has not been done.
    pub(crate) async fn negotiate(&self) -> Result<ApiVersion> {
        if !self.is_agreed.get() {
            let request = self.request(Method::HEAD, "/_ping", &[], full(Bytes::new()))?;
            let (response, sender) = self.exchange(request).await?;
            self.agree(&response);
            self.keep(sender);
        }
        Ok(self.version.get())
    }

    /// Makes connections ahead of their use. One that cannot be made is made, or reported, when it is needed.
    pub(crate) async fn connect_ahead(&self, count: usize) {
        // An ssh may have questions, and one at a time is enough.
        if matches!(self.endpoint, Endpoint::Ssh { .. }) {
            return;
        }
        for _ in 0..count {
            let Ok(transport) = connect::connect(&self.endpoint, self.tls.as_ref()).await else { return };
            let Ok(sender) = self.handshake(transport).await else { return };
            self.keep(sender);
        }
    }

    /// Sends a request; the answer's head is good, its body has not been read.
    pub(crate) async fn send(&self, call: Call) -> Result<Response<Incoming>> {
        Ok(self.send_keeping(call).await?.0)
    }

    /// Sends a request, and reads the JSON of its answer.
    pub(crate) async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T> {
        let path = call.path.clone();
        let bytes = self.bytes(call).await?;
        serde_json::from_slice(&bytes).with_context(|| format!("the answer to {path} is not understood"))
    }

    /// Sends a request whose answer says nothing more.
    pub(crate) async fn unit(&self, call: Call) -> Result<()> {
        self.bytes(call).await.map(drop)
    }

    /// Sends a request, and reads its answer.
    pub(crate) async fn bytes(&self, call: Call) -> Result<Bytes> {
        let (response, sender) = self.send_keeping(call).await?;
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?;
        self.keep(sender);
        Ok(body.to_bytes())
    }

    /// Sends a request that takes over its connection.
    pub(crate) async fn hijack(&self, call: Call) -> Result<Hijacked> {
        let call = call
            .header(http::header::CONNECTION, HeaderValue::from_static("Upgrade"))
            .header(http::header::UPGRADE, HeaderValue::from_static("tcp"));
        let response = self.send(call).await?;
        Hijacked::of(response).await
    }

    async fn send_keeping(&self, call: Call) -> Result<(Response<Incoming>, SendRequest<Body>)> {
        let (call, stream) = call.take_stream();
        if let Some(body) = stream {
            self.negotiate().await?;
            let path = call.target(&self.version.get().to_string());
            let request = self.request(call.method.clone(), &path, &call.headers, body)?;
            let (response, sender) = self.exchange(request).await?;
            return check(response).await.map(|response| (response, sender));
        }
        let Payload::Bytes(bytes) = &call.payload else { unreachable!("the stream was taken") };
        loop {
            let path = call.target(&self.version.get().to_string());
            let request = self.request(call.method.clone(), &path, &call.headers, full(bytes.clone()))?;
            let clock = self.timings.begin(&call.method, &call.path);
            let (response, sender) = self.exchange(request).await?;
            self.timings.end(clock, response.headers());
            let sent = self.version.get();
            self.agree(&response);
            // An engine refuses what is too new before it does anything; an answer to HEAD does not even say so.
            if response.status() == StatusCode::BAD_REQUEST && self.version.get() < sent {
                continue;
            }
            return check(response).await.map(|response| (response, sender));
        }
    }

    fn request(
        &self,
        method: Method,
        target: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Body,
    ) -> Result<Request<Body>> {
        let mut builder = Request::builder().method(method).uri(target).header(http::header::HOST, "docker");
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        let agent = concat!("Docker-Client/", env!("CARGO_PKG_VERSION"), " (linux; gantry)");
        builder.header(http::header::USER_AGENT, agent).body(body).context("the request is malformed")
    }

    async fn exchange(&self, request: Request<Body>) -> Result<(Response<Incoming>, SendRequest<Body>)> {
        let mut sender = match self.take().await {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let response = sender.send_request(request).await.with_context(|| self.lost())?;
        Ok((response, sender))
    }

    fn lost(&self) -> String {
        format!("error during connect: the engine at {} closed the connection", self.endpoint)
    }

    /// A connection that is free.
    async fn take(&self) -> Option<SendRequest<Body>> {
        loop {
            let mut sender = self.idle.borrow_mut().pop()?;
            // What is kept was read to its end, so this waits for our own task at most.
            if sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    fn keep(&self, sender: SendRequest<Body>) {
        self.idle.borrow_mut().push(sender);
    }

    async fn connect(&self) -> Result<SendRequest<Body>> {
        let transport = self.dial().await?;
        self.handshake(transport).await
    }

    async fn handshake(&self, transport: Transport) -> Result<SendRequest<Body>> {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(transport))
            .await
            .with_context(|| self.lost())?;
        tokio::spawn(async move {
            // What goes wrong is told by the request.
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }

    /// A connection for bytes, without HTTP.
    pub(crate) async fn dial(&self) -> Result<Transport> {
        let error = match connect::connect(&self.endpoint, self.tls.as_ref()).await {
            Ok(transport) => return Ok(transport),
            Err(error) => error,
        };
        if self.on_demand == OnDemand::Start && on_demand::is_absent(&error) {
            on_demand::start(Path::new(DEFAULT_SOCKET)).await?;
            return connect::connect(&self.endpoint, None).await.with_context(|| self.unreachable(""));
        }
        let hint = match &self.endpoint {
            Endpoint::Unix(_) => " (`gantry doctor` says what is wrong)",
            _ => "",
        };
        Err(error.context(self.unreachable(hint)))
    }

    fn unreachable(&self, hint: &str) -> String {
        format!(
            "Cannot connect to the Docker daemon at {}. Is the docker daemon running?{hint}",
            self.endpoint
        )
    }

    /// Notes what the first answer says of the version.
    fn agree(&self, response: &Response<Incoming>) {
        if !self.is_agreed.replace(true) {
            let engine = response.headers().get(header::API_VERSION).and_then(|value| value.to_str().ok());
            let engine = engine.and_then(|text| text.parse().ok()).unwrap_or(ApiVersion::UNKNOWN_SERVER);
            self.version.set(engine.min(ApiVersion::MAX));
        }
    }
}

/// Makes an error of an answer that is one.
async fn check(response: Response<Incoming>) -> Result<Response<Incoming>> {
    let status = response.status();
    let is_good = status.is_success()
        || status == StatusCode::SWITCHING_PROTOCOLS
        || status == StatusCode::NOT_MODIFIED;
    if is_good {
        return Ok(response);
    }
    if status.is_redirection() {
        bail!("the engine answers with a redirection ({status}): is it one?");
    }
    let body = Limited::new(response.into_body(), MAX_ERROR).collect().await;
    let bytes = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Err(ApiError::of(status, &bytes).into())
}
