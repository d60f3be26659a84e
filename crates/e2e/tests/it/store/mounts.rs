use std::path::Path;
use std::time::Duration;

use gantry_e2e::{Gantryd, on_reference, require_engine};
use gantry_proto_containerd::header;
use gantry_proto_containerd::mounts::mounts_client::MountsClient;
use gantry_proto_containerd::mounts::{
    ActivateRequest, DeactivateRequest, InfoRequest, ListRequest, UpdateRequest,
};
use gantry_proto_containerd::types::{ActivationInfo, Mount};
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

/// A client of the service; `ctr` has none before 2.2.
async fn client(socket: &Path) -> MountsClient<Channel> {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://daemon").timeout(Duration::from_secs(60));
    MountsClient::new(endpoint.connect_with_connector(connector).await.expect("a connection"))
}

fn request<T>(message: T, lease: Option<&'static str>) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(header::NAMESPACE, "mounts".parse().unwrap());
    if let Some(lease) = lease {
        request.metadata_mut().insert(header::LEASE, lease.parse().unwrap());
    }
    request
}

fn activation(name: &str, temporary: bool) -> ActivateRequest {
    let tmpfs = Mount { r#type: "tmpfs".into(), source: "tmpfs".into(), ..Mount::default() };
    ActivateRequest { name: name.into(), mounts: vec![tmpfs], temporary, ..ActivateRequest::default() }
}

async fn names(client: &mut MountsClient<Channel>, filters: &[&str]) -> Vec<String> {
    let filters = filters.iter().map(|&filter| filter.to_owned()).collect();
    let mut all = client.list(request(ListRequest { filters }, None)).await.unwrap().into_inner();
    let mut names = Vec::new();
    while let Some(message) = all.message().await.unwrap() {
        names.extend(message.info.map(|info| info.name));
    }
    names
}

#[test]
fn a_client_has_the_daemon_mount_and_unmount() {
    require_engine!("ctr");
    if on_reference() {
        // containerd has the service since 2.2.
        return;
    }
    let daemon = Gantryd::new("gt-mounts");
    let tenant = daemon.namespace("mounts");
    tenant.ctr(["leases", "create", "--id", "held", "--expires", "0"]).run().ok();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let point = runtime.block_on(async {
        let mut client = client(daemon.socket()).await;
        let refused = client.activate(request(activation("kept", false), None)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        let made = client.activate(request(activation("kept", true), None)).await.unwrap();
        let made = made.into_inner().info.unwrap();
        assert_eq!(made.system[0].source, made.active[0].mount_point);
        let info = client.info(request(InfoRequest { name: "kept".into() }, None)).await.unwrap();
        assert_eq!(info.into_inner().info, Some(made.clone()));
        let leased = client.activate(request(activation("leased", true), Some("held"))).await.unwrap();
        assert_eq!(daemon.mounts().len(), 2);
        let labels = [("a".to_owned(), "b".to_owned())].into();
        let info = ActivationInfo { name: "kept".into(), labels, ..ActivationInfo::default() };
        let update = UpdateRequest { info: Some(info), update_mask: None };
        let updated = client.update(request(update, None)).await.unwrap().into_inner().info.unwrap();
        assert_eq!(updated.labels["a"], "b");
        assert_eq!(names(&mut client, &[]).await, ["kept", "leased"]);
        assert_eq!(names(&mut client, &["labels.a==b"]).await, ["kept"]);
        assert!(leased.into_inner().info.is_some());
        made.active[0].mount_point.clone()
    });
    tenant.ctr(["leases", "rm", "--sync", "held"]).run().ok();
    daemon.settles("the mount of the lease to go", || daemon.mounts().len() == 1);
    daemon.kill();
    assert_eq!(daemon.mounts(), [point]);
    daemon.start();
    runtime.block_on(async {
        let mut client = client(daemon.socket()).await;
        assert_eq!(names(&mut client, &[]).await, ["kept"]);
        client.deactivate(request(DeactivateRequest { name: "kept".into() }, None)).await.unwrap();
        assert!(names(&mut client, &[]).await.is_empty());
    });
    assert!(daemon.mounts().is_empty());
}
