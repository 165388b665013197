//! An object store whose requests have spans, where they are made for something that is traced. Spans say which store it is
//! and how many bytes, and not which object: paths hold values.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartId, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use polarway_common::trace::{TARGET, is_wanted};
use tracing::{Instrument, Span, debug_span, field};
use url::{Position, Url};

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Traced<S> {
    inner: S,
    /// The store without a path.
    place: Arc<str>,
}

impl<S> Traced<S> {
    /// `inner` is the store that `url` is in.
    pub fn new(inner: S, url: &Url) -> Self {
        // Without user and password, which a URL may have.
        let host = &url[Position::BeforeHost..Position::BeforePath];
        Self { inner, place: format!("{}://{host}", url.scheme()).into() }
    }

    fn request(&self, name: &'static str) -> Option<Span> {
        is_wanted().then(|| {
            debug_span!(
                target: TARGET,
                "store",
                otel.name = name,
                otel.kind = "client",
                otel.status_code = field::Empty,
                store = &*self.place,
                bytes = field::Empty,
            )
        })
    }

    fn request_of(&self, name: &'static str, bytes: u64) -> Option<Span> {
        let span = self.request(name);
        if let Some(span) = &span {
            span.record("bytes", bytes);
        }
        span
    }
}

async fn within<T>(span: Option<&Span>, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
    let Some(span) = span else { return work.await };
    let done = work.instrument(span.clone()).await;
    if done.is_err() {
        span.record("otel.status_code", "ERROR");
    }
    done
}

/// The span lasts until the stream is at its end, or nobody wants more of it.
fn until_end<T: 'static>(stream: BoxStream<'static, T>, span: Option<Span>) -> BoxStream<'static, T> {
    let Some(span) = span else { return stream };
    stream
        .inspect(move |_| {
            let _open = &span;
        })
        .boxed()
}

impl<S: fmt::Display> fmt::Display for Traced<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Traced<S> {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let span = self.request_of("put", payload.content_length() as u64);
        within(span.as_ref(), self.inner.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let span = self.request("create_multipart");
        within(span.as_ref(), self.inner.put_multipart_opts(location, options)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_head = options.head;
        let span = self.request(if is_head { "head" } else { "get" });
        let mut found = within(span.as_ref(), self.inner.get_opts(location, options)).await?;
        if let Some(span) = span.filter(|_| !is_head) {
            span.record("bytes", found.range.end.saturating_sub(found.range.start));
            found.payload = match found.payload {
                GetResultPayload::Stream(bytes) => GetResultPayload::Stream(until_end(bytes, Some(span))),
                file => file,
            };
        }
        Ok(found)
    }

    /// A few requests at most, which are made at the same time: one span.
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let bytes: u64 = ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        let span = self.request_of("get", bytes);
        within(span.as_ref(), self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        until_end(self.inner.delete_stream(locations), self.request("delete"))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        until_end(self.inner.list(prefix), self.request("list"))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        until_end(self.inner.list_with_offset(prefix, offset), self.request("list"))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let span = self.request("list");
        within(span.as_ref(), self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let span = self.request("copy");
        within(span.as_ref(), self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let span = self.request("rename");
        within(span.as_ref(), self.inner.rename_opts(from, to, options)).await
    }
}

#[async_trait]
impl<S: MultipartStore> MultipartStore for Traced<S> {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        let span = self.request("create_multipart");
        within(span.as_ref(), self.inner.create_multipart(path)).await
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part_idx: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        let span = self.request_of("put", data.content_length() as u64);
        within(span.as_ref(), self.inner.put_part(path, id, part_idx, data)).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let span = self.request("complete_multipart");
        within(span.as_ref(), self.inner.complete_multipart(path, id, parts)).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        let span = self.request("abort_multipart");
        within(span.as_ref(), self.inner.abort_multipart(path, id)).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn row_48_a_store_without_traces_is_the_store() {
        let url = Url::parse("https://ana:hunter2@files.example:8443/t").unwrap();
        let store = Traced::new(InMemory::new(), &url);
        assert_eq!(&*store.place, "https://files.example:8443");
        assert!(store.request("get").is_none());
        let (path, to) = (Path::from("t/a"), Path::from("t/b"));
        store.put(&path, "content".into()).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "content");
        assert_eq!(store.get_range(&path, 0..3).await.unwrap(), "con");
        store.rename(&path, &to).await.unwrap();
        assert!(store.head(&path).await.is_err());
        let listed: Vec<_> = store.list(None).collect().await;
        assert_eq!(listed.len(), 1);
        store.delete(&to).await.unwrap();
    }
}
