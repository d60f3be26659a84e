//! Long lists in messages of a fit size.

use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, iter};
use tonic::Status;

/// How many things a message of a list has.
const BATCH: usize = 100;

/// Answers with all of `found`, some at a time.
pub(crate) fn stream<T, W, A>(
    found: Vec<T>,
    into_proto: impl Fn(T) -> W + Send + 'static,
    answer: impl Fn(Vec<W>) -> A + Send + 'static,
) -> BoxStream<'static, Result<A, Status>>
where
    T: Send + 'static,
    W: Send + 'static,
{
    let mut rest = found.into_iter();
    let batches = std::iter::from_fn(move || {
        let batch: Vec<W> = rest.by_ref().take(BATCH).map(&into_proto).collect();
        if batch.is_empty() { None } else { Some(batch) }
    });
    iter(batches.map(move |batch| Ok(answer(batch)))).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_comes_once_in_order() {
        let answers = stream((0..250).collect(), |n| n, |batch| batch);
        let batches: Vec<Vec<i32>> = answers.map(Result::unwrap).collect().await;
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 50]);
        assert_eq!(batches.concat(), (0..250).collect::<Vec<_>>());
        assert_eq!(stream(Vec::<i32>::new(), |n| n, |batch| batch).count().await, 0);
    }
}
