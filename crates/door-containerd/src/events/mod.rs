//! `containerd.services.events.v1`.

mod fields;
mod message;

use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, unfold};
use gantry_primitives::filter::Filters;
use gantry_primitives::{ENGINE_TOPICS, Envelope, Events as Cursor, Store};
use gantry_proto_containerd::events_service::events_server::Events;
use gantry_proto_containerd::events_service::{ForwardRequest, PublishRequest, SubscribeRequest};
use gantry_proto_containerd::types;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use self::fields::EnvelopeFields;
use crate::status::{self, OrStatus as _};
use crate::{from_proto, into_proto, request};

pub(crate) struct EventsService {
    pub(crate) store: Store,
    /// Subscriptions end with it.
    pub(crate) serving: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl Events for EventsService {
    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<()>, Status> {
        let namespace = request::namespace(request.metadata())?;
        let PublishRequest { topic, event } = request.into_inner();
        let event = from_proto::required("event", event)?;
        self.store.publish(namespace, topic, event.type_url, event.value.into()).await.or_status()?;
        Ok(Response::new(()))
    }

    /// The journal gives it the time of its arrival: its order is that of the rows.
    async fn forward(&self, request: Request<ForwardRequest>) -> Result<Response<()>, Status> {
        let envelope = from_proto::required("envelope", request.into_inner().envelope)?;
        let types::Envelope { timestamp, namespace, topic, event, cursor: _ } = envelope;
        from_proto::required("timestamp", timestamp)?;
        let event = from_proto::required("event", event)?;
        let namespace = from_proto::namespace(&namespace)?;
        self.store.publish(namespace, topic, event.type_url, event.value.into()).await.or_status()?;
        Ok(Response::new(()))
    }

    type SubscribeStream = BoxStream<'static, Result<types::Envelope, Status>>;

    /// With the header `since`, what came after that cursor is sent first.
    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let since = request::since(request.metadata())?;
        let filters = Filters::parse(&request.into_inner().filters)
            .map_err(|error| status::invalid_argument(error.to_string()))?;
        let subscription = Subscription {
            events: self.store.events(since).await.or_status()?,
            filters,
            serving: self.serving.clone(),
        };
        let envelopes = unfold(Some(subscription), |subscription| async move {
            let mut subscription = subscription?;
            let next = subscription.next().await;
            let rest = next.is_ok().then_some(subscription);
            Some((next, rest))
        });
        Ok(Response::new(envelopes.boxed()))
    }
}

struct Subscription {
    events: Cursor,
    filters: Filters,
    serving: watch::Receiver<bool>,
}

impl Subscription {
    /// The next event that passes.
    ///
    /// # Errors
    /// Unavailable at the daemon's end, OutOfRange for who was too slow for the journal.
    async fn next(&mut self) -> Result<types::Envelope, Status> {
        loop {
            let envelope = tokio::select! {
                envelope = self.events.next() => envelope.or_status()?,
                _ = self.serving.wait_for(|serving| !serving) => {
                    return Err(status::unavailable("the daemon ends"));
                }
            };
            // The engine's are for its own doors: nobody else has their types.
            if envelope.topic.starts_with(ENGINE_TOPICS) {
                continue;
            }
            if self.filters.is_empty() || self.filters.passes(&EnvelopeFields(&envelope)) {
                return Ok(into_wire(&envelope));
            }
        }
    }
}

fn into_wire(envelope: &Envelope) -> types::Envelope {
    types::Envelope {
        timestamp: into_proto::timestamp(envelope.time),
        namespace: envelope.namespace.to_string(),
        topic: envelope.topic.clone(),
        event: Some(message::any(&envelope.event)),
        cursor: envelope.cursor,
    }
}
