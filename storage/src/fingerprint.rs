//! What files a location holds right now, as one number: a plan made from a listing stays valid while the number
//! stays the same.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::datasource::listing::ListingTableUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use futures::TryStreamExt;
use parking_lot::Mutex;

/// Files under local directories are looked at by plain system calls; more than this many go to a blocking thread.
const INLINE_ENTRIES: usize = 256;

/// Fingerprints of listed locations. Local files are looked at each time; listings of remote stores are trusted for
/// the configured time.
#[derive(Debug)]
pub struct Fingerprints {
    runtime: Arc<RuntimeEnv>,
    remote_ttl: Duration,
    remote: Mutex<HashMap<String, (Instant, u64)>>,
}

impl Fingerprints {
    pub fn new(runtime: Arc<RuntimeEnv>, remote_ttl: Duration) -> Self {
        Self { runtime, remote_ttl, remote: Mutex::default() }
    }

    /// # Errors
    /// What the object store says; a local location that is gone counts as an empty one.
    pub async fn of(&self, url: &ListingTableUrl) -> datafusion::common::Result<u64> {
        if url.scheme() == "file" {
            let path = Path::new("/").join(url.prefix().as_ref());
            return Ok(local(path).await);
        }
        let name = url.to_string();
        if let Some((at, value)) = self.remote.lock().get(&name)
            && at.elapsed() < self.remote_ttl
        {
            return Ok(*value);
        }
        let value = self.list(url).await?;
        let mut remote = self.remote.lock();
        remote.retain(|_, (at, _)| at.elapsed() < self.remote_ttl);
        remote.insert(name, (Instant::now(), value));
        Ok(value)
    }

    async fn list(&self, url: &ListingTableUrl) -> datafusion::common::Result<u64> {
        let store = self.runtime.object_store(url)?;
        if !url.is_collection() {
            let meta = object_store::ObjectStoreExt::head(store.as_ref(), url.prefix()).await?;
            return Ok(hash_entry(meta.location.as_ref(), meta.size, meta.last_modified.timestamp_micros()));
        }
        let mut sum = 0u64;
        let mut entries = store.list(Some(url.prefix()));
        while let Some(meta) = entries.try_next().await? {
            sum = sum.wrapping_add(hash_entry(
                meta.location.as_ref(),
                meta.size,
                meta.last_modified.timestamp_micros(),
            ));
        }
        Ok(sum)
    }
}

async fn local(path: std::path::PathBuf) -> u64 {
    let mut budget = INLINE_ENTRIES;
    if let Some(sum) = walk(&path, &mut budget) {
        return sum;
    }
    let mut unlimited = usize::MAX;
    tokio::task::spawn_blocking(move || walk(&path, &mut unlimited).unwrap_or_default())
        .await
        .unwrap_or_default()
}

/// The sum over all files below `path`, or `None` when the budget of entries ran out.
fn walk(path: &Path, budget: &mut usize) -> Option<u64> {
    *budget = budget.checked_sub(1)?;
    let Ok(meta) = std::fs::metadata(path) else { return Some(0) };
    if !meta.is_dir() {
        let modified = meta
            .modified()
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
            .map_or(0, |elapsed| elapsed.as_nanos() as i64);
        return Some(hash_entry(&path.to_string_lossy(), meta.len(), modified));
    }
    let Ok(entries) = std::fs::read_dir(path) else { return Some(0) };
    let mut sum = 0u64;
    for entry in entries.flatten() {
        sum = sum.wrapping_add(walk(&entry.path(), budget)?);
    }
    Some(sum)
}

/// Order does not matter to the sum of these.
fn hash_entry(path: &str, size: u64, modified: i64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (path, size, modified).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_changed_added_or_removed_file_changes_the_number() {
        let dir = tempfile::tempdir().unwrap();
        let fingerprints = Fingerprints::new(Arc::new(RuntimeEnv::default()), Duration::ZERO);
        let url = ListingTableUrl::parse(format!("{}/", dir.path().display())).unwrap();
        let mut seen = vec![fingerprints.of(&url).await.unwrap()];
        std::fs::write(dir.path().join("a"), "1").unwrap();
        seen.push(fingerprints.of(&url).await.unwrap());
        std::fs::write(dir.path().join("a"), "22").unwrap();
        seen.push(fingerprints.of(&url).await.unwrap());
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/b"), "1").unwrap();
        seen.push(fingerprints.of(&url).await.unwrap());
        assert_eq!(seen[3], fingerprints.of(&url).await.unwrap());
        let distinct: std::collections::HashSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len());
    }
}
