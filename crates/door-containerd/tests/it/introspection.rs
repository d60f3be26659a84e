use gantry_door_containerd::{Code, VERSION};
use gantry_proto_containerd::health::HealthCheckRequest;
use gantry_proto_containerd::health::health_check_response::ServingStatus;
use gantry_proto_containerd::health::health_client::HealthClient;
use gantry_proto_containerd::introspection::introspection_client::IntrospectionClient;
use gantry_proto_containerd::introspection::{PluginInfoRequest, PluginsRequest};
use gantry_proto_containerd::mounts::ActivateRequest;
use gantry_proto_containerd::mounts::mounts_client::MountsClient;
use gantry_proto_containerd::version::version_client::VersionClient;
use gantry_testkit::{Need, require};

use crate::harness::{Served, refused};

#[tokio::test]
async fn snapshotters_are_found_by_the_filter_of_clients() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = IntrospectionClient::new(served.bare());
    let filters = vec!["type==io.containerd.snapshotter.v1, id==overlayfs".to_owned()];
    let found = client.plugins(PluginsRequest { filters }).await.unwrap().into_inner().plugins;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].platforms[0].os, "linux");
    assert!(found[0].exports.contains_key("root") && found[0].init_err.is_none());
    let all = client.plugins(PluginsRequest::default()).await.unwrap().into_inner().plugins;
    assert!(all.len() > 15);
    let info =
        |id: &str| PluginInfoRequest { r#type: "io.containerd.grpc.v1".into(), id: id.into(), options: None };
    assert!(client.plugin_info(info("content")).await.is_ok());
    assert_eq!(refused(client.plugin_info(info("cri")).await), Code::NotFound);
}

#[tokio::test]
async fn the_server_says_who_it_is_without_a_namespace() {
    require!(Need::Root);
    let served = Served::open().await;
    let server = IntrospectionClient::new(served.bare()).server(()).await.unwrap().into_inner();
    assert_eq!((server.uuid.as_str(), server.pid), ("u", u64::from(std::process::id())));
    assert_ne!(server.pidns, 0);
    let version = VersionClient::new(served.bare()).version(()).await.unwrap().into_inner().version;
    assert_eq!(version, VERSION);
    let service = "containerd.services.content.v1.Content".to_owned();
    let health = HealthClient::new(served.bare()).check(HealthCheckRequest { service }).await.unwrap();
    assert_eq!(health.into_inner().status(), ServingStatus::Serving);
}

#[tokio::test]
async fn usual_mounts_are_left_to_the_client() {
    require!(Need::Root);
    let served = Served::open().await;
    let request = ActivateRequest { name: "m".into(), ..Default::default() };
    let refusal = MountsClient::new(served.within("n")).activate(request).await;
    assert_eq!(refused(refusal), Code::Unimplemented);
}
