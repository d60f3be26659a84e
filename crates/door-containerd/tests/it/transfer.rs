use std::io::{Read as _, Write as _};

use gantry_door_containerd::Code;
use gantry_proto_containerd::images::images_client::ImagesClient;
use gantry_proto_containerd::images::{GetImageRequest, ListImagesRequest};
use gantry_proto_containerd::streaming::StreamInit;
use gantry_proto_containerd::streaming::streaming_client::StreamingClient;
use gantry_proto_containerd::transfer::{
    Data, ImageExportStream, ImageImportStream, ImageReference, ImageStore, Progress, ReadStream,
    WindowUpdate,
};
use gantry_proto_containerd::transfer_service::transfer_client::TransferClient;
use gantry_proto_containerd::transfer_service::{TransferOptions, TransferRequest};
use gantry_proto_containerd::{Any, Message, Name};
use gantry_testkit::{Need, require};
use gantry_types::Digest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::harness::{Served, refused};

/// A client's end of a stream.
struct Stream {
    outgoing: mpsc::Sender<Any>,
    incoming: Streaming<Any>,
}

impl Stream {
    async fn open(served: &Served, id: &str) -> Result<Self, Status> {
        let (outgoing, receiver) = mpsc::channel(4);
        outgoing.send(Any::pack(&StreamInit { id: id.into() })).await.expect("room");
        let mut client = StreamingClient::new(served.within("n"));
        let mut incoming = client.stream(ReceiverStream::new(receiver)).await?.into_inner();
        let first = incoming.message().await?.expect("an answer");
        assert_eq!(first, Any::empty());
        Ok(Self { outgoing, incoming })
    }

    /// Sends bytes as containerd's clients do, never more than there is room for.
    async fn send(mut self, bytes: &[u8]) {
        let mut window = 0;
        for piece in bytes.chunks(32 << 10) {
            while window < piece.len() {
                let update = self.incoming.message().await.expect("an answer").expect("a window");
                window +=
                    update.unpack::<WindowUpdate>().expect("an answer").expect("an answer").update as usize;
            }
            window -= piece.len();
            self.outgoing.send(Any::pack(&Data { data: piece.to_vec().into() })).await.expect("the stream");
        }
        // Its own side only: whoever ends both takes back what is under way.
        drop(self.outgoing);
        while let Ok(Some(_)) = self.incoming.message().await {}
    }

    /// Takes bytes with a window of 64 KiB.
    async fn receive(mut self) -> Vec<u8> {
        const WINDOW: i32 = 64 << 10;
        let (mut bytes, mut window) = (Vec::new(), 0);
        loop {
            if window < WINDOW {
                // The other side may have ended.
                let _ = self.outgoing.send(Any::pack(&WindowUpdate { update: WINDOW })).await;
                window += WINDOW;
            }
            let Some(any) = self.incoming.message().await.expect("an answer") else { return bytes };
            let data = any.unpack::<Data>().expect("an answer").expect("an answer").data;
            window -= data.len() as i32;
            assert!(window >= 0, "more than there is room for");
            bytes.extend_from_slice(&data);
        }
    }

    async fn progress(mut self) -> Vec<Progress> {
        let mut steps = Vec::new();
        while let Some(any) = self.incoming.message().await.expect("an answer") {
            steps.push(any.unpack().expect("an answer").expect("an answer"));
        }
        steps
    }
}

async fn transfer<S, D>(served: &Served, from: S, to: D, progress: &str) -> Result<(), Status>
where
    S: Message + Name,
    D: Message + Name,
{
    let request = TransferRequest {
        source: Some(Any::pack(&from)),
        destination: Some(Any::pack(&to)),
        options: Some(TransferOptions { progress_stream: progress.into() }),
    };
    TransferClient::new(served.within("n")).transfer(request).await.map(drop)
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// An OCI layout with one image: an artifact, which has no layers to unpack.
fn archive(payload: &[u8]) -> Vec<u8> {
    let config = b"{}";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"a/b","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"text/plain","digest":"{}","size":{}}}]}}"#,
        Digest::sha256(config),
        config.len(),
        Digest::sha256(payload),
        payload.len()
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":{},"annotations":{{"org.opencontainers.image.ref.name":"v1"}}}}]}}"#,
        Digest::sha256(manifest.as_bytes()),
        manifest.len()
    );
    let mut tar = tar::Builder::new(Vec::new());
    let files: [(&str, &[u8]); 5] = [
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
        ("index.json", index.as_bytes()),
        (&blob_path(&Digest::sha256(config)), config),
        (&blob_path(&Digest::sha256(payload)), payload),
        (&blob_path(&Digest::sha256(manifest.as_bytes())), manifest.as_bytes()),
    ];
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).expect("an answer");
    }
    tar.into_inner().expect("an answer")
}

#[tokio::test]
async fn an_archive_comes_in_and_goes_out_by_streams() {
    require!(Need::Root);
    let served = Served::open().await;
    let payload: Vec<u8> = (0..9_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive(&payload)).unwrap();
    let archive = gzip.finish().unwrap();

    let prefix = ImageReference { name: "h/i".into(), is_prefix: true, ..Default::default() };
    let to = ImageStore { extra_references: vec![prefix], ..Default::default() };
    let stream = Stream::open(&served, "import").await.unwrap();
    let progress = Stream::open(&served, "progress").await.unwrap();
    let from = ImageImportStream { stream: "import".into(), ..Default::default() };
    let (imported, (), steps) =
        tokio::join!(transfer(&served, from, to, "progress"), stream.send(&archive), progress.progress());
    imported.unwrap();
    assert_eq!(steps.first().map(|step| step.event.as_str()), Some("Importing"));
    assert!(steps.iter().any(|step| step.event == "saved" && step.name == "h/i:v1"), "{steps:?}");
    let get = GetImageRequest { name: "h/i:v1".into() };
    ImagesClient::new(served.within("n")).get(get).await.unwrap();

    let stream = Stream::open(&served, "export").await.unwrap();
    let from = ImageStore { name: "h/i:v1".into(), ..Default::default() };
    let to = ImageExportStream { stream: "export".into(), all_platforms: true, ..Default::default() };
    let (exported, bytes) = tokio::join!(transfer(&served, from, to, ""), stream.receive());
    exported.unwrap();
    let mut found = Vec::new();
    for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path_bytes().ends_with(Digest::sha256(&payload).hex().as_bytes()) {
            entry.read_to_end(&mut found).unwrap();
        }
    }
    assert!(found == payload, "the payload comes out as it went in");
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_import() {
    require!(Need::Root);
    let served = Served::open().await;
    let stream = Stream::open(&served, "import").await.unwrap();
    let from = ImageImportStream { stream: "import".into(), ..Default::default() };
    let leave = async {
        let whole = archive(b"payload");
        stream.send(&whole[..1024]).await;
    };
    let (imported, ()) = tokio::join!(transfer(&served, from, ImageStore::default(), ""), leave);
    assert_eq!(refused(imported), Code::InvalidArgument);
    let images = ImagesClient::new(served.within("n")).list(ListImagesRequest::default()).await.unwrap();
    assert_eq!(images.into_inner().images, []);
}

#[tokio::test]
async fn a_stream_has_one_name_and_one_user() {
    require!(Need::Root);
    let served = Served::open().await;
    let first = Stream::open(&served, "s").await.unwrap();
    let second = Stream::open(&served, "s").await;
    assert_eq!(refused(second.map(drop)), Code::AlreadyExists);
    drop(first);
    // A client's end is not answered: its name is free a moment later.
    while let Err(status) = Stream::open(&served, "s").await {
        assert_eq!(status.code(), Code::AlreadyExists);
    }
    let from = ImageImportStream { stream: "none".into(), ..Default::default() };
    assert_eq!(refused(transfer(&served, from, ImageStore::default(), "").await), Code::NotFound);
}

#[tokio::test]
async fn what_nobody_can_transfer_is_unimplemented() {
    require!(Need::Root);
    let served = Served::open().await;
    let from = ReadStream { stream: "s".into(), ..Default::default() };
    assert_eq!(refused(transfer(&served, from, ImageStore::default(), "").await), Code::Unimplemented);
    let (from, to) = (ImageStore::default(), ImageStore { name: "b:1".into(), ..Default::default() });
    assert_eq!(refused(transfer(&served, from, to, "").await), Code::NotFound);
}
