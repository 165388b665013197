//! What files a location holds right now, as one number: a plan made from a listing stays valid while the number
//! stays the same.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use datafusion::datasource::listing::ListingTableUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStoreExt};
use parking_lot::Mutex;

use crate::listing::MAX_LISTING;

/// Numbers of long listings that are remembered.
const MAX_REMEMBERED: usize = 1024;

/// Fingerprints of listed locations. Local files are looked at each time. Remote ones come from the listings that
/// their stores keep, so that planning and the check of cached plans share a request.
#[derive(Debug)]
pub struct Fingerprints {
    runtime: Arc<RuntimeEnv>,
    remote_ttl: Duration,
    /// Of listings that are too long to be kept: their number is, or each statement would list them again.
    long: Mutex<HashMap<String, (Instant, u64)>>,
}

impl Fingerprints {
    /// `remote_ttl` is how long a listing of a remote store is trusted.
    pub fn new(runtime: Arc<RuntimeEnv>, remote_ttl: Duration) -> Self {
        Self { runtime, remote_ttl, long: Mutex::default() }
    }

    /// # Errors
    /// What the object store says; a local location that is gone counts as an empty one.
    pub async fn of(&self, url: &ListingTableUrl) -> datafusion::common::Result<u64> {
        if url.scheme() == "file" {
            if !url.is_collection()
                && let Some(number) = local_file(&Path::new("/").join(url.prefix().as_ref()))
            {
                return Ok(number);
            }
            return Ok(self.below(url).await?.0);
        }
        let name = url.to_string();
        if let Some((at, number)) = self.long.lock().get(&name)
            && at.elapsed() < self.remote_ttl
        {
            return Ok(*number);
        }
        if !url.is_collection() {
            let store = self.runtime.object_store(url)?;
            return Ok(hash_object(&store.head(url.prefix()).await?));
        }
        let asked = Instant::now();
        let (number, objects) = self.below(url).await?;
        if objects > MAX_LISTING {
            let mut long = self.long.lock();
            long.retain(|_, (at, _)| at.elapsed() < self.remote_ttl);
            if long.len() < MAX_REMEMBERED {
                long.insert(name, (asked, number));
            }
        }
        Ok(number)
    }

    /// The sum over all objects below `url`, and how many they are.
    async fn below(&self, url: &ListingTableUrl) -> datafusion::common::Result<(u64, usize)> {
        let store = self.runtime.object_store(url)?;
        let (mut sum, mut count) = (0u64, 0usize);
        let mut objects = store.list(Some(url.prefix()));
        while let Some(object) = objects.try_next().await? {
            sum = sum.wrapping_add(hash_object(&object));
            count += 1;
        }
        Ok((sum, count))
    }
}

/// The number of one local file, or `None` for a directory.
fn local_file(path: &Path) -> Option<u64> {
    let Ok(meta) = std::fs::metadata(path) else { return Some(0) };
    if meta.is_dir() {
        return None;
    }
    let modified = meta.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    Some(hash(&(path, meta.len(), modified)))
}

/// Order does not matter to the sum of these.
fn hash_object(object: &ObjectMeta) -> u64 {
    let path: &str = object.location.as_ref();
    let modified = (object.last_modified.timestamp(), object.last_modified.timestamp_subsec_nanos());
    hash(&(path, object.size, modified, object.e_tag.as_deref()))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use polarway_common::config::S3Config;

    use super::*;
    use crate::policy::PathPolicy;
    use crate::registry::PolicyRegistry;

    fn fingerprints(allowed: &Path) -> Fingerprints {
        let policy = Arc::new(PathPolicy::new(&[allowed.display().to_string()]).unwrap());
        let registry = Arc::new(PolicyRegistry::new(policy, S3Config::default(), Duration::from_secs(3600)));
        let runtime = RuntimeEnvBuilder::new().with_object_store_registry(registry).build_arc().unwrap();
        Fingerprints::new(runtime, Duration::from_secs(3600))
    }

    #[tokio::test]
    async fn a_changed_added_or_removed_file_changes_the_number() {
        let dir = tempfile::tempdir().unwrap();
        let fingerprints = fingerprints(dir.path());
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

    #[tokio::test]
    async fn one_file_has_a_number_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let fingerprints = fingerprints(dir.path());
        let path = dir.path().join("a.csv");
        std::fs::write(&path, "1").unwrap();
        let url = ListingTableUrl::parse(path.display().to_string()).unwrap();
        let first = fingerprints.of(&url).await.unwrap();
        std::fs::write(dir.path().join("b.csv"), "1").unwrap();
        assert_eq!(fingerprints.of(&url).await.unwrap(), first);
        std::fs::write(&path, "22").unwrap();
        assert_ne!(fingerprints.of(&url).await.unwrap(), first);
    }

    #[tokio::test]
    async fn row_11_a_link_out_of_the_roots_is_refused_and_not_walked() {
        let dir = tempfile::tempdir().unwrap();
        let fingerprints = fingerprints(dir.path());
        std::fs::write(dir.path().join("a"), "1").unwrap();
        symlink(dir.path(), dir.path().join("again")).unwrap();
        let url = ListingTableUrl::parse(format!("{}/", dir.path().display())).unwrap();
        fingerprints.of(&url).await.unwrap();
        symlink("/", dir.path().join("root")).unwrap();
        let error = fingerprints.of(&url).await.unwrap_err().to_string();
        assert!(error.contains("outside the locations"), "{error}");
    }
}
