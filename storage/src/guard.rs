//! An object store that asks the path policy before each request, counts requests, lets nobody write, and keeps what
//! a remote store listed for a while.

use std::fmt;
use std::ops::Range;
use std::path::Path as FsPath;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use polarway_common::{Error, ErrorKind};
use url::Url;

use crate::listing::{self, Listings};
use crate::local;
use crate::policy::PathPolicy;
use crate::writes::STAGING;

/// Requests made to object stores since the process started.
#[derive(Debug, Default)]
pub struct StoreCounters {
    pub gets: AtomicU64,
    /// Requests for the size of an object, which transfer nothing of it.
    pub heads: AtomicU64,
    pub lists: AtomicU64,
    pub bytes_requested: AtomicU64,
}

/// See the module's page.
#[derive(Debug)]
pub struct GuardedStore {
    inner: Arc<dyn ObjectStore>,
    policy: Arc<PathPolicy>,
    counters: Arc<StoreCounters>,
    base: Url,
    /// None for local directories, which are looked at each time.
    listings: Option<Arc<Listings>>,
}

impl GuardedStore {
    /// What a remote store lists is trusted for `list_ttl`; zero lists each time.
    pub fn new(
        inner: Arc<dyn ObjectStore>,
        policy: Arc<PathPolicy>,
        counters: Arc<StoreCounters>,
        base: Url,
        list_ttl: Duration,
    ) -> Self {
        let keeps = base.scheme() != "file" && !list_ttl.is_zero();
        let listings = keeps.then(|| Arc::new(Listings::new(list_ttl)));
        Self { inner, policy, counters, base, listings }
    }

    /// Takes what is kept of listings as out of date where `path` is.
    pub fn forget(&self, path: &Path) {
        if let Some(listings) = &self.listings {
            listings.forget(path, Instant::now());
        }
    }

    fn check(&self, path: &Path) -> Result<()> {
        let verdict = if self.base.scheme() == "file" {
            self.policy.check_exact(&FsPath::new("/").join(path.as_ref()))
        } else {
            self.policy.check_in_store(&self.base, path)
        };
        verdict.map_err(|error| refused(path, error))
    }

    fn check_prefix(&self, prefix: Option<&Path>) -> Result<()> {
        self.check(prefix.unwrap_or(&Path::default()))
    }

    /// What the store knows of an object without its content.
    async fn look(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let listings = self.listings.as_ref().filter(|_| has_no_conditions(&options));
        let asked = Instant::now();
        if let Some(meta) = listings.and_then(|listings| listings.object(location, asked)) {
            return Ok(GetResult {
                payload: GetResultPayload::Stream(stream::empty().boxed()),
                range: 0..meta.size,
                attributes: Attributes::default(),
                meta,
            });
        }
        count(&self.counters.heads);
        let result = self.noticing(location, self.inner.get_opts(location, options).await)?;
        if let Some(listings) = listings {
            listings.keep_object(location, asked, result.meta.clone());
        }
        Ok(result)
    }

    /// An object that is gone although it was listed shows that the listing is out of date.
    fn noticing<T>(&self, location: &Path, result: Result<T>) -> Result<T> {
        if let (Some(listings), Err(object_store::Error::NotFound { .. })) = (&self.listings, &result) {
            listings.forget(location, Instant::now());
        }
        result
    }
}

fn is_staging(path: &Path) -> bool {
    path.parts().any(|part| part.as_ref().starts_with(STAGING))
}

fn has_no_conditions(options: &GetOptions) -> bool {
    options.if_match.is_none()
        && options.if_none_match.is_none()
        && options.if_modified_since.is_none()
        && options.if_unmodified_since.is_none()
        && options.range.is_none()
        && options.version.is_none()
}

fn refused(path: &Path, error: Error) -> object_store::Error {
    object_store::Error::PermissionDenied { path: path.to_string(), source: Box::new(error) }
}

/// What statements write goes through [`WriteAccess`](crate::writes::WriteAccess), so that nothing that goes wrong in reading
/// can change a file.
fn read_only() -> object_store::Error {
    let error = Error::new(ErrorKind::Unsupported, "a store that is read is not written to");
    object_store::Error::NotSupported { source: Box::new(error) }
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
    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(read_only())
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(read_only())
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.check(location)?;
        if options.head {
            return self.look(location, options).await;
        }
        count(&self.counters.gets);
        let result = self.noticing(location, self.inner.get_opts(location, options).await)?;
        let length = result.range.end.saturating_sub(result.range.start);
        self.counters.bytes_requested.fetch_add(length, Ordering::Relaxed);
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.check(location)?;
        count(&self.counters.gets);
        let length: u64 = ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        self.counters.bytes_requested.fetch_add(length, Ordering::Relaxed);
        self.noticing(location, self.inner.get_ranges(location, ranges).await)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        locations.map(|location| location.and_then(|_| Err(read_only()))).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if let Err(error) = self.check_prefix(prefix) {
            return stream::once(async move { Err(error) }).boxed();
        }
        let prefix = prefix.cloned().unwrap_or_default();
        if self.base.scheme() == "file" {
            count(&self.counters.lists);
            return local::list(Arc::clone(&self.policy), FsPath::new("/").join(prefix.as_ref()));
        }
        let asked = Instant::now();
        if let Some(known) = self.listings.as_ref().and_then(|listings| listings.below(&prefix, asked)) {
            return listing::replay(known);
        }
        count(&self.counters.lists);
        let objects = self.inner.list((!prefix.is_root()).then_some(&prefix));
        // Lists of files that are about to be seen.
        let objects = objects
            .filter(|found| {
                std::future::ready(!found.as_ref().is_ok_and(|object| is_staging(&object.location)))
            })
            .boxed();
        match &self.listings {
            Some(listings) => Arc::clone(listings).keep_below(prefix, asked, objects),
            None => objects,
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.check_prefix(prefix)?;
        count(&self.counters.lists);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(read_only())
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    async fn store(list_ttl: Duration, paths: &[&str]) -> (Arc<InMemory>, GuardedStore) {
        let memory = Arc::new(InMemory::new());
        for path in paths {
            memory.put(&Path::from(*path), "content".into()).await.unwrap();
        }
        let policy = Arc::new(PathPolicy::new(&["s3://lake/t".to_owned()]).unwrap());
        let inner: Arc<dyn ObjectStore> = Arc::clone(&memory) as Arc<dyn ObjectStore>;
        let base = Url::parse("s3://lake/").unwrap();
        (memory, GuardedStore::new(inner, policy, Arc::default(), base, list_ttl))
    }

    async fn listed(store: &GuardedStore, prefix: &str) -> usize {
        store.list(Some(&Path::from(prefix))).try_collect::<Vec<_>>().await.unwrap().len()
    }

    fn counted(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn one_request_serves_all_listings_below_a_prefix() {
        let (memory, store) = store(HOUR, &["t/year=1/a", "t/year=2/b", "u/c"]).await;
        assert_eq!((listed(&store, "t").await, listed(&store, "t").await), (2, 2));
        assert_eq!(listed(&store, "t/year=1").await, 1);
        memory.put(&Path::from("t/year=1/d"), "content".into()).await.unwrap();
        assert_eq!(listed(&store, "t/year=1").await, 1);
        assert_eq!(counted(&store.counters.lists), 1);
        // What is kept is not given to those who may not list it.
        assert!(store.list(Some(&Path::from("u"))).try_collect::<Vec<_>>().await.is_err());
    }

    #[tokio::test]
    async fn without_a_time_to_live_each_listing_is_a_request() {
        let (memory, store) = store(Duration::ZERO, &["t/a"]).await;
        assert_eq!(listed(&store, "t").await, 1);
        memory.put(&Path::from("t/b"), "content".into()).await.unwrap();
        assert_eq!(listed(&store, "t").await, 2);
        assert_eq!(counted(&store.counters.lists), 2);
    }

    #[tokio::test]
    async fn a_missing_object_shows_that_its_listing_is_old() {
        let (memory, store) = store(HOUR, &["t/a", "t/b"]).await;
        assert_eq!(listed(&store, "t").await, 2);
        memory.delete(&Path::from("t/a")).await.unwrap();
        assert_eq!(listed(&store, "t").await, 2);
        assert!(store.get(&Path::from("t/a")).await.is_err());
        assert_eq!(listed(&store, "t").await, 1);
    }

    #[tokio::test]
    async fn a_look_at_an_object_is_no_read_of_it() {
        let (_, store) = store(HOUR, &["t/a"]).await;
        let path = Path::from("t/a");
        for _ in 0..2 {
            assert_eq!(store.head(&path).await.unwrap().size, 7);
        }
        let counters = &store.counters;
        assert_eq!((counted(&counters.heads), counted(&counters.gets)), (1, 0));
        assert_eq!(counted(&counters.bytes_requested), 0);
        store.get(&path).await.unwrap();
        assert_eq!((counted(&counters.gets), counted(&counters.bytes_requested)), (1, 7));
    }

    #[tokio::test]
    async fn row_11_a_name_leads_nowhere_else() {
        let paths = ["u/%2E%2E/t/a", "t/%2E%2E/u/b", "t/50%20off/c"];
        let memory = Arc::new(InMemory::new());
        for path in paths {
            memory.put(&Path::parse(path).unwrap(), "content".into()).await.unwrap();
        }
        let policy = Arc::new(PathPolicy::new(&["s3://lake/t".to_owned()]).unwrap());
        let base = Url::parse("s3://lake/").unwrap();
        let store = GuardedStore::new(memory, policy, Arc::default(), base, HOUR);
        let read = async |path: &str| store.get(&Path::parse(path).unwrap()).await.is_ok();
        assert_eq!((read(paths[0]).await, read(paths[1]).await, read(paths[2]).await), (false, true, true));
    }

    #[tokio::test]
    async fn nothing_can_be_written() {
        let (memory, store) = store(HOUR, &["t/a"]).await;
        let (from, to) = (Path::from("t/a"), Path::from("t/b"));
        let refused = |result: Result<()>| matches!(result, Err(object_store::Error::NotSupported { .. }));
        assert!(refused(store.put(&to, "new".into()).await.map(|_| ())));
        assert!(refused(store.put_multipart(&to).await.map(|_| ())));
        assert!(refused(store.copy(&from, &to).await));
        assert!(refused(store.rename(&from, &to).await));
        assert!(refused(store.delete(&from).await));
        let left: Vec<ObjectMeta> = memory.list(None).try_collect().await.unwrap();
        assert_eq!(left.len(), 1);
    }
}
