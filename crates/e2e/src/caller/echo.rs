//! Bytes over the streams of a transfer, there and back.

use gantry_proto_containerd::Any;
use gantry_proto_containerd::streaming::StreamInit;
use gantry_proto_containerd::streaming::streaming_client::StreamingClient;
use gantry_proto_containerd::transfer::{Data, ImageExportStream, ImageImportStream, WindowUpdate};
use gantry_proto_containerd::transfer_service::TransferRequest;
use gantry_proto_containerd::transfer_service::transfer_client::TransferClient;
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::Caller;

/// What the tests' stream takes ahead, in bytes.
const WINDOW: i32 = 1000;
/// The pieces in which they send, in bytes.
const PIECE: usize = 32 << 10;

impl Caller {
    /// What comes back of `bytes`, sent to be imported and taken as an export.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn echo(&self, channel: Channel, bytes: &[u8]) -> Result<Vec<u8>, tonic::Status> {
        let (to, _acknowledged) = self.stream(&channel, "there").await?;
        let (window, mut from) = self.stream(&channel, "back").await?;
        let request = self.request(TransferRequest {
            source: Some(Any::pack(&ImageImportStream { stream: "there".into(), ..Default::default() })),
            destination: Some(Any::pack(&ImageExportStream { stream: "back".into(), ..Default::default() })),
            options: None,
        });
        let mut client = TransferClient::new(channel.clone());
        let send = async move {
            for piece in bytes.chunks(PIECE) {
                let data = Any::pack(&Data { data: piece.to_vec().into() });
                if to.send(data).await.is_err() {
                    break;
                }
            }
        };
        let receive = async move {
            let mut all = Vec::new();
            let mut granted = 0;
            loop {
                // A window at a time: the sender has to wait for each.
                if all.len() == granted {
                    granted += WINDOW as usize;
                    let _ = window.send(Any::pack(&WindowUpdate { update: WINDOW })).await;
                }
                let Some(message) = from.message().await? else { return Ok(all) };
                let data: Option<Data> =
                    message.unpack().map_err(|error| tonic::Status::internal(error.to_string()))?;
                all.extend_from_slice(&data.unwrap_or_default().data);
            }
        };
        let (answer, (), received) = tokio::join!(client.transfer(request), send, receive);
        answer?;
        received
    }

    async fn stream(
        &self,
        channel: &Channel,
        id: &str,
    ) -> Result<(mpsc::Sender<Any>, tonic::Streaming<Any>), tonic::Status> {
        let (sender, outgoing) = mpsc::channel(4);
        let _ = sender.send(Any::pack(&StreamInit { id: id.to_owned() })).await;
        let request = self.request(ReceiverStream::new(outgoing));
        let mut incoming = StreamingClient::new(channel.clone()).stream(request).await?.into_inner();
        // It says that the stream can be named.
        incoming.message().await?;
        Ok((sender, incoming))
    }
}
