use gantry_door_containerd::Code;
use gantry_proto_containerd::FieldMask;
use gantry_proto_containerd::content::content_client::ContentClient;
use gantry_proto_containerd::content::{
    AbortRequest, DeleteContentRequest, Info, InfoRequest, ListContentRequest, ListStatusesRequest,
    ReadContentRequest, StatusRequest, UpdateRequest, WriteAction, WriteContentRequest, WriteContentResponse,
};
use gantry_testkit::{Need, require};
use gantry_types::Digest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::harness::{Served, Way, refused};

/// One session of one writer.
struct Session {
    requests: mpsc::Sender<WriteContentRequest>,
    answers: Streaming<WriteContentResponse>,
}

impl Session {
    async fn begin(client: &mut ContentClient<Way>, first: WriteContentRequest) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(1);
        requests.send(first).await.expect("room");
        let answers = client.write(ReceiverStream::new(receiver)).await?.into_inner();
        Ok(Self { requests, answers })
    }

    async fn answer(&mut self) -> Result<WriteContentResponse, Status> {
        let answer = self.answers.message().await?;
        answer.ok_or_else(|| Status::unknown("the session has ended"))
    }

    async fn ask(&mut self, request: WriteContentRequest) -> Result<WriteContentResponse, Status> {
        self.requests.send(request).await.expect("the session goes on");
        self.answer().await
    }
}

fn stat(reference: &str, expected: &str, total: i64) -> WriteContentRequest {
    let (r#ref, expected) = (reference.into(), expected.into());
    WriteContentRequest { action: WriteAction::Stat.into(), r#ref, expected, total, ..Default::default() }
}

fn write(offset: i64, data: &[u8]) -> WriteContentRequest {
    let data = data.to_vec().into();
    WriteContentRequest { action: WriteAction::Write.into(), offset, data, ..Default::default() }
}

fn commit(offset: i64, total: i64, expected: &str) -> WriteContentRequest {
    let (action, expected) = (WriteAction::Commit.into(), expected.into());
    WriteContentRequest { action, offset, total, expected, ..Default::default() }
}

/// Stores some bytes.
async fn stored(client: &mut ContentClient<Way>, bytes: &[u8]) -> String {
    let digest = Digest::sha256(bytes).to_string();
    let mut session = Session::begin(client, stat(&digest, "", 0)).await.expect("an answer");
    session.answer().await.expect("an answer");
    session.ask(write(0, bytes)).await.expect("an answer");
    let answer = session.ask(commit(bytes.len() as i64, 0, &digest)).await.expect("an answer");
    assert_eq!(answer.digest, digest);
    digest
}

async fn read(
    client: &mut ContentClient<Way>,
    digest: &str,
    offset: i64,
    size: i64,
) -> Result<Vec<u8>, Status> {
    let request = ReadContentRequest { digest: digest.to_owned(), offset, size };
    let mut pieces = client.read(request).await?.into_inner();
    let (mut bytes, mut next) = (Vec::new(), offset);
    while let Some(piece) = pieces.message().await? {
        assert_eq!(piece.offset, next);
        next += piece.data.len() as i64;
        bytes.extend_from_slice(&piece.data);
    }
    Ok(bytes)
}

#[tokio::test]
async fn a_session_ends_early_and_another_goes_on() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = served.content("n");
    let digest = Digest::sha256(b"hello world").to_string();
    let mut session = Session::begin(&mut client, stat("r", &digest, 11)).await.unwrap();
    let begun = session.answer().await.unwrap();
    assert_eq!((begun.offset, begun.total), (0, 11));
    assert!(begun.started_at.is_some());
    assert_eq!(session.ask(write(0, b"hello ")).await.unwrap().offset, 6);
    let second = Session::begin(&mut client, stat("r", "", 0)).await;
    let locked = match second {
        Ok(mut second) => refused(second.answer().await),
        Err(status) => status.code(),
    };
    assert_eq!(locked, Code::Unavailable);
    drop(session);

    // The first session's end is not answered: the ref is free a moment later.
    let mut session = loop {
        let mut session = Session::begin(&mut client, stat("r", &digest, 11)).await.unwrap();
        match session.answer().await {
            Ok(answer) => {
                assert_eq!(answer.offset, 6);
                break session;
            }
            Err(status) => assert_eq!(status.code(), Code::Unavailable),
        }
    };
    let status =
        client.status(StatusRequest { r#ref: "r".into() }).await.unwrap().into_inner().status.unwrap();
    assert_eq!((status.offset, status.total), (6, 11));
    assert_eq!(session.ask(write(6, b"world")).await.unwrap().digest, digest);
    let committed = session.ask(commit(11, 11, &digest)).await.unwrap();
    assert_eq!((committed.offset, committed.digest.as_str()), (11, digest.as_str()));
    assert_eq!(refused(session.answer().await), Code::Unknown);
    assert_eq!(read(&mut client, &digest, 0, 0).await.unwrap(), b"hello world");
    assert_eq!(refused(client.status(StatusRequest { r#ref: "r".into() }).await), Code::NotFound);
}

#[tokio::test]
async fn offsets_are_at_the_end_or_begin_anew() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = served.content("n");
    let mut session = Session::begin(&mut client, stat("r", "", 0)).await.unwrap();
    session.answer().await.unwrap();
    session.ask(write(0, b"wrong")).await.unwrap();
    assert_eq!(session.ask(write(0, b"right")).await.unwrap().offset, 5);
    assert_eq!(session.ask(write(5, b"!")).await.unwrap().offset, 6);
    assert_eq!(refused(session.ask(write(4, b"x")).await), Code::OutOfRange);
    let first = WriteContentRequest { action: WriteAction::Stat.into(), ..Default::default() };
    let mut nameless = Session::begin(&mut client, first).await.unwrap();
    assert_eq!(refused(nameless.answer().await), Code::InvalidArgument);
}

#[tokio::test]
async fn what_is_not_what_was_expected_is_not_committed() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = served.content("n");
    let wrong = Digest::sha256(b"other").to_string();
    let mut session = Session::begin(&mut client, stat("r", "", 0)).await.unwrap();
    session.answer().await.unwrap();
    session.ask(write(0, b"bytes")).await.unwrap();
    assert_eq!(refused(session.ask(commit(5, 5, &wrong)).await), Code::FailedPrecondition);
    assert_eq!(refused(client.info(InfoRequest { digest: wrong }).await), Code::NotFound);
}

#[tokio::test]
async fn content_that_is_there_already_exists() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = served.content("n");
    let digest = stored(&mut client, b"bytes").await;
    let mut session = Session::begin(&mut client, stat("again", &digest, 5)).await.unwrap();
    assert_eq!(refused(session.answer().await), Code::AlreadyExists);
    let mut session = Session::begin(&mut client, stat("again", "", 0)).await.unwrap();
    session.answer().await.unwrap();
    session.ask(write(0, b"bytes")).await.unwrap();
    assert_eq!(refused(session.ask(commit(5, 0, &digest)).await), Code::AlreadyExists);
    drop(session);
    let left = client.list_statuses(ListStatusesRequest::default()).await.unwrap().into_inner().statuses;
    assert_eq!(left, [], "the ingest of existing content is of no use");
}

#[tokio::test]
async fn blobs_are_read_in_parts() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = served.content("n");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let digest = stored(&mut client, &bytes).await;
    assert_eq!(read(&mut client, &digest, 0, 0).await.unwrap(), bytes);
    assert_eq!(read(&mut client, &digest, 1_500_000, 1_200_000).await.unwrap(), bytes[1_500_000..2_700_000]);
    assert_eq!(read(&mut client, &digest, 2_999_999, 100).await.unwrap(), bytes[2_999_999..]);
    assert_eq!(read(&mut client, &digest, 3_000_000, 0).await.unwrap(), b"");
    assert_eq!(refused(read(&mut client, &digest, 3_000_001, 0).await), Code::OutOfRange);
    assert_eq!(refused(read(&mut client, "sha256:12", 0, 0).await), Code::InvalidArgument);
}

#[tokio::test]
async fn lists_are_filtered_and_labels_masked() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = served.content("n");
    let (one, two) = (stored(&mut client, b"one").await, stored(&mut client, b"two").await);
    let labels = [("k".to_owned(), "v".to_owned()), ("x.y/z".to_owned(), "w".to_owned())].into();
    let info = Some(Info { digest: one.clone(), labels, ..Default::default() });
    let update_mask = Some(FieldMask { paths: vec!["labels.x.y/z".into()] });
    let updated =
        client.update(UpdateRequest { info, update_mask }).await.unwrap().into_inner().info.unwrap();
    assert_eq!(updated.labels, [("x.y/z".to_owned(), "w".to_owned())].into());
    let mut found = Vec::new();
    let filters = vec![r#"labels."x.y/z"==w"#.to_owned()];
    let mut answers = client.list(ListContentRequest { filters }).await.unwrap().into_inner();
    while let Some(answer) = answers.message().await.unwrap() {
        found.extend(answer.info.into_iter().map(|info| info.digest));
    }
    assert_eq!(found, [one]);
    client.delete(DeleteContentRequest { digest: two.clone() }).await.unwrap();
    assert_eq!(refused(client.delete(DeleteContentRequest { digest: two }).await), Code::NotFound);
    let wrong = ListContentRequest { filters: vec!["digest==\"".into()] };
    assert_eq!(refused(client.list(wrong).await), Code::InvalidArgument);
    assert_eq!(refused(client.abort(AbortRequest { r#ref: "none".into() }).await), Code::NotFound);
}
