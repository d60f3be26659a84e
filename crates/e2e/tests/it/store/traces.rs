//! Traces by OpenTelemetry: what a collector is sent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gantry_e2e::{Access, Gantryd, ServerPull, on_reference, require_engine};
use gantry_testkit::{skip_test, until_within};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::sample;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// Spans are sent every five seconds.
const PATIENCE: Duration = Duration::from_secs(40);

/// A collector that keeps what it is sent.
struct Collector {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests: Arc<Mutex<Vec<_>>> = Arc::default();
        let kept = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                while let Some(request) = stream.as_ref().ok().and_then(receive) {
                    kept.lock().unwrap().push(request);
                }
            }
        });
        Self { address, requests }
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self.requests.lock().unwrap();
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    fn service_names(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        let resources = resources.filter_map(|spans| spans.resource.as_ref());
        let attributes = resources.flat_map(|resource| &resource.attributes);
        let names = attributes.filter(|attribute| attribute.key == "service.name");
        names.map(|name| format!("{:?}", name.value.as_ref().unwrap().value.as_ref().unwrap())).collect()
    }
}

/// One request of a connection, answered; None at its end.
fn receive(stream: &TcpStream) -> Option<ExportTraceServiceRequest> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_ascii_lowercase());
    }
    assert_eq!(head[0], "post /v1/traces http/1.1");
    assert!(head.contains(&"content-type: application/x-protobuf".to_owned()), "{head:?}");
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let mut stream = stream;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    Some(ExportTraceServiceRequest::decode(body.as_slice()).unwrap())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, key: &str) -> Option<Value> {
    span.attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value
}

fn text(span: &Span, key: &str) -> String {
    match attribute(span, key) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key} of {} is {other:?}", span.name),
    }
}

#[test]
fn a_pull_is_part_of_its_callers_trace() {
    require_engine!("ctr");
    require_engine!("docker-registry");
    if on_reference() {
        skip_test!("its spans are others");
    }
    let collector = Collector::start();
    let config = format!(
        "[plugins.\"io.containerd.tracing.processor.v1.otlp\"]\nendpoint = \"http://{}\"\n\
         [plugins.\"io.containerd.internal.v1.tracing\"]\nservice_name = \"tested\"\nsampling_ratio = 0.0\n",
        collector.address
    );
    let daemon = Gantryd::with_config("gt-traces", &config);
    let (_, name) = sample(Access::Plain, "busybox");
    let pull = |name: &str| {
        ServerPull { trace: Some(TRACEPARENT), ..ServerPull::new("traced", name) }.run(daemon.socket())
    };
    pull(&name).unwrap_or_else(|error| panic!("{error}\n{}", daemon.log()));
    let missing = pull(&format!("{name}-not")).unwrap_err();
    let spans = until_within(PATIENCE, "the spans of both pulls", || {
        let spans = collector.spans();
        let requests = spans.iter().filter(|span| span.name.ends_with("/Transfer")).count();
        (requests == 2).then_some(spans)
    });
    // What nobody asked to be traced is not, with that ratio.
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:#?}");
    assert!(collector.service_names().iter().all(|name| name == "StringValue(\"tested\")"));

    let mut requests: Vec<&Span> = spans.iter().filter(|span| hex(&span.parent_span_id) == PARENT).collect();
    requests.sort_by_key(|span| span.start_time_unix_nano);
    let [pulled, failed] = requests[..] else { panic!("{spans:#?}") };
    assert_eq!(pulled.name, "containerd.services.transfer.v1.Transfer/Transfer");
    assert_eq!(text(pulled, "rpc.system"), "grpc");
    assert_eq!(text(pulled, "rpc.service"), "containerd.services.transfer.v1.Transfer");
    assert_eq!(text(pulled, "rpc.method"), "Transfer");
    assert_eq!(text(pulled, "containerd.namespace"), "traced");
    assert_eq!(attribute(pulled, "rpc.grpc.status_code"), Some(Value::IntValue(0)));
    assert_eq!(attribute(failed, "rpc.grpc.status_code"), Some(Value::IntValue(5)), "{missing}");

    let children = |parent: &Span, name: &str| -> Vec<&Span> {
        let is_child = |span: &&Span| span.parent_span_id == parent.span_id && span.name == name;
        spans.iter().filter(is_child).collect()
    };
    let [pull] = children(pulled, "pull")[..] else { panic!("{spans:#?}") };
    assert!(text(pull, "image.ref").contains("samples:busybox"));
    assert_eq!(children(pull, "resolve").len(), 1);
    assert!(!children(pull, "commit").is_empty());
    // A manifest, a configuration, and layers; each layer is applied on its way.
    let fetched = children(pull, "fetch");
    assert!(fetched.len() >= 3, "{spans:#?}");
    let applied: Vec<&Span> = fetched.iter().flat_map(|fetch| children(fetch, "apply")).collect();
    assert!(!applied.is_empty() || !children(pull, "apply").is_empty(), "{spans:#?}");
    assert!(fetched.iter().all(|span| text(span, "layer.media.digest").starts_with("sha256:")));
    let [pull] = children(failed, "pull")[..] else { panic!("{spans:#?}") };
    assert!(!pull.status.as_ref().unwrap().message.is_empty());
}
