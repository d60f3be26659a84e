//! Traces by OpenTelemetry: spans go to a collector in the background, by OTLP over HTTP.
//!
//! ```text
//!   door: a span a request ─┐
//!   store: pull, fetch, … ──┴─► a bounded queue ─► a thread ─► tokio: POST /v1/traces
//!                               full: spans are lost
//! ```
//! Nothing waits for the collector, but the end of the daemon for a while. Without one, none of this exists.

mod collector;
mod report;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use gantry_config::{Endpoint, Tracing};
use gantry_door_containerd::{Code, HeaderMap, Observer};
use gantry_primitives::SPANS;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Sampler, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

use self::collector::Collector;
use self::report::Reported;
use super::metrics::Metrics;

/// Where traces go below a collector's URL.
const PATH: &str = "/v1/traces";
/// How long the end of the daemon waits for the collector.
const FLUSH: Duration = Duration::from_secs(3);
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const DISABLED: &str = "OTEL_SDK_DISABLED";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";

/// What sends spans.
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    /// What moves the bytes, once there is one.
    runtime: Arc<OnceLock<Handle>>,
}

impl Traces {
    /// Begins, if the configuration or the environment names a collector.
    ///
    /// # Errors
    /// What of the environment's is no URL, or nothing that this build can do.
    pub(crate) fn start(config: &Tracing) -> Result<Option<Self>> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some(endpoint) = endpoint(config, variable)? else { return Ok(None) };
        let runtime = Arc::default();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint.as_str())
            .with_http_client(Collector::new(endpoint.is_tls(), Arc::clone(&runtime))?)
            .build()
            .context("the collector of traces")?;
        let processor = BatchSpanProcessor::builder(Reported::new(exporter)).build();
        let mut resource =
            Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        if variable(SERVICE_NAME).is_none() {
            resource = resource.with_service_name(config.service_name.clone());
        }
        let mut provider =
            SdkTracerProvider::builder().with_span_processor(processor).with_resource(resource.build());
        if config.sampling_ratio < 1.0 {
            let ratio = Sampler::TraceIdRatioBased(config.sampling_ratio);
            provider = provider.with_sampler(Sampler::ParentBased(Box::new(ratio)));
        }
        Ok(Some(Self { provider: provider.build(), runtime }))
    }

    /// What takes spans out of the program.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("gantryd"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(Targets::new().with_target(SPANS, LevelFilter::TRACE))
    }

    /// From now on there is a runtime. What was to be sent before waits.
    pub(crate) fn run_on(&self, runtime: &Handle) {
        // Set once, by the only caller.
        let _ = self.runtime.set(runtime.clone());
    }

    /// Sends what is left, within a time limit. Blocks; the runtime has to be there still.
    pub(crate) fn end(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH) {
            tracing::warn!(%error, "the last spans are lost");
        }
    }
}

/// Where traces go: the configuration comes before the environment.
fn endpoint(config: &Tracing, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Endpoint>> {
    if variable(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    if let Some(endpoint) = &config.endpoint {
        return Ok(Some(endpoint.clone().or_path(PATH)));
    }
    let parse = |name: &str, url: &str| {
        Endpoint::parse(url).with_context(|| format!("{name} is {url:?}, and has to be an http or https URL"))
    };
    match (variable(TRACES_ENDPOINT), variable(ENDPOINT)) {
        (Some(url), _) => parse(TRACES_ENDPOINT, &url).map(Some),
        (None, Some(url)) => parse(ENDPOINT, &format!("{}{PATH}", url.trim_end_matches('/'))).map(Some),
        (None, None) => Ok(None),
    }
}

/// Tells the metrics of requests, and has their spans go on with the traces of whoever asks.
pub(crate) struct Traced(pub(crate) Arc<Metrics>);

impl Observer for Traced {
    fn began(&self, span: &Span, headers: &HeaderMap) {
        let caller =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
        if let Err(error) = span.set_parent(caller) {
            tracing::debug!(%error, "a trace of its own");
        }
    }

    fn answered(&self, method: &str, code: Code, took: Duration) {
        self.0.answered(method, code, took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: Option<&str>, variables: &[(&str, &str)], expect: Option<&str>) {
        let config = Tracing { endpoint: key.and_then(Endpoint::parse), ..Tracing::default() };
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let found = endpoint(&config, variable).unwrap();
        assert_eq!(found.as_ref().map(Endpoint::as_str), expect, "{key:?} {variables:?}");
    }

    #[test]
    fn the_key_comes_before_the_environment() {
        let (key, both) = ("http://k:1", [(ENDPOINT, "http://e:2/x/"), (TRACES_ENDPOINT, "http://t:3")]);
        check(None, &[], None);
        check(Some(key), &both, Some("http://k:1/v1/traces"));
        check(None, &both, Some("http://t:3"));
        check(None, &both[..1], Some("http://e:2/x/v1/traces"));
        check(Some(key), &[(DISABLED, "True")], None);
    }

    #[test]
    fn a_variable_that_is_no_url_is_named() {
        let variable = |name: &str| (name == ENDPOINT).then(|| "collector:4317".to_owned());
        let error = endpoint(&Tracing::default(), variable).unwrap_err();
        assert!(error.to_string().contains(ENDPOINT), "{error}");
    }
}
