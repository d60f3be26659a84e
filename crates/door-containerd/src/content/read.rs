//! `Content.Read`: the next piece is read from the disk while the one before is sent.

use std::ops::Range;

use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, iter, once};
use gantry_primitives::Reader;
use gantry_proto_containerd::content::ReadContentResponse;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::into_proto;
use crate::status::{self, OrStatus as _};

/// The size of a piece, in bytes: what containerd sends at once, too.
const PIECE_BYTES: usize = 1 << 20;

/// Which bytes are asked for.
///
/// # Errors
/// OutOfRange behind the end.
pub(super) fn range(length: u64, offset: i64, size: i64) -> Result<Range<u64>, Status> {
    let start = u64::try_from(offset).unwrap_or_default();
    if start > length {
        return Err(status::out_of_range(format!("read past object length {length} bytes")));
    }
    let size = u64::try_from(size).unwrap_or_default();
    let end = if size == 0 { length } else { start.saturating_add(size).min(length) };
    Ok(start..end)
}

/// The bytes of that range, in order.
pub(super) fn stream(
    reader: Reader,
    range: Range<u64>,
) -> BoxStream<'static, Result<ReadContentResponse, Status>> {
    if range.is_empty() {
        return iter([]).boxed();
    }
    // containerd's clients read most blobs by many requests of 32 KiB.
    if range.end - range.start <= PIECE_BYTES as u64 {
        return once(async move { piece(&reader, &range).await }).boxed();
    }
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let Range { mut start, end } = range;
        while start < end {
            let next = piece(&reader, &(start..end)).await;
            let length = next.as_ref().map_or(0, |piece| piece.data.len());
            if sender.send(next).await.is_err() || length == 0 {
                return;
            }
            start += length as u64;
        }
    });
    ReceiverStream::new(receiver).boxed()
}

/// The first piece of a range that is not empty.
async fn piece(reader: &Reader, range: &Range<u64>) -> Result<ReadContentResponse, Status> {
    let left = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let data = reader.read(range.start, left.min(PIECE_BYTES)).await.or_status()?;
    if data.is_empty() {
        return Err(status::data_loss("the blob is shorter than it was"));
    }
    Ok(ReadContentResponse { offset: into_proto::length(range.start), data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_with_the_blob() {
        let check = |offset, size| range(10, offset, size).map_err(|status| status.code());
        assert_eq!(check(0, 0), Ok(0..10));
        assert_eq!(check(-1, -1), Ok(0..10));
        assert_eq!(check(4, 3), Ok(4..7));
        assert_eq!(check(4, i64::MAX), Ok(4..10));
        assert_eq!(check(10, 0), Ok(10..10));
        assert_eq!(check(11, 0), Err(tonic::Code::OutOfRange));
    }
}
