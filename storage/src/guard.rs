//! An object store that asks the path policy before each request, and counts requests.

use std::fmt;
use std::ops::Range;
use std::path::Path as FsPath;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use polarway_common::Error;
use url::Url;

use crate::policy::PathPolicy;

/// Requests made to object stores since the process started.
#[derive(Debug, Default)]
pub struct StoreCounters {
    pub gets: AtomicU64,
    pub lists: AtomicU64,
    pub puts: AtomicU64,
    pub bytes_requested: AtomicU64,
}

/// See the module's page.
#[derive(Debug)]
pub struct GuardedStore {
    inner: Arc<dyn ObjectStore>,
    policy: Arc<PathPolicy>,
    counters: Arc<StoreCounters>,
    base: Url,
}

impl GuardedStore {
    pub fn new(
        inner: Arc<dyn ObjectStore>,
        policy: Arc<PathPolicy>,
        counters: Arc<StoreCounters>,
        base: Url,
    ) -> Self {
        Self { inner, policy, counters, base }
    }

    fn check(&self, path: &Path) -> Result<()> {
        let verdict = if self.base.scheme() == "file" {
            self.policy.check_exact(&FsPath::new("/").join(path.as_ref()))
        } else {
            let mut url = self.base.clone();
            url.set_path(path.as_ref());
            self.policy.check_remote(&url)
        };
        verdict.map_err(|error| refused(path, error))
    }

    fn check_prefix(&self, prefix: Option<&Path>) -> Result<()> {
        self.check(prefix.unwrap_or(&Path::default()))
    }
}

fn refused(path: &Path, error: Error) -> object_store::Error {
    object_store::Error::PermissionDenied { path: path.to_string(), source: Box::new(error) }
}

impl fmt::Display for GuardedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner)
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[async_trait]
impl ObjectStore for GuardedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.check(location)?;
        count(&self.counters.puts);
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.check(location)?;
        count(&self.counters.puts);
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.check(location)?;
        count(&self.counters.gets);
        let result = self.inner.get_opts(location, options).await?;
        let length = result.range.end.saturating_sub(result.range.start);
        self.counters.bytes_requested.fetch_add(length, Ordering::Relaxed);
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.check(location)?;
        count(&self.counters.gets);
        let length: u64 = ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        self.counters.bytes_requested.fetch_add(length, Ordering::Relaxed);
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let guard = Self {
            inner: Arc::clone(&self.inner),
            policy: Arc::clone(&self.policy),
            counters: Arc::clone(&self.counters),
            base: self.base.clone(),
        };
        let checked = locations.map(move |path| {
            let path = path?;
            guard.check(&path)?;
            Ok(path)
        });
        self.inner.delete_stream(checked.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if let Err(error) = self.check_prefix(prefix) {
            return stream::once(async move { Err(error) }).boxed();
        }
        count(&self.counters.lists);
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        if let Err(error) = self.check_prefix(prefix) {
            return stream::once(async move { Err(error) }).boxed();
        }
        count(&self.counters.lists);
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.check_prefix(prefix)?;
        count(&self.counters.lists);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.check(from)?;
        self.check(to)?;
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.check(from)?;
        self.check(to)?;
        self.inner.rename_opts(from, to, options).await
    }
}
