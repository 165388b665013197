//! Object stores by URL, made on first use and shared by every query of the process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::DataFusionError;
use datafusion::execution::object_store::ObjectStoreRegistry;
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::RwLock;
use polarway_common::Error;
use polarway_common::config::S3Config;
use url::{Position, Url};

use crate::guard::{GuardedStore, StoreCounters};
use crate::policy::PathPolicy;
use crate::stores::plain_store;

/// The stores that policy allows. Nothing can be registered at run time.
#[derive(Debug)]
pub struct PolicyRegistry {
    policy: Arc<PathPolicy>,
    s3: S3Config,
    list_ttl: Duration,
    counters: Arc<StoreCounters>,
    stores: RwLock<HashMap<String, Arc<GuardedStore>>>,
}

impl PolicyRegistry {
    /// Listings of remote stores are trusted for `list_ttl`.
    pub fn new(policy: Arc<PathPolicy>, s3: S3Config, list_ttl: Duration) -> Self {
        Self { policy, s3, list_ttl, counters: Arc::default(), stores: RwLock::default() }
    }

    pub fn counters(&self) -> Arc<StoreCounters> {
        Arc::clone(&self.counters)
    }

    /// Takes what is kept of listings as out of date where `path` is, in the store at `url`.
    pub fn forget(&self, url: &Url, path: &Path) {
        if let Some(store) = self.stores.read().get(&key(url)) {
            store.forget(path);
        }
    }

    fn build(&self, url: &Url) -> Result<Arc<GuardedStore>, Error> {
        let inner = plain_store(url, &self.s3)?;
        let policy = Arc::clone(&self.policy);
        Ok(Arc::new(GuardedStore::new(inner, policy, self.counters(), url.clone(), self.list_ttl)))
    }
}

fn key(url: &Url) -> String {
    url[..Position::BeforePath].to_owned()
}

impl ObjectStoreRegistry for PolicyRegistry {
    fn register_store(&self, url: &Url, _store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        tracing::warn!(url = %key(url), "ignored an object store registered at run time");
        None
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>, DataFusionError> {
        let external = |error: Error| DataFusionError::External(Box::new(error));
        self.policy.reaches_store(url).map_err(external)?;
        let key = key(url);
        if let Some(store) = self.stores.read().get(&key) {
            return Ok(Arc::clone(store) as Arc<dyn ObjectStore>);
        }
        let mut base = url.clone();
        base.set_path("/");
        let store = self.build(&base).map_err(external)?;
        Ok(Arc::clone(self.stores.write().entry(key).or_insert(store)) as Arc<dyn ObjectStore>)
    }
}
