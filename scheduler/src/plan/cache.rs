//! Plans that can be used again.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lru::LruCache;
use parking_lot::Mutex;
use polarway_engine::settings::Settings;

use super::compiled::Compiled;
use crate::catalog::Bounds;

/// What a plan depends on besides the files it reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PlanKey {
    pub sql: String,
    /// They tell who asks, and in which namespace.
    pub settings: Settings,
    pub catalog_version: u64,
    /// Where its paths may lead.
    pub bounds: Bounds,
}

/// Plans between GetFlightInfo and DoGet; one that was pushed out is made anew.
const HELD: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Two caches: plans by statement, and plans between a statement's GetFlightInfo and its DoGet.
#[derive(Debug)]
pub struct PlanCache {
    /// `None` when plans are not kept.
    by_statement: Option<Mutex<LruCache<PlanKey, Arc<Compiled>>>>,
    by_query: Mutex<LruCache<String, Arc<Compiled>>>,
    pub hits: AtomicU64,
    pub misses: AtomicU64,
}

impl PlanCache {
    pub fn new(capacity: usize) -> Self {
        Self {
            by_statement: NonZeroUsize::new(capacity).map(|capacity| Mutex::new(LruCache::new(capacity))),
            by_query: Mutex::new(LruCache::new(HELD)),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    pub fn get(&self, key: &PlanKey) -> Option<Arc<Compiled>> {
        self.by_statement.as_ref()?.lock().get(key).cloned()
    }

    pub fn put(&self, key: PlanKey, plan: Arc<Compiled>) {
        if let Some(plans) = &self.by_statement {
            plans.lock().put(key, plan);
        }
    }

    pub fn forget(&self, key: &PlanKey) {
        if let Some(plans) = &self.by_statement {
            plans.lock().pop(key);
        }
    }

    pub fn hold(&self, query_id: &str, plan: Arc<Compiled>) {
        self.by_query.lock().put(query_id.to_owned(), plan);
    }

    /// Gives a held plan out, once.
    pub fn take(&self, query_id: &str) -> Option<Arc<Compiled>> {
        self.by_query.lock().pop(query_id)
    }

    pub fn count(&self, hit: bool) {
        let counter = if hit { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use polarway_common::{Caller, Namespace, Role};
    use polarway_engine::settings::of_caller;

    use super::*;

    #[test]
    fn row_47_a_plan_is_kept_for_one_caller_in_one_namespace() {
        let key = |caller: &Caller| PlanKey {
            sql: "SELECT * FROM t".to_owned(),
            settings: of_caller(caller),
            catalog_version: 7,
            bounds: Bounds::default(),
        };
        let ana = Caller::new("ana", Role::Read);
        let of = |namespace: &str| ana.clone().of(Namespace::parse(namespace).unwrap());
        let keys = [key(&Caller::anyone()), key(&ana), key(&of("acme")), key(&of("beta"))];
        let different: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
        assert_eq!(key(&ana), key(&of("default")));
    }
}
