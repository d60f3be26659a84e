//! `build`, by the classic builder: the context is sent as an archive, and the engine does the rest.

mod context;
mod ignore;

use std::io;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{ArgAction, Args};
use gantry_docker_api::auth::encode_configs;
use gantry_docker_api::size;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::client::Call;
use crate::command::{Failure, Verb, chain};
use crate::container::options::{labels, ulimits};
use crate::output;
use crate::progress::{Display, messages};
use crate::session::Session;
use crate::terminal;
use context::Context;

/// Build an image from a Dockerfile
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Add a custom host-to-IP mapping ("host:ip")
    #[arg(long, value_name = "LIST")]
    add_host: Vec<String>,
    /// Set build-time variables
    #[arg(long, value_name = "LIST")]
    build_arg: Vec<String>,
    /// Images to consider as cache sources
    #[arg(long, value_name = "STRINGS")]
    cache_from: Vec<String>,
    /// Set the parent cgroup for the "RUN" instructions during build
    #[arg(long, value_name = "STRING")]
    cgroup_parent: Option<String>,
    /// Compress the build context using gzip
    #[arg(long)]
    compress: bool,
    /// Limit the CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "INT")]
    cpu_period: Option<i64>,
    /// Limit the CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "INT", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short, long, value_name = "INT")]
    cpu_shares: Option<i64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "STRING")]
    cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "STRING")]
    cpuset_mems: Option<String>,
    /// Skip image verification; there is none, so this changes nothing
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Name of the Dockerfile (Default is "PATH/Dockerfile")
    #[arg(short, long, value_name = "STRING", allow_hyphen_values = true)]
    file: Option<String>,
    /// Always remove intermediate containers
    #[arg(long)]
    force_rm: bool,
    /// Write the image ID to the file
    #[arg(long, value_name = "STRING")]
    iidfile: Option<String>,
    /// Container isolation technology
    #[arg(long, value_name = "STRING")]
    isolation: Option<String>,
    /// Set metadata for an image
    #[arg(long, value_name = "LIST")]
    label: Vec<String>,
    /// Memory limit
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Swap limit equal to memory plus swap: -1 to enable unlimited swap
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    memory_swap: Option<String>,
    /// Set the networking mode for the RUN instructions during build
    #[arg(long, value_name = "STRING")]
    network: Option<String>,
    /// Do not use cache when building the image
    #[arg(long)]
    no_cache: bool,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "STRING", env = "DOCKER_DEFAULT_PLATFORM", hide_env = true)]
    platform: Option<String>,
    /// How progress is shown: it is plain, whatever this says
    #[arg(long, value_name = "STRING", hide = true)]
    progress: Option<String>,
    /// Always attempt to pull a newer version of the image
    #[arg(long)]
    pull: bool,
    /// Suppress the build output and print image ID on success
    #[arg(short, long)]
    quiet: bool,
    /// Remove intermediate containers after a successful build
    #[arg(long, action = ArgAction::Set, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    rm: bool,
    /// Security options
    #[arg(long, value_name = "STRINGS")]
    security_opt: Vec<String>,
    /// Size of "/dev/shm"
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<String>,
    /// Squash newly built layers into a single new layer
    #[arg(long)]
    squash: bool,
    /// Name and optionally a tag in the "name:tag" format
    #[arg(short, long, value_name = "LIST")]
    tag: Vec<String>,
    /// Set the target build stage to build
    #[arg(long, value_name = "STRING")]
    target: Option<String>,
    /// Ulimit options
    #[arg(long, value_name = "ULIMIT")]
    ulimit: Vec<String>,
    /// The context: a directory, a URL, or - for standard input
    #[arg(value_name = "PATH | URL | -")]
    context: String,
}

impl Verb for Build {
    async fn run(self, session: &Session) -> Result<u8> {
        if let Some(path) = &self.iidfile {
            // One of a build before must not be taken for this one's.
            let _ = std::fs::remove_file(path);
        }
        let call = self.call(&session.config()?.proxies(&session.client()?.endpoint().to_string()))?;
        let context = Context::open(&self.context, self.file.as_deref(), self.compress)?;
        let auths = session.config()?.all_auths();
        let header = HeaderValue::from_str(&encode_configs(&auths)).context("credentials")?;
        let call = call
            .query_some("dockerfile", context.dockerfile.as_deref())
            .query_some("remote", context.remote.as_deref());
        let call = call.header(HeaderName::from_static("x-registry-config"), header);
        let call = match context.body {
            Some(body) => call.stream("application/x-tar", body),
            None => call,
        };
        let response = session.client()?.send(call).await?;
        let mut id = String::new();
        let mut said = Vec::new();
        let width = terminal::is_stdout().then(|| terminal::size().map_or(80, |[_, width]| width as usize));
        let mut display = Display::new(io::stdout(), width);
        let mut hidden = Display::new(&mut said, None);
        let built = messages(response.into_body(), |message| {
            let aux = if self.quiet { hidden.show(&message)? } else { display.show(&message)? };
            if let Some(found) = aux.as_ref().and_then(|aux| aux.get("ID")).and_then(Value::as_str) {
                found.clone_into(&mut id);
            }
            Ok(())
        })
        .await;
        if self.quiet {
            match &built {
                Ok(()) => output::write(&said),
                Err(_) => output::note(String::from_utf8_lossy(&said)),
            }
        }
        built?;
        if let Some(path) = &self.iidfile {
            if id.is_empty() {
                id = String::from_utf8_lossy(&said).trim().to_owned();
            }
            ensure!(!id.is_empty(), "the engine did not tell the image's ID: {path} was not written");
            std::fs::write(path, &id).with_context(|| format!("{path} cannot be written"))?;
        }
        Ok(0)
    }
}

/// An error of what a flag says: nothing was asked for yet.
fn flag<T, E: Into<anyhow::Error>>(value: Result<T, E>, name: &str, text: &str) -> Result<T> {
    value.map_err(|error| {
        let reason = chain(&error.into());
        Failure::with(125, format!("invalid argument {text:?} for {name:?} flag: {reason}"))
    })
}

impl Build {
    /// What the flags say, which needs no context.
    fn call(&self, proxies: &[(String, String)]) -> Result<Call> {
        let bytes = |text: &Option<String>, name| {
            let bytes = text.as_deref().map(|text| flag(size::parse_binary(text), name, text));
            Ok::<_, anyhow::Error>(bytes.transpose()?.map(|bytes| bytes.to_string()))
        };
        let number = |number: Option<i64>| number.map(|number| number.to_string());
        let swap = match self.memory_swap.as_deref() {
            Some("-1") => Some("-1".to_owned()),
            _ => bytes(&self.memory_swap, "--memory-swap")?,
        };
        if !self.security_opt.is_empty() {
            bail!("the daemon on this platform does not support setting security options on build");
        }
        let mut call = Call::post("/build")
            .query("version", "1")
            .query_flag("q", self.quiet)
            .query_flag("nocache", self.no_cache)
            .query_flag("pull", self.pull)
            .query("rm", if self.rm { "1" } else { "0" })
            .query_flag("forcerm", self.force_rm)
            .query_flag("squash", self.squash)
            .query_some("memory", bytes(&self.memory, "-m, --memory")?)
            .query_some("memswap", swap)
            .query_some("cpushares", number(self.cpu_shares))
            .query_some("cpuperiod", number(self.cpu_period))
            .query_some("cpuquota", number(self.cpu_quota))
            .query_some("cpusetcpus", self.cpuset_cpus.as_deref())
            .query_some("cpusetmems", self.cpuset_mems.as_deref())
            .query_some("cgroupparent", self.cgroup_parent.as_deref())
            .query_some("shmsize", bytes(&self.shm_size, "--shm-size")?)
            .query_some("target", self.target.as_deref())
            .query_some("networkmode", self.network.as_deref())
            .query_some("isolation", self.isolation.as_deref())
            .query_some("platform", self.platform.as_deref());
        for tag in &self.tag {
            flag(crate::image::name::parse(tag), "-t, --tag", tag)?;
            call = call.query("t", tag);
        }
        for host in &self.add_host {
            let has_address = host.split_once([':', '=']).is_some_and(|(name, _)| !name.is_empty());
            let form = has_address.then_some(()).context("it is not of the form name:address");
            flag(form, "--add-host", host)?;
            call = call.query("extrahosts", host.replacen('=', ":", 1));
        }
        let json = |value: Value| value.to_string();
        if !self.cache_from.is_empty() {
            call = call.query("cachefrom", json(self.cache_from.clone().into()));
        }
        if !self.ulimit.is_empty() {
            let ulimits = flag(ulimits(&self.ulimit), "--ulimit", &self.ulimit.join(" "))?;
            call = call.query("ulimits", json(serde_json::to_value(ulimits)?));
        }
        let arguments = self.arguments(proxies);
        if !arguments.is_empty() {
            call = call.query("buildargs", json(arguments.into()));
        }
        let labels: Map<String, Value> =
            labels(&[], &self.label)?.into_iter().map(|(key, value)| (key, value.into())).collect();
        if !labels.is_empty() {
            call = call.query("labels", json(labels.into()));
        }
        Ok(call)
    }

    /// A name alone is taken from our environment; `null` takes a default away.
    fn arguments(&self, proxies: &[(String, String)]) -> Map<String, Value> {
        let mut arguments: Map<String, Value> =
            proxies.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        for argument in &self.build_arg {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Value::from(value)),
                None => (argument.as_str(), std::env::var(argument).map_or(Value::Null, Value::from)),
            };
            arguments.insert(name.to_owned(), value);
        }
        arguments
    }
}
