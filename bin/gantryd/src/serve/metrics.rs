//! Figures for Prometheus, at `/v1/metrics` where containerd has them. The names of gRPC's are those of go-grpc-prometheus.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use gantry_door_containerd::{Code, Observer};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};

const PATH: &str = "/v1/metrics";
/// The time that a client has for the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How many clients are served at once.
const MAX_CONNECTIONS: usize = 16;
/// How many methods are told apart: their names come from clients.
const MAX_METHODS: usize = 512;
/// The type that OpenMetrics has.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    grpc_service: String,
    grpc_method: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Handled {
    grpc_service: String,
    grpc_method: String,
    grpc_code: &'static str,
}

/// Everything that is counted.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    handled: Family<Handled, Counter>,
    times: Option<Family<Named, Histogram>>,
    methods: Mutex<std::collections::BTreeSet<String>>,
    resident: Gauge<i64, std::sync::atomic::AtomicI64>,
    descriptors: Gauge<i64, std::sync::atomic::AtomicI64>,
    processor: Counter<f64, AtomicU64>,
    /// Told of every request.
    pub(crate) activity: Arc<Notify>,
}

fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 4.0, 10))
}

impl Metrics {
    /// `times`: whether the time of each method is measured, which is a dozen numbers each.
    pub(crate) fn new(times: bool, version: &str) -> Arc<Self> {
        let mut registry = Registry::default();
        let handled = Family::default();
        registry.register("grpc_server_handled", "Requests that were answered", handled.clone());
        let times = times.then(|| Family::new_with_constructor(histogram as fn() -> Histogram));
        if let Some(times) = &times {
            registry.register("grpc_server_handling_seconds", "How long requests took", times.clone());
        }
        let build = Info::new(vec![("version", version.to_owned())]);
        registry.register("gantry_build", "What runs", build);
        let (resident, descriptors, processor) = (Gauge::default(), Gauge::default(), Counter::default());
        registry.register("process_resident_memory_bytes", "Memory in use", resident.clone());
        registry.register("process_open_fds", "Open descriptors", descriptors.clone());
        registry.register("process_cpu_seconds", "Time of processors", processor.clone());
        let started: Gauge = Gauge::default();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        started.set(i64::try_from(now.as_secs()).unwrap_or_default());
        registry.register("process_start_time_seconds", "When it was started", started);
        let methods = Mutex::default();
        let registry = Mutex::new(registry);
        let activity = Arc::default();
        Arc::new(Self { registry, handled, times, methods, resident, descriptors, processor, activity })
    }

    /// All figures in the text that Prometheus reads.
    fn text(&self) -> Result<String> {
        self.look();
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    /// Asks the kernel about this process.
    fn look(&self) {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        if let Some(pages) = pages.split(' ').nth(1).and_then(|text| text.parse::<i64>().ok()) {
            self.resident.set(pages * i64::try_from(rustix::param::page_size()).unwrap_or_default());
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            self.descriptors.set(i64::try_from(entries.count()).unwrap_or_default());
        }
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let used = Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default());
        self.processor.inc_by((used.as_secs_f64() - self.processor.get()).max(0.0));
    }

    /// The names to count a method under; what nobody knows is one.
    fn method(&self, path: &str) -> Named {
        let mut methods = self.methods.lock().unwrap_or_else(PoisonError::into_inner);
        if methods.len() < MAX_METHODS && !methods.contains(path) {
            methods.insert(path.to_owned());
        }
        let known = methods.contains(path);
        let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
        match known {
            true => Named { grpc_service: service.to_owned(), grpc_method: method.to_owned() },
            false => Named { grpc_service: "other".to_owned(), grpc_method: "other".to_owned() },
        }
    }
}

impl Observer for Metrics {
    fn answered(&self, method: &str, code: Code, took: Duration) {
        self.activity.notify_one();
        tracing::debug!(method, ?code, took_us = took.as_micros(), "answered");
        // A method that does not exist is counted, but not by its name.
        let labels = self.method(if code == Code::Unimplemented { "other/other" } else { method });
        if let Some(times) = &self.times {
            times.get_or_create(&labels).observe(took.as_secs_f64());
        }
        let Named { grpc_service, grpc_method } = labels;
        let handled = Handled { grpc_service, grpc_method, grpc_code: name(code) };
        self.handled.get_or_create(&handled).inc();
    }
}

/// The name of a code as go-grpc-prometheus has it.
const fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

/// Serves the figures until it is dropped.
pub(crate) async fn serve(metrics: Arc<Metrics>, address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen at {address}"))?;
    tracing::info!(%address, "serving metrics");
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await?;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for metrics");
                tokio::time::sleep(super::ACCEPT_PAUSE).await;
                continue;
            }
        };
        let metrics = metrics.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&metrics, &request);
                async move { answer }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
            if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a client of the metrics");
            }
            drop(place);
        });
    }
}

fn answer(metrics: &Metrics, request: &Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let plain = |status, text: &'static str| Ok(Response::builder().status(status).body(Full::from(text))?);
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, PATH) => {
            Ok(Response::builder().header("content-type", CONTENT_TYPE).body(Full::from(metrics.text()?))?)
        }
        (_, PATH) => plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n"),
        _ => plain(StatusCode::NOT_FOUND, "see /v1/metrics\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_method_and_code() {
        let metrics = Metrics::new(true, "1");
        metrics.answered("/a.B/Get", Code::Ok, Duration::from_millis(1));
        metrics.answered("/a.B/Get", Code::NotFound, Duration::from_millis(1));
        metrics.answered("/made.Up/Name", Code::Unimplemented, Duration::ZERO);
        let text = metrics.text().unwrap();
        for line in [
            r#"grpc_server_handled_total{grpc_service="a.B",grpc_method="Get",grpc_code="OK"} 1"#,
            r#"grpc_server_handled_total{grpc_service="a.B",grpc_method="Get",grpc_code="NotFound"} 1"#,
            r#"grpc_service="other",grpc_method="other",grpc_code="Unimplemented"} 1"#,
            "process_open_fds",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("made.Up"));
    }

    #[test]
    fn names_that_clients_make_up_are_bounded() {
        let metrics = Metrics::new(false, "1");
        for number in 0..2 * MAX_METHODS {
            metrics.answered(&format!("/a.B/M{number}"), Code::Ok, Duration::ZERO);
        }
        assert!(metrics.text().unwrap().matches("grpc_service=").count() <= MAX_METHODS + 1);
    }
}
