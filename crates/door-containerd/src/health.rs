//! `grpc.health.v1`: what dockerd and others wait for before they begin.

use gantry_proto_containerd::health::health_check_response::ServingStatus;
use gantry_proto_containerd::health::health_server::Health;
use gantry_proto_containerd::health::{HealthCheckRequest, HealthCheckResponse};
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::status;

/// Serves while the other end of the channel says so.
#[derive(Debug)]
pub(crate) struct HealthService {
    pub(crate) serving: watch::Receiver<bool>,
    /// The full names of the services.
    pub(crate) services: &'static [&'static str],
}

impl HealthService {
    fn answer(serving: bool) -> HealthCheckResponse {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        HealthCheckResponse { status: status.into() }
    }

    fn knows(&self, service: &str) -> bool {
        service.is_empty() || self.services.contains(&service)
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if !self.knows(&service) {
            return Err(status::not_found(format!("unknown service {service:?}")));
        }
        Ok(Response::new(Self::answer(*self.serving.borrow())))
    }

    type WatchStream = ReceiverStream<Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let known = self.knows(&request.into_inner().service);
        let mut serving = self.serving.clone();
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            let unknown = HealthCheckResponse { status: ServingStatus::ServiceUnknown.into() };
            loop {
                let now = *serving.borrow_and_update();
                let answer = if known { Self::answer(now) } else { unknown };
                if sender.send(Ok(answer)).await.is_err() {
                    return;
                }
                tokio::select! {
                    changed = serving.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt as _;

    fn service() -> (watch::Sender<bool>, HealthService) {
        let (sender, serving) = watch::channel(true);
        (sender, HealthService { serving, services: &["a.B"] })
    }

    fn request(service: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest { service: service.into() })
    }

    #[tokio::test]
    async fn a_daemon_that_ends_says_so() {
        let (sender, health) = service();
        let mut watched = health.watch(request("")).await.unwrap().into_inner();
        assert_eq!(watched.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
        sender.send(false).unwrap();
        assert_eq!(watched.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        let now = health.check(request("a.B")).await.unwrap().into_inner();
        assert_eq!(now.status(), ServingStatus::NotServing);
    }

    #[tokio::test]
    async fn unknown_services_are_not_found() {
        let (_sender, health) = service();
        let error = health.check(request("c.D")).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::NotFound);
    }
}
