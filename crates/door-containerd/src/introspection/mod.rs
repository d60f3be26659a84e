//! `containerd.services.introspection.v1`: what the daemon is made of, and who it is.

mod plugin;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use gantry_primitives::filter::Filters;
use gantry_primitives::tasks::Tasks;
use gantry_proto_containerd::Any;
use gantry_proto_containerd::introspection::introspection_server::Introspection;
use gantry_proto_containerd::introspection::{
    PluginInfoRequest, PluginInfoResponse, PluginsRequest, PluginsResponse, ServerResponse,
};
use gantry_proto_containerd::types::RuntimeRequest;
use gantry_types::{Labels, Platform};
use tonic::{Request, Response, Status};

use crate::from_proto;
use crate::status::{self, OrStatus as _};

use self::plugin::Plugin;
pub(crate) use self::plugin::Snapshotter;

/// Who serves.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Of the source; may be empty.
    pub revision: String,
    /// Of the store, for ever.
    pub uuid: String,
    /// What is kept.
    pub root: PathBuf,
    /// What a reboot may take.
    pub state: PathBuf,
    /// The snapshotters that are programs of their own, by name.
    pub proxies: BTreeMap<String, Proxy>,
}

/// What the configuration says of a snapshotter that is a program of its own.
#[derive(Debug, Clone, Default)]
pub struct Proxy {
    /// The platform that it is for; the host's if nothing is said.
    pub platform: Option<Platform>,
    /// Told to whoever asks.
    pub exports: Labels,
    /// Such as `rebase`.
    pub capabilities: Vec<String>,
}

pub(crate) struct IntrospectionService {
    pub(crate) about: Arc<About>,
    pub(crate) snapshotters: Vec<Snapshotter>,
    pub(crate) tasks: Tasks,
}

impl IntrospectionService {
    fn plugins(&self) -> Vec<Plugin> {
        plugin::all(&self.about.root, &self.snapshotters)
    }

    /// What a runtime's shim says of itself.
    async fn runtime(&self, options: &Any) -> Result<Any, Status> {
        let asked = options.unpack::<RuntimeRequest>();
        let asked = asked.map_err(|error| status::invalid_argument(format!("options: {error}")))?;
        let asked = asked.ok_or_else(|| {
            status::invalid_argument(format!(
                "options: {} is no containerd.types.RuntimeRequest",
                options.name()
            ))
        })?;
        let path = asked.runtime_path;
        // Clients put the name of the runtime there, too.
        let (name, path) = if path.starts_with('/') { (String::new(), path) } else { (path, String::new()) };
        let said = self.tasks.runtime_info(&name, &path, asked.options.map(from_proto::opaque)).await;
        Ok(Any { type_url: "containerd.types.RuntimeInfo".to_owned(), value: said.or_status()?.into() })
    }
}

#[tonic::async_trait]
impl Introspection for IntrospectionService {
    async fn plugins(&self, request: Request<PluginsRequest>) -> Result<Response<PluginsResponse>, Status> {
        let filters = Filters::parse(&request.into_inner().filters)
            .map_err(|error| status::invalid_argument(error.to_string()))?;
        let all = self.plugins();
        let plugins = all.iter().filter(|plugin| filters.passes(*plugin)).map(Into::into).collect();
        Ok(Response::new(PluginsResponse { plugins }))
    }

    async fn server(&self, _: Request<()>) -> Result<Response<ServerResponse>, Status> {
        let pidns = std::fs::metadata("/proc/self/ns/pid").map(|namespace| namespace.ino());
        Ok(Response::new(ServerResponse {
            uuid: self.about.uuid.clone(),
            pid: std::process::id().into(),
            pidns: pidns.map_err(|error| status::internal(format!("/proc/self/ns/pid: {error}")))?,
            deprecations: Vec::new(),
        }))
    }

    async fn plugin_info(
        &self,
        request: Request<PluginInfoRequest>,
    ) -> Result<Response<PluginInfoResponse>, Status> {
        let request = request.into_inner();
        let all = self.plugins();
        let found = all.iter().find(|plugin| plugin.kind == request.r#type && plugin.id == request.id);
        let plugin = found.ok_or_else(|| {
            status::not_found(format!("plugin {}.{}: not found", request.r#type, request.id))
        })?;
        let extra = match request.options {
            None => None,
            Some(options) if (plugin.kind, plugin.id.as_str()) == plugin::TASKS => {
                Some(self.runtime(&options).await?)
            }
            Some(_) => {
                return Err(status::unimplemented(format!("plugin {} tells no more of itself", plugin.id)));
            }
        };
        Ok(Response::new(PluginInfoResponse { plugin: Some(plugin.into()), extra }))
    }
}
