//! Many files or queries at once, of which some may fail.

use std::time::Duration;

use arrow::array::RecordBatch;
use futures::StreamExt;
use polarway_common::Error;

use super::frame::Frame;
use crate::traverse::under_way;
use crate::{Client, Handle};

impl Client {
    /// Leases the rows of each path, whose format its ending tells; at most `limit` (one at least) at once. Paths are taken as
    /// there is room.
    ///
    /// The results are in the order of the paths: one of a file that is missing or damaged is an error, which names the path, and
    /// keeps nothing of the others back.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use polarway_client::Traverse;
    /// # async fn run(client: polarway_client::Client) -> Result<(), polarway_common::Error> {
    /// let read = client.batch_read(["a.parquet", "b.csv"], Duration::from_secs(60), 16).await;
    /// let (handles, errors) = read.partition_results();
    /// let counts = client.batch_collect(handles.iter().map(|handle| client.frame(handle)), 8).await;
    /// assert_eq!(counts.len() + errors.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn batch_read<P: AsRef<str>>(
        &self,
        paths: impl IntoIterator<Item = P>,
        ttl: Duration,
        limit: usize,
    ) -> Vec<Result<Handle, Error>> {
        let steps = paths.into_iter().map(|path| {
            let path = path.as_ref().to_owned();
            let frame = self.read_any(&path);
            async move { frame.handle(ttl).await.map_err(|error| naming(&path, error)) }
        });
        under_way(steps, limit).collect().await
    }

    /// All rows of each frame, in the order of the frames; at most `limit` (one at least) run at once.
    pub async fn batch_collect(
        &self,
        frames: impl IntoIterator<Item = Frame>,
        limit: usize,
    ) -> Vec<Result<Vec<RecordBatch>, Error>> {
        let steps = frames.into_iter().map(|frame| async move { frame.collect().await });
        under_way(steps, limit).collect().await
    }
}

/// The error of one file of many, with its path in the message.
fn naming(path: &str, error: Error) -> Error {
    if error.message.contains(path) {
        return error;
    }
    Error { message: format!("`{path}`: {}", error.message), ..error }
}

#[cfg(test)]
mod tests {
    use polarway_common::{ErrorKind, Place};

    use super::*;

    #[test]
    fn row_45_errors_name_their_path_once() {
        let error = Error::new(ErrorKind::CorruptFile, "a file is cut short")
            .with_hint("write it again")
            .with_place(Place { line: 1, column: 15 });
        let named = naming("a.csv", error.clone());
        assert_eq!(named.message, "`a.csv`: a file is cut short");
        assert_eq!(Error { message: error.message.clone(), ..named.clone() }, error);
        assert_eq!(naming("a.csv", named.clone()), named);
    }
}
