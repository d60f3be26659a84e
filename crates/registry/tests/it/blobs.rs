use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use gantry_registry::{Error, Ranges};
use gantry_testkit::DEADLINE;
use gantry_types::{Descriptor, ErrorKind};

use crate::server::{Reply, Seen, Server, With as _, body, broken, endless, pieces, status};
use crate::{all, at, blob, client, nobody, noise, on, plain};

const SIZE: usize = 3_000_000;
const RANGES: Ranges = Ranges { chunk_bytes: 256 << 10, parallel: 4 };

/// The part of `bytes` that a request asks for.
fn range(seen: &Seen, length: usize) -> Option<(usize, usize)> {
    let (start, last) = seen.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
    let start = start.parse().ok()?;
    let end = if last.is_empty() { length } else { last.parse::<usize>().ok()? + 1 };
    Some((start, end.min(length)))
}

/// A proper answer.
fn serve(seen: &Seen, bytes: &Bytes) -> Reply {
    match range(seen, bytes.len()) {
        None => body(200, bytes.clone()),
        Some((start, end)) => body(206, bytes.slice(start..end))
            .with("content-range", format!("bytes {start}-{}/{}", end - 1, bytes.len())),
    }
}

/// An answer whose connection breaks after `length` bytes.
fn cut(seen: &Seen, bytes: &Bytes, length: usize) -> Reply {
    let (start, end) = range(seen, bytes.len()).unwrap_or((0, bytes.len()));
    let cut = start + length.min(end - start);
    let reply = pieces(if start > 0 { 206 } else { 200 }, vec![Ok(bytes.slice(start..cut)), Err(broken())]);
    if start > 0 {
        reply.with("content-range", format!("bytes {start}-{}/{}", end - 1, bytes.len()))
    } else {
        reply
    }
}

#[tokio::test]
async fn a_blob_comes_whole_and_from_any_offset() {
    let bytes = noise(SIZE);
    let sent = bytes.clone();
    let server = Server::new(move |seen: Seen| serve(&seen, &sent)).await;
    let repository = on(&server);
    let descriptor = blob(&bytes);
    for offset in [0, 1, 1_234_567, SIZE - 1, SIZE, SIZE + 5] {
        let stream = repository.blob(&descriptor, offset as u64).await.unwrap();
        assert_eq!(all(stream).await.unwrap(), bytes.slice(offset.min(SIZE)..), "{offset}");
        let stream = repository.blob_ranges(&descriptor, offset as u64, RANGES).await.unwrap();
        assert_eq!(all(stream).await.unwrap(), bytes.slice(offset.min(SIZE)..), "{offset}");
    }
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_read_from_the_start() {
    let bytes = noise(SIZE);
    let sent = bytes.clone();
    let server = Server::new(move |_| body(200, sent.clone())).await;
    let repository = on(&server);
    let stream = repository.blob(&blob(&bytes), 1_000_001).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), bytes.slice(1_000_001..));
    let stream = repository.blob_ranges(&blob(&bytes), 77, RANGES).await.unwrap();
    assert!(!stream.is_parallel());
    assert_eq!(all(stream).await.unwrap(), bytes.slice(77..));
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn parts_are_asked_for_at_the_same_time_and_delivered_in_order() {
    let bytes = noise(SIZE);
    let sent = bytes.clone();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counter, peak) = (Arc::clone(&now), Arc::clone(&most));
    let server = Server::slow(move |seen: Seen| {
        let (sent, counter, peak) = (sent.clone(), Arc::clone(&counter), Arc::clone(&peak));
        async move {
            peak.fetch_max(counter.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Later parts are answered sooner.
            let start = range(&seen, SIZE).map_or(0, |(start, _)| start);
            tokio::time::sleep(Duration::from_millis(20 - (start * 20 / SIZE) as u64)).await;
            counter.fetch_sub(1, Ordering::SeqCst);
            serve(&seen, &sent)
        }
    })
    .await;
    let stream = on(&server).blob_ranges(&blob(&bytes), 0, RANGES).await.unwrap();
    assert!(stream.is_parallel());
    assert_eq!(all(stream).await.unwrap(), bytes);
    let most = most.load(Ordering::SeqCst);
    assert!((2..=4).contains(&most), "{most} parts at once");
}

#[tokio::test]
async fn what_breaks_is_resumed_where_it_broke() {
    let bytes = noise(SIZE);
    for parallel in [1, 3] {
        let (sent, count) = (bytes.clone(), AtomicUsize::new(0));
        let server = Server::new(move |seen: Seen| match count.fetch_add(1, Ordering::SeqCst) % 3 {
            0 => cut(&seen, &sent, 400_000),
            1 => status(503),
            _ => serve(&seen, &sent),
        })
        .await;
        let ranges = Ranges { chunk_bytes: 1 << 20, parallel };
        let stream = on(&server).blob_ranges(&blob(&bytes), 0, ranges).await.unwrap();
        assert_eq!(all(stream).await.unwrap(), bytes, "{parallel}");
        let again: Vec<_> =
            server.seen().iter().filter_map(|seen| seen.header("range").map(str::to_owned)).collect();
        assert!(again.contains(&"bytes=400000-".into()) || parallel > 1, "{again:?}");
    }
}

#[tokio::test]
async fn a_body_that_always_breaks_at_once_is_given_up() {
    let bytes = noise(SIZE);
    let sent = bytes.clone();
    let server = Server::new(move |seen: Seen| cut(&seen, &sent, 1000)).await;
    let stream = on(&server).blob(&blob(&bytes), 0).await.unwrap();
    let error = all(stream).await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error}");
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn a_body_that_breaks_after_some_way_is_resumed_as_often_as_it_takes() {
    let bytes = noise(12 << 20);
    let sent = bytes.clone();
    let server = Server::new(move |seen: Seen| cut(&seen, &sent, 1_200_000)).await;
    let stream = on(&server).blob(&blob(&bytes), 0).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), bytes);
    assert!(server.seen().len() > 8);
}

#[tokio::test]
async fn another_host_goes_on_where_one_fails() {
    let bytes = noise(SIZE);
    let (sent, count) = (bytes.clone(), AtomicUsize::new(0));
    let flaky = Server::new(move |seen: Seen| match count.fetch_add(1, Ordering::SeqCst) {
        0 => cut(&seen, &sent, 100_000),
        _ => status(500),
    })
    .await;
    let sent = bytes.clone();
    let good = Server::new(move |seen: Seen| serve(&seen, &sent)).await;
    let repository = at(&client(), vec![plain(flaky.host()), plain(good.host())], nobody());
    let stream = repository.blob(&blob(&bytes), 0).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), bytes);
    assert_eq!(good.seen()[0].header("range"), Some("bytes=100000-"));
}

#[tokio::test]
async fn a_hanging_body_is_given_up_in_time_and_resumed() {
    let bytes = noise(SIZE);
    let (sent, count) = (bytes.clone(), AtomicUsize::new(0));
    let server = Server::new(move |seen: Seen| match count.fetch_add(1, Ordering::SeqCst) {
        0 => endless(sent.slice(..50_000), None),
        _ => serve(&seen, &sent),
    })
    .await;
    let stream = on(&server).blob(&blob(&bytes), 0).await.unwrap();
    let start = Instant::now();
    assert_eq!(all(stream).await.unwrap(), bytes);
    assert!(start.elapsed() < DEADLINE);

    let sent = bytes.slice(..500);
    let server = Server::new(move |_| endless(sent.clone(), None)).await;
    let stream = on(&server).blob(&blob(&bytes), 0).await.unwrap();
    let error = all(stream).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
}

#[tokio::test]
async fn a_head_that_never_comes_is_given_up_in_time() {
    let server = Server::slow(|_| std::future::pending()).await;
    let error = on(&server).blob(&blob(&noise(10)), 0).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn lies_about_the_size_are_refused() {
    let bytes = noise(SIZE);
    let descriptor = blob(&bytes);
    let check = |name: &'static str, reply: Arc<dyn Fn() -> Reply + Send + Sync>| {
        let descriptor = descriptor.clone();
        async move {
            let server = Server::new(move |_| reply()).await;
            let error = match on(&server).blob(&descriptor, 10).await {
                Ok(stream) => all(stream).await.unwrap_err(),
                Err(error) => error,
            };
            assert_eq!(error.kind(), ErrorKind::DataLoss, "{name}: {error}");
        }
    };
    let longer: Bytes = [&bytes[..], b"more"].concat().into();
    let (shorter, more, parts) = (bytes.slice(..100), longer.clone(), bytes.clone());
    check("longer by its head", Arc::new(move || body(200, longer.clone()))).await;
    check("longer by its body", Arc::new(move || pieces(200, vec![Ok(more.clone())]))).await;
    check("shorter", Arc::new(move || body(200, shorter.clone()))).await;
    let wrong = parts.slice(20..);
    check(
        "from elsewhere",
        Arc::new(move || {
            body(206, wrong.clone()).with("content-range", format!("bytes 20-{}/{SIZE}", SIZE - 1))
        }),
    )
    .await;
    let wrong = parts.slice(10..);
    check(
        "of another size",
        Arc::new(move || {
            body(206, wrong.clone()).with("content-range", format!("bytes 10-{}/{}", SIZE - 1, SIZE + 1))
        }),
    )
    .await;
    let endless_piece = Bytes::from(vec![0; 100_000]);
    check("without end", Arc::new(move || endless(Bytes::new(), Some(endless_piece.clone())))).await;
}

#[tokio::test]
async fn retry_after_is_waited_for_if_it_is_not_too_long() {
    let bytes = noise(1000);
    let (sent, count) = (bytes.clone(), AtomicUsize::new(0));
    let server = Server::new(move |seen: Seen| match count.fetch_add(1, Ordering::SeqCst) {
        0 => status(429).with("retry-after", "1"),
        _ => serve(&seen, &sent),
    })
    .await;
    let start = Instant::now();
    let stream = on(&server).blob(&blob(&bytes), 0).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), bytes);
    assert!(start.elapsed() >= Duration::from_secs(1));

    let server = Server::new(|_| {
        let error = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}"#;
        body(429, error).with("retry-after", "86400")
    })
    .await;
    let error = on(&server).blob(&blob(&bytes), 0).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.to_string().contains("TOOMANYREQUESTS: pull rate limit"), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn small_blobs_are_verified() {
    let bytes = noise(5000);
    let sent = bytes.clone();
    let server = Server::new(move |seen: Seen| serve(&seen, &sent)).await;
    let repository = on(&server);
    assert_eq!(repository.blob_bytes(&blob(&bytes), 5000).await.unwrap(), bytes);
    assert!(matches!(repository.blob_bytes(&blob(&bytes), 4999).await, Err(Error::Limit { .. })));
    let swapped = Descriptor::new("a", crate::other_digest(), 5000);
    assert_eq!(repository.blob_bytes(&swapped, 5000).await.unwrap_err().kind(), ErrorKind::DataLoss);
}

#[tokio::test]
async fn a_dropped_stream_leaves_no_connection_in_use() {
    let bytes = noise(8 << 20);
    let sent = bytes.clone();
    let server = Server::new(move |seen: Seen| serve(&seen, &sent)).await;
    let repository = on(&server);
    let ranges = Ranges { chunk_bytes: 1 << 20, parallel: 4 };
    let mut stream = repository.blob_ranges(&blob(&bytes), 0, ranges).await.unwrap();
    stream.next().await.unwrap().unwrap();
    drop(stream);
    drop(repository.blob(&blob(&bytes), 0));
    let deadline = Instant::now() + DEADLINE;
    while server.open() > 0 {
        assert!(Instant::now() < deadline, "{} connections are open", server.open());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_allowed() {
    let bytes = noise(SIZE);
    let sent = bytes.clone();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counter, peak) = (Arc::clone(&now), Arc::clone(&most));
    let server = Server::slow(move |seen: Seen| {
        let (sent, counter, peak) = (sent.clone(), Arc::clone(&counter), Arc::clone(&peak));
        async move {
            peak.fetch_max(counter.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            counter.fetch_sub(1, Ordering::SeqCst);
            serve(&seen, &sent)
        }
    })
    .await;
    let mut options = crate::options();
    options.limits.requests_per_host = 2;
    let client = gantry_registry::Client::new(options).unwrap();
    let repository = at(&client, vec![plain(server.host())], nobody());
    let ranges = Ranges { chunk_bytes: 100_000, parallel: 8 };
    let stream = repository.blob_ranges(&blob(&bytes), 0, ranges).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), bytes);
    assert_eq!(most.load(Ordering::SeqCst), 2);
}
