//! A shim that speaks gRPC: Gantry's behind a bridge.
//!
//! `start` has the shim of Gantry that is beside the tests' binaries started, and a bridge that serves gRPC and passes calls on to it; the
//! bridge ends with it. Other verbs are the shim's own. It is of the tests alone.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use bytes::{Buf as _, BufMut as _};
use gantry_proto_shim::Message as _;
use gantry_proto_shim::bootstrap::BootstrapResult;
use gantry_ttrpc::client::{Client, Options};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http;
use tonic::{Request, Response, Status};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The verb by which it starts itself; after it comes the path of the shim's socket. Its standard input listens.
const BRIDGE: &str = "bridge";
/// Where bridges serve.
const SOCKETS: &str = "/run/gt-grpc";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.as_slice() {
        [verb, socket] if verb == BRIDGE => bridge(Path::new(socket)),
        words if words.last().is_some_and(|verb| verb == "start") => start(words),
        words => Err(command(words).exec().into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Gantry's shim, with the same words.
fn command(words: &[String]) -> Command {
    let own = std::env::current_exe().unwrap_or_default();
    let mut command = Command::new(own.with_file_name("containerd-shim-gantry-v2"));
    command.args(words);
    command
}

fn start(words: &[String]) -> Result<()> {
    let started = command(words).stderr(Stdio::inherit()).output()?;
    if !started.status.success() {
        return Err(format!("the shim's start: {}", started.status).into());
    }
    let said = started.stdout;
    let told = match BootstrapResult::decode(&*said) {
        Ok(result) if result.version >= 2 => result.address,
        _ => {
            let text = String::from_utf8(said)?;
            let json = serde_json::from_str::<serde_json::Value>(&text);
            let address = json.ok().and_then(|json| json["address"].as_str().map(str::to_owned));
            address.unwrap_or_else(|| text.trim().to_owned())
        }
    };
    let target = PathBuf::from(told.strip_prefix("unix://").unwrap_or(&told));
    let socket = Path::new(SOCKETS).join(target.file_name().ok_or("an address without a name")?);
    std::fs::create_dir_all(SOCKETS)?;
    if UnixStream::connect(&socket).is_err() {
        let _ = std::fs::remove_file(&socket);
        let listener: OwnedFd = UnixListener::bind(&socket)?.into();
        let mut bridge = Command::new(std::env::current_exe()?);
        bridge.arg(BRIDGE).arg(target).stdin(listener).stdout(Stdio::null()).stderr(Stdio::null());
        bridge.current_dir("/").process_group(0).spawn()?;
    }
    // containerd puts `unix://` before addresses of gRPC whether they have it or not.
    let told = serde_json::json!({ "version": 3, "address": socket, "protocol": "grpc" });
    std::io::stdout().write_all(told.to_string().as_bytes())?;
    Ok(())
}

fn bridge(target: &Path) -> Result<()> {
    let listener = UnixListener::from(std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    let mut held = UnixStream::connect(target)?;
    std::thread::spawn(move || {
        let _ = held.read(&mut [0]);
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(serve(listener, target.to_owned()))
}

async fn serve(listener: UnixListener, target: PathBuf) -> Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let target = target.clone();
        let service = tower::service_fn(move |request: http::Request<_>| {
            let call = Call { path: request.uri().path().to_owned(), target: target.clone() };
            async move {
                let mut server = tonic::server::Grpc::new(Raw);
                Ok::<_, std::convert::Infallible>(server.unary(call, request).await)
            }
        });
        tokio::spawn(async move {
            let builder = Builder::new(TokioExecutor::new()).http2_only();
            let _ = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).await;
        });
    }
}

/// A call on its way to the shim.
#[derive(Clone)]
struct Call {
    /// `/service/method`.
    path: String,
    target: PathBuf,
}

impl tonic::server::UnaryService<Vec<u8>> for Call {
    type Response = Vec<u8>;
    type Future = std::pin::Pin<
        Box<dyn Future<Output = std::result::Result<Response<Vec<u8>>, Status>> + Send + 'static>,
    >;

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        let call = self.clone();
        Box::pin(async move {
            let passed = tokio::task::spawn_blocking(move || call.pass(request)).await;
            passed.map_err(|error| Status::internal(error.to_string()))?.map(Response::new)
        })
    }
}

impl Call {
    fn pass(&self, request: Request<Vec<u8>>) -> std::result::Result<Vec<u8>, Status> {
        let metadata = |name: &str| request.metadata().get(name).and_then(|value| value.to_str().ok());
        let namespace = metadata("containerd-namespace")
            .ok_or_else(|| Status::invalid_argument("the namespace is not among the metadata"))?;
        let options = Options::default().metadata("containerd-namespace-ttrpc", namespace);
        let (service, method) = self
            .path
            .trim_start_matches('/')
            .split_once('/')
            .ok_or_else(|| Status::unimplemented(&*self.path))?;
        let unavailable = |error: std::io::Error| Status::unavailable(error.to_string());
        let client = Client::connect(&self.target).map_err(unavailable)?;
        let answer = client.call_encoded(service, method, request.get_ref().clone(), &options);
        answer.map_err(|error| match error.status() {
            Some(status) => Status::new(status.code.into(), status.message.clone()),
            None => Status::unavailable(error.to_string()),
        })
    }
}

/// Messages that are encoded already.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> std::result::Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> std::result::Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}
