//! `gantryd gc`: a collection at once, or what it would do.
//!
//! A daemon that runs is asked over its socket: the deletion of a lease with `sync` returns when the collector has run and the
//! bytes are gone. Without one, the store is opened for it. The dry run only reads, beside whoever has the store.

use std::io::{self, BufWriter, Write};

use anyhow::{Context, Result};
use gantry_config::Config;
use gantry_primitives::{Item, Plan};
use gantry_proto_containerd::header;
use gantry_proto_containerd::leases::leases_client::LeasesClient;
use gantry_proto_containerd::leases::{CreateRequest, DeleteRequest};
use gantry_proto_containerd::namespaces::ListNamespacesRequest;
use gantry_proto_containerd::namespaces::namespaces_client::NamespacesClient;
use serde::Serialize;
use tonic::transport::{Channel, Endpoint};

use crate::command::{Format, Options};
use crate::serve::place::{self, Place};
use crate::serve::settings::Settings;
use crate::serve::store;

/// Collects, and returns when the bytes are gone.
pub(crate) fn collect(options: &Options) -> Result<()> {
    let settings = Settings::load(options)?;
    let config = &settings.config;
    let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
    let root = config.store.root.display();
    if let Ok(pid) = place::holder(&config.store.root) {
        runtime.block_on(ask(config)).with_context(|| format!("process {pid}, which has {root}"))?;
        println!("process {pid} has collected {root}");
        return Ok(());
    }
    let database = config.store.root.join(gantry_primitives::DATABASE);
    database.metadata().with_context(|| format!("there is no store at {root}"))?;
    let _place = Place::take(&config.store.root, settings.state())?;
    let collected = runtime.block_on(async {
        let store = store::open(config, None).await?;
        let collected = store.collect().await?;
        tokio::task::spawn_blocking(move || store.close()).await??;
        anyhow::Ok(collected)
    })?;
    println!("{} records were removed from {root}, {} stay", collected.removed(), collected.kept);
    Ok(())
}

/// Has the daemon collect. A lease has to be in a namespace; where there is none, nothing can be collected either.
async fn ask(config: &Config) -> Result<()> {
    let address = &config.grpc.address;
    let uri = format!("unix:{}", address.display());
    let channel = Endpoint::from_shared(uri)?.connect().await;
    let channel = channel.with_context(|| format!("cannot connect to {}", address.display()))?;
    let namespaces = NamespacesClient::new(channel.clone()).list(ListNamespacesRequest::default()).await?;
    match namespaces.into_inner().namespaces.first() {
        Some(namespace) => ask_in(channel, &namespace.name).await,
        None => Ok(()),
    }
}

async fn ask_in(channel: Channel, namespace: &str) -> Result<()> {
    let mut leases = LeasesClient::with_interceptor(channel, |mut request: tonic::Request<()>| {
        let name = namespace.parse().map_err(|_| tonic::Status::invalid_argument("namespace"))?;
        request.metadata_mut().insert(header::NAMESPACE, name);
        Ok(request)
    });
    let id = format!("gantryd-gc-{}", std::process::id());
    leases.create(CreateRequest { id: id.clone(), ..CreateRequest::default() }).await?;
    leases.delete(DeleteRequest { id, sync: true }).await?;
    Ok(())
}

/// Prints what a collection would do.
pub(crate) fn dry_run(options: &Options, format: Format) -> Result<()> {
    let config = Settings::load(options)?.config;
    let plan = gantry_primitives::plan(&config.store.root);
    let plan =
        plan.with_context(|| format!("cannot look at the store at {}", config.store.root.display()))?;
    let mut out = BufWriter::new(io::stdout().lock());
    let written = match format {
        Format::Text => print_text(&plan, &mut out),
        Format::Json => print_json(&plan, &mut out),
    };
    written.and_then(|()| out.flush()).context("cannot write to standard output")
}

fn print_text(plan: &Plan, out: &mut impl Write) -> io::Result<()> {
    for (verb, items) in [("remove", &plan.removed), ("keep", &plan.kept)] {
        for (Item { kind, namespace, name }, why) in items {
            // The space of shared image names has no name.
            let namespace = if namespace.is_empty() { "-" } else { namespace };
            writeln!(out, "{verb:<6}  {kind:<8}  {namespace}  {name}  ({why})")?;
        }
    }
    writeln!(out, "{} to remove, {} to keep", plan.removed.len(), plan.kept.len())
}

/// One record, as it is printed.
#[derive(Serialize)]
struct Line<'a> {
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    why: &'a str,
}

/// What is printed.
#[derive(Serialize)]
struct Lines<'a> {
    remove: Vec<Line<'a>>,
    keep: Vec<Line<'a>>,
}

fn print_json(plan: &Plan, out: &mut impl Write) -> io::Result<()> {
    let lines =
        Lines { remove: plan.removed.iter().map(line).collect(), keep: plan.kept.iter().map(line).collect() };
    serde_json::to_writer_pretty(&mut *out, &lines)?;
    writeln!(out)
}

fn line((item, why): &(Item, String)) -> Line<'_> {
    Line { kind: item.kind, namespace: &item.namespace, name: &item.name, why }
}
