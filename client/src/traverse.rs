//! What the standard library lacks for many results at once.

use futures::{Stream, StreamExt, TryStreamExt, stream};

/// Steps that may fail, over all items. Implemented for everything that can be iterated over.
///
/// ```
/// use polarway_client::Traverse;
///
/// let numbers = ["1", "2"].traverse(str::parse::<i64>);
/// assert_eq!(numbers, Ok(vec![1, 2]));
/// assert!(["1", "x"].traverse(str::parse::<i64>).is_err());
/// assert_eq!([Some(1), None].traverse_option(|value| value), None);
/// ```
pub trait Traverse: IntoIterator + Sized {
    /// Every value in order, or the first error; what comes after it is not asked for.
    ///
    /// # Errors
    /// The first that `f` gives.
    fn traverse<U, E>(self, f: impl FnMut(Self::Item) -> Result<U, E>) -> Result<Vec<U>, E> {
        self.into_iter().map(f).collect()
    }

    /// Every value in order, or nothing if there is none for one of them.
    fn traverse_option<U>(self, f: impl FnMut(Self::Item) -> Option<U>) -> Option<Vec<U>> {
        self.into_iter().map(f).collect()
    }

    /// [`Traverse::traverse`] of steps that take time, of which at most `limit` (one at least) are under way. The error is
    /// the first in the order of the items; steps that are under way then are dropped.
    ///
    /// ```
    /// # use polarway_client::{Client, Traverse};
    /// # async fn run(client: Client, tables: Vec<String>) -> Result<(), polarway_common::Error> {
    /// let counted = tables.traverse_async(8, |table| {
    ///     let client = client.clone();
    ///     async move { client.execute(&format!("SELECT count(*) FROM {table}")).await?.next_batch().await }
    /// });
    /// let counts = counted.await?;
    /// # Ok(())
    /// # }
    /// ```
    fn traverse_async<U, E, F>(
        self,
        limit: usize,
        f: impl FnMut(Self::Item) -> F,
    ) -> impl Future<Output = Result<Vec<U>, E>>
    where
        F: Future<Output = Result<U, E>>,
    {
        under_way(self.into_iter().map(f), limit).try_collect()
    }

    /// The values and the errors apart, each in order.
    fn partition_results<U, E>(self) -> (Vec<U>, Vec<E>)
    where
        Self: IntoIterator<Item = Result<U, E>>,
    {
        let (mut values, mut errors) = (vec![], vec![]);
        for item in self {
            match item {
                Ok(value) => values.push(value),
                Err(error) => errors.push(error),
            }
        }
        (values, errors)
    }
}

impl<I: IntoIterator> Traverse for I {}

/// Turns a collection of results, or options, inside out.
///
/// ```
/// use polarway_client::Sequence;
///
/// assert_eq!([Ok(1), Err("no"), Err("neither")].sequence(), Err("no"));
/// assert_eq!([Some(1), Some(2)].sequence(), Some(vec![1, 2]));
/// ```
pub trait Sequence {
    /// A result, or an option, of all values.
    type Output;

    /// All values in order, or the first that is none.
    fn sequence(self) -> Self::Output;
}

impl<T, E, const N: usize> Sequence for [Result<T, E>; N] {
    type Output = Result<Vec<T>, E>;

    fn sequence(self) -> Self::Output {
        self.into_iter().collect()
    }
}

impl<T, E> Sequence for Vec<Result<T, E>> {
    type Output = Result<Vec<T>, E>;

    fn sequence(self) -> Self::Output {
        self.into_iter().collect()
    }
}

impl<T, const N: usize> Sequence for [Option<T>; N] {
    type Output = Option<Vec<T>>;

    fn sequence(self) -> Self::Output {
        self.into_iter().collect()
    }
}

impl<T> Sequence for Vec<Option<T>> {
    type Output = Option<Vec<T>>;

    fn sequence(self) -> Self::Output {
        self.into_iter().collect()
    }
}

pub(crate) fn under_way<F: Future>(
    steps: impl IntoIterator<Item = F>,
    limit: usize,
) -> impl Stream<Item = F::Output> {
    stream::iter(steps).buffered(limit.max(1))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;
    use tokio::task::yield_now;

    use super::*;

    fn halved(value: u32) -> Result<u32, u32> {
        if value.is_multiple_of(2) { Ok(value / 2) } else { Err(value) }
    }

    proptest! {
        #[test]
        fn row_32_sequence_of_a_map_is_traverse(items: Vec<u32>) {
            let mapped: Vec<_> = items.iter().copied().map(halved).collect();
            let first = items.iter().copied().find(|value| !value.is_multiple_of(2));
            prop_assert_eq!(mapped.clone().sequence().err(), first);
            prop_assert_eq!(mapped.clone().sequence(), items.clone().traverse(halved));
            let options: Vec<_> = mapped.iter().map(|result| result.ok()).collect();
            prop_assert_eq!(options.sequence(), items.traverse_option(|value| halved(value).ok()));
            let (values, errors) = mapped.clone().partition_results();
            prop_assert_eq!(values.len() + errors.len(), mapped.len());
        }
    }

    #[tokio::test]
    async fn row_32_no_more_steps_than_the_limit_are_under_way_and_the_first_error_wins() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let step = |value: u32| {
            let (now, most) = (&now, &most);
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Later items are done sooner.
                for _ in 0..(200 - value) {
                    yield_now().await;
                }
                now.fetch_sub(1, Ordering::SeqCst);
                if [70, 71].contains(&value) { Err(value) } else { Ok(value) }
            }
        };
        let values: Vec<u32> = (0..50).collect();
        assert_eq!(values.clone().traverse_async(7, step).await, Ok(values));
        assert_eq!(most.load(Ordering::SeqCst), 7);
        assert_eq!((0..100).traverse_async(7, step).await, Err(70));
        let none = std::iter::empty::<u32>().traverse_async(0, step).await;
        assert_eq!(none, Ok(vec![]));
    }
}
