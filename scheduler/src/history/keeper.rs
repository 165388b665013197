//! Writes ended queries into the metadata store, and learns what other schedulers have written.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use polarway_common::clock::{Clock, unix_millis};
use polarway_common::{Error, Namespace};
use polarway_metastore::follow::{Follower, Seen};
use polarway_metastore::{EventKind, KeyPrefix, MetaStore, MetaStoreError, Txn};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::archive::Name;
use super::entry::{Entry, FULL, Lines};
use super::past::Past;

/// Between two transactions.
const ROUND: Duration = Duration::from_secs(1);
/// What the last ones may take, when the process ends.
const LAST: Duration = Duration::from_secs(3);
/// Keys that one transaction deletes, and those that it writes: etcd takes 128 operations by default.
const DELETED_AT_ONCE: usize = 100;
const WRITTEN_AT_ONCE: usize = 20;

/// Keeps the history until `stop`; then writes what there still is.
pub fn keep(
    past: Arc<Past>,
    meta: Arc<dyn MetaStore>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> BoxFuture<'static, Result<(), Error>> {
    Box::pin(async move {
        let mut writer = Writer::new(Arc::clone(&past), Arc::clone(&meta), clock);
        tokio::select! {
            () = follow(&past, meta) => {}
            () = writer.write_until(&stop) => {}
        }
        Ok(())
    })
}

/// Deletes the history of all schedulers: that none is to be kept holds for what there is, too.
pub fn forget(meta: Arc<dyn MetaStore>, stop: CancellationToken) -> BoxFuture<'static, Result<(), Error>> {
    Box::pin(async move {
        let deleting = async {
            let listed = meta.list(&KeyPrefix::History.encode()).await?;
            for chunks in listed.entries.chunks(DELETED_AT_ONCE) {
                let txn = chunks.iter().fold(Txn::new(), |txn, (key, _)| txn.delete(key));
                meta.txn(txn).await?;
            }
            Ok::<(), Error>(())
        };
        stop.run_until_cancelled(deleting).await.unwrap_or(Ok(()))
    })
}

async fn follow(past: &Past, meta: Arc<dyn MetaStore>) {
    let mut chunks = Follower::new(meta, KeyPrefix::History.encode());
    loop {
        match chunks.next().await {
            Seen::All(entries) => {
                let mut all = vec![];
                for (key, found) in entries {
                    all.extend(past.read(&key, &found.value));
                    // Others need not wait until a long history is read.
                    tokio::task::yield_now().await;
                }
                past.learn_all(all);
            }
            Seen::One(event) => match event.kind {
                EventKind::Put(text) => {
                    if let Some((name, chunk)) = past.read(&event.key, &text) {
                        past.learn(name, chunk);
                    }
                }
                EventKind::Delete => {
                    if let Some(name) = Name::of(&event.key) {
                        past.forget(&name);
                    }
                }
            },
        }
    }
}

/// Queries of one namespace, which go into one value.
struct Part {
    name: Name,
    text: Bytes,
    count: usize,
}

struct Writer {
    past: Arc<Past>,
    meta: Arc<dyn MetaStore>,
    clock: Arc<dyn Clock>,
    /// What is to be written next. It stays the same, under the same key, until it is certain that it was: so it is there
    /// once, whatever became of earlier tries.
    batch: Option<Vec<Part>>,
    /// When the last one was named.
    last: u64,
    /// The namespace whose query was taken last.
    turn: Namespace,
    fails: bool,
}

impl Writer {
    fn new(past: Arc<Past>, meta: Arc<dyn MetaStore>, clock: Arc<dyn Clock>) -> Self {
        Self { past, meta, clock, batch: None, last: 0, turn: Namespace::default(), fails: false }
    }

    async fn write_on(&mut self) {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            self.write().await;
        }
    }

    async fn write_until(&mut self, stop: &CancellationToken) {
        stop.run_until_cancelled(self.write_on()).await;
        let rest = async { while self.write().await {} };
        if timeout(LAST, rest).await.is_err() {
            tracing::warn!("the last queries are not in the history: the metadata store does not answer");
        }
    }

    /// Writes what waits, as much of it as goes into one transaction. Gives whether there was something, and it is written.
    /// May be dropped at any time.
    async fn write(&mut self) -> bool {
        if self.batch.is_none() {
            self.batch = self.gather();
        }
        let Some(parts) = &self.batch else { return false };
        let written: Vec<(Name, usize)> = parts.iter().map(|part| (part.name.clone(), part.count)).collect();
        let each = DELETED_AT_ONCE / written.len().max(1);
        let superfluous = |(name, count): &(Name, usize)| self.past.superfluous(name, *count, each);
        let deleted: Vec<Name> = written.iter().flat_map(superfluous).collect();
        let txn = parts.iter().fold(Txn::new(), |txn, part| txn.put(part.name.key(), part.text.clone()));
        let txn = deleted.iter().fold(txn, |txn, name| txn.delete(name.key()));
        match self.meta.txn(txn).await {
            Ok(_) => {
                self.past.wrote(written, &deleted);
                (self.batch, self.fails) = (None, false);
                true
            }
            Err(error) => {
                self.failed(&error, written.iter().map(|(_, count)| count).sum());
                false
            }
        }
    }

    /// Takes one query of each namespace after another until there is no room: where more end than can be written, those of
    /// some do not keep those of others waiting.
    fn gather(&mut self) -> Option<Vec<Part>> {
        let whose = self.past.whose(&self.turn, WRITTEN_AT_ONCE);
        let mut texts: Vec<_> = whose.into_iter().map(|namespace| (namespace, Lines::default())).collect();
        let (mut bytes, mut more) = (0, true);
        while more && bytes < FULL {
            more = false;
            for (namespace, lines) in &mut texts {
                if bytes >= FULL {
                    break;
                }
                let Some(query) = self.past.next(namespace) else { continue };
                more = true;
                self.turn.clone_from(namespace);
                let before = lines.bytes();
                if let Err(error) = lines.add(Entry::of(query.record(), &query.plans())) {
                    tracing::warn!(query = query.id, %error, "a query cannot be written into the history");
                    self.past.lost(1);
                }
                bytes += lines.bytes() - before;
            }
        }
        texts.retain(|(_, lines)| lines.count() > 0);
        if texts.is_empty() {
            return None;
        }
        // Two of one scheduler and namespace never have one name, whatever its clock does.
        self.last = unix_millis(self.clock.wall()).max(self.last + 1);
        let part = |(namespace, lines): (Namespace, Lines)| Part {
            name: Name { at: self.last, scheduler: self.past.us().to_owned(), namespace },
            count: lines.count(),
            text: lines.into_text(),
        };
        Some(texts.into_iter().map(part).collect())
    }

    fn failed(&mut self, error: &MetaStoreError, count: usize) {
        let again = error.is_retryable() || matches!(error, MetaStoreError::OutcomeUnknown { .. });
        if !again {
            self.past.lost(count);
            self.batch = None;
        }
        if self.fails {
            tracing::debug!(%error, again, "the history is still not written");
        } else {
            tracing::warn!(%error, again, "the history is not written");
        }
        self.fails = true;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::SystemTime;

    use polarway_common::clock::ManualClock;
    use polarway_common::{Caller, Role};
    use polarway_metastore::EmbeddedMetaStore;

    use super::*;
    use crate::queries::Queries;

    /// A scheduler that keeps the last `most` queries in `meta`.
    struct Scheduler {
        queries: Arc<Queries>,
        past: Arc<Past>,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<Result<(), Error>>,
    }

    impl Scheduler {
        fn start(name: &str, most: usize, meta: &Arc<dyn MetaStore>) -> Self {
            let past = Arc::new(Past::new(most, &format!("incarnation-of-{name}")));
            let queries = Arc::new(Queries::new(None, name, Arc::clone(&past)));
            let (stop, clock) = (CancellationToken::new(), Arc::new(clock()));
            let task = tokio::spawn(keep(Arc::clone(&past), Arc::clone(meta), clock, stop.clone()));
            Self { queries, past, stop, task }
        }

        fn runs(&self, user: &str, id: &str) {
            self.runs_for(&Caller::new(user, Role::Read), id);
        }

        fn runs_for(&self, caller: &Caller, id: &str) {
            self.queries.begin(caller, id, "select 1", "direct").finish(&Ok(()));
        }

        async fn end(self) {
            self.stop.cancel();
            self.task.await.unwrap().unwrap();
        }

        fn shown(&self, caller: &Caller) -> Vec<(String, String)> {
            let overview = self.queries.overview(caller);
            overview.into_iter().map(|record| (record.id, record.scheduler)).collect()
        }

        async fn until(&self, what: impl Fn(&Self) -> bool) {
            while !what(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    fn clock() -> ManualClock {
        ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1))
    }

    fn store() -> Arc<dyn MetaStore> {
        Arc::new(EmbeddedMetaStore::in_memory().unwrap())
    }

    async fn stored(meta: &Arc<dyn MetaStore>) -> usize {
        let listed = meta.list(&KeyPrefix::History.encode()).await.unwrap();
        listed.entries.iter().map(|(_, found)| super::super::entry::count(&found.value)).sum()
    }

    #[tokio::test]
    async fn row_48_a_successor_and_a_neighbour_show_what_a_scheduler_ran() {
        let meta = store();
        let neighbour = Scheduler::start("neighbour", 10, &meta);
        let first = Scheduler::start("first", 10, &meta);
        first.runs("ana", "q-1");
        first.runs("bob", "q-2");
        first.until(|it| it.past.written.load(Ordering::Relaxed) == 2).await;
        let root = Caller::anyone();
        neighbour.until(|it| it.shown(&root).len() == 2).await;
        // Its own are shown once.
        assert_eq!(first.shown(&root).len(), 2);
        // The last ones are written at the end.
        first.runs("ana", "q-3");
        first.end().await;
        let next = Scheduler::start("next", 10, &meta);
        next.until(|it| it.shown(&root).len() == 3).await;
        let ana = Caller::new("ana", Role::Read);
        next.runs("ana", "q-4");
        let of = |id: &str, scheduler: &str| (id.to_owned(), scheduler.to_owned());
        let mut shown = next.shown(&ana);
        shown.sort();
        assert_eq!(shown, [of("q-1", "first"), of("q-3", "first"), of("q-4", "next")]);
        assert!(next.past.get(&ana, "q-2").is_none() && next.past.get(&root, "q-2").is_some());
        neighbour.end().await;
        next.end().await;
    }

    #[tokio::test]
    async fn row_48_so_many_are_kept_and_no_more_wait() {
        let meta = store();
        let scheduler = Scheduler::start("one", 3, &meta);
        for round in 0..3 {
            let before = scheduler.past.written.load(Ordering::Relaxed);
            scheduler.runs("", &format!("q-{round}-a"));
            scheduler.runs("", &format!("q-{round}-b"));
            scheduler.until(|it| it.past.written.load(Ordering::Relaxed) == before + 2).await;
        }
        // Whole texts go: without the oldest of these two there would be two queries.
        assert_eq!(stored(&meta).await, 4);
        for number in 0..5 {
            scheduler.runs("", &format!("q-{number}"));
        }
        assert_eq!(scheduler.past.dropped.load(Ordering::Relaxed), 2);
        scheduler.end().await;
        assert_eq!(stored(&meta).await, 3);
        forget(Arc::clone(&meta), CancellationToken::new()).await.unwrap();
        assert_eq!(stored(&meta).await, 0);
    }

    #[tokio::test]
    async fn row_48_one_namespace_keeps_as_much_whatever_others_run() {
        let meta = store();
        let scheduler = Scheduler::start("one", 3, &meta);
        let of = |namespace: &str| Caller::new("ana", Role::Read).of(Namespace::parse(namespace).unwrap());
        let (ana, loud) = (of("default"), of("acme"));
        scheduler.runs_for(&ana, "q-1");
        let written = |it: &Scheduler| it.past.written.load(Ordering::Relaxed);
        scheduler.until(|it| written(it) == 1).await;
        for round in 0..2 {
            let before = written(&scheduler);
            for number in 0..3 {
                scheduler.runs_for(&loud, &format!("loud-{round}-{number}"));
            }
            scheduler.until(|it| written(it) == before + 3).await;
        }
        scheduler.runs_for(&ana, "q-2");
        // What waits pushes out what waits of the same namespace.
        for number in 0..5 {
            scheduler.runs_for(&loud, &format!("loud-{number}"));
        }
        let dropped = scheduler.past.dropped.load(Ordering::Relaxed);
        scheduler.end().await;
        assert_eq!(stored(&meta).await, 2 + 3);
        assert_eq!(dropped, 2);
        let next = Scheduler::start("next", 3, &meta);
        next.until(|it| it.shown(&ana).len() == 2 && it.shown(&loud).len() == 3).await;
        next.end().await;
    }

    #[tokio::test]
    async fn row_48_many_namespaces_are_written_a_few_at_a_time() {
        let meta = store();
        let scheduler = Scheduler::start("one", 3, &meta);
        let callers: Vec<Caller> = (0..2 * WRITTEN_AT_ONCE + 1)
            .map(|number| {
                let namespace = Namespace::parse(&format!("tenant-{number}")).unwrap();
                Caller::new("ana", Role::Read).of(namespace)
            })
            .collect();
        for (number, caller) in callers.iter().enumerate() {
            scheduler.runs_for(caller, &format!("q-{number}"));
        }
        scheduler.end().await;
        assert_eq!(stored(&meta).await, callers.len());
    }

    #[tokio::test]
    async fn row_48_an_entry_that_cannot_be_read_costs_no_other() {
        let meta = store();
        let good = r#"{"query":{"id":"q-1","sql":"select 1","route":"direct","state":"finished","attempt":1,"elapsed_ms":5,"later":1}}"#;
        let text = format!("no JSON\n{good}\n");
        meta.txn(Txn::new().put("history/00000000000000000001/a/default", text).put("history/other", "x"))
            .await
            .unwrap();
        let scheduler = Scheduler::start("one", 3, &meta);
        let root = Caller::anyone();
        scheduler.until(|it| it.shown(&root) == [("q-1".to_owned(), String::new())]).await;
        scheduler.end().await;
    }
}
