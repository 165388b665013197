use std::fs;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};

use super::*;
use crate::conformance::{Outcome, resumption};
use crate::txn::Expect;

mod in_memory {
    use super::*;

    async fn new_store() -> (Arc<dyn MetaStore>, ()) {
        (Arc::new(EmbeddedMetaStore::in_memory().unwrap()), ())
    }

    crate::conformance_tests!(new_store);
}

mod traced {
    use super::*;
    use crate::TracedMetaStore;

    async fn new_store() -> (Arc<dyn MetaStore>, ()) {
        (TracedMetaStore::over(Arc::new(EmbeddedMetaStore::in_memory().unwrap())), ())
    }

    crate::conformance_tests!(new_store);
}

mod on_disk {
    use super::*;

    async fn new_store() -> (Arc<dyn MetaStore>, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedMetaStore::open(directory.path().join("meta.redb")).await.unwrap();
        (Arc::new(store), directory)
    }

    crate::conformance_tests!(new_store);
}

const LONG: Duration = Duration::from_secs(600);

const FEW: HistoryLimit = HistoryLimit { events: 3, bytes: 1 << 20 };

async fn put(store: &EmbeddedMetaStore, key: &str, value: &str) -> u64 {
    let outcome = store.txn(Txn::new().put(key, value.to_owned())).await.unwrap();
    outcome.committed().unwrap()
}

#[tokio::test]
async fn reopening_keeps_data_and_revision() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("not/yet/there/meta.redb");
    let store = EmbeddedMetaStore::open(&path).await.unwrap();
    put(&store, "a", "1").await;
    put(&store, "b", "2").await;
    store.txn(Txn::new().delete("a").put("c", vec![0xff; 100_000])).await.unwrap();
    let before = store.list("").await.unwrap();
    drop(store);

    let store = EmbeddedMetaStore::open(&path).await.unwrap();
    assert_eq!(store.list("").await.unwrap(), before);
    assert_eq!(store.revision().await.unwrap(), 3);
    let update = Txn::new().expect("b", Expect::Revision(2)).put("b", "3");
    assert_eq!(store.txn(update).await.unwrap(), TxnOutcome::Committed { revision: 4 });
}

#[tokio::test]
async fn a_watch_across_a_restart_must_list_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("meta.redb");
    let store = EmbeddedMetaStore::open(&path).await.unwrap();
    put(&store, "a", "1").await;
    put(&store, "a", "2").await;
    drop(store);

    let store = EmbeddedMetaStore::open(&path).await.unwrap();
    let error = store.watch("", 1).await.err().unwrap();
    assert!(matches!(error, MetaStoreError::Compacted { at: 2 }) && error.needs_relist(), "{error}");
    let mut events = store.watch("", 2).await.unwrap();
    put(&store, "a", "3").await;
    assert_eq!(events.next().await.unwrap().unwrap().revision, 3);
}

#[tokio::test]
async fn a_second_open_names_the_file_and_its_holder() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("meta.redb");
    let store = EmbeddedMetaStore::open(&path).await.unwrap();
    let error = EmbeddedMetaStore::open(&path).await.unwrap_err();
    assert!(matches!(error, MetaStoreError::Held { .. }) && error.is_retryable());
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()) && text.contains("another process"), "{text}");
    drop(store);
    EmbeddedMetaStore::open(&path).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("meta.redb");
    let text = b"[scheduler]\n".repeat(1000);
    fs::write(&path, &text).unwrap();
    let error = EmbeddedMetaStore::open(&path).await.unwrap_err();
    assert!(matches!(error, MetaStoreError::Corrupt { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), text);
    let error = EmbeddedMetaStore::open(directory.path()).await.unwrap_err();
    assert!(matches!(error, MetaStoreError::Io { .. }), "{error}");
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("meta.redb");
    let store = EmbeddedMetaStore::open(&path).await.unwrap();
    store.txn(Txn::new().put("a", vec![0x5a; 20_000])).await.unwrap();
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let inside = bytes.windows(64).position(|window| window == [0x5a; 64]).unwrap();
    bytes[inside + 10] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = EmbeddedMetaStore::open(&path).await.unwrap_err();
    assert!(matches!(error, MetaStoreError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_watcher_that_is_too_slow_is_told() {
    let store = EmbeddedMetaStore::in_memory_with(FEW).unwrap();
    let mut slow = store.watch("", 0).await.unwrap();
    for round in 0..10 {
        put(&store, "a", &round.to_string()).await;
    }
    let error = slow.next().await.unwrap().unwrap_err();
    assert!(matches!(error, MetaStoreError::Lagged { at: 7 }) && error.needs_relist(), "{error}");
    assert!(slow.next().await.is_none());
    let error = store.watch("", 6).await.err().unwrap();
    assert!(matches!(error, MetaStoreError::Compacted { at: 7 }), "{error}");
    assert_eq!(store.watch("", 7).await.unwrap().next().await.unwrap().unwrap().revision, 8);
}

#[tokio::test]
async fn what_is_forgotten_is_told() -> Outcome {
    let small = HistoryLimit { events: 100, bytes: 1_000 };
    let store = Arc::new(EmbeddedMetaStore::in_memory_with(small).unwrap());
    let forget = async |_| {
        let forgotten = put(&store, "other", &"0".repeat(2_000)).await;
        // With it the one before is too much, and there is room again.
        put(&store, "other", "").await;
        Ok(forgotten)
    };
    resumption::what_is_forgotten_is_told(Arc::clone(&store) as _, forget).await
}

#[tokio::test]
async fn revisions_follow_each_other() {
    let store = EmbeddedMetaStore::in_memory().unwrap();
    assert_eq!(store.revision().await.unwrap(), 0);
    assert_eq!((put(&store, "a", "1").await, put(&store, "a", "1").await), (1, 2));
    let lease = store.grant(LONG).await.unwrap().id;
    assert_eq!(store.revision().await.unwrap(), 2);
    store.txn(Txn::new().put_leased("b", "1", lease).put_leased("c", "1", lease)).await.unwrap();
    store.revoke(lease).await.unwrap();
    assert_eq!(store.revision().await.unwrap(), 4);
}

#[tokio::test]
async fn leases_and_their_keys_are_gone_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("meta.redb");
    let store = EmbeddedMetaStore::open(&path).await.unwrap();
    let lease = store.grant(LONG).await.unwrap().id;
    let txn = Txn::new().put_leased("a", "1", lease).put_leased("freed", "1", lease).put("b", "1");
    store.txn(txn).await.unwrap();
    store.txn(Txn::new().put_leased("gone", "1", lease)).await.unwrap();
    store.txn(Txn::new().put("freed", "2").delete("gone")).await.unwrap();
    drop(store);

    let store = EmbeddedMetaStore::open(&path).await.unwrap();
    let entries = store.list("").await.unwrap().entries;
    assert!(entries.iter().map(|(key, _)| key.as_str()).eq(["b", "freed"]));
    // As if in a transaction, which watches from before cannot have seen.
    assert_eq!(store.revision().await.unwrap(), 4);
    assert!(store.watch("", 3).await.err().unwrap().needs_relist());
    let error = store.keep_alive(lease).await.unwrap_err();
    assert!(matches!(error, MetaStoreError::LeaseNotFound { .. }), "{error}");
    assert_ne!(store.grant(LONG).await.unwrap().id, lease);
    drop(store);

    let store = EmbeddedMetaStore::open(&path).await.unwrap();
    assert_eq!(store.revision().await.unwrap(), 4);
}

#[tokio::test]
async fn a_watch_ends_when_the_store_is_dropped() {
    let store = EmbeddedMetaStore::in_memory().unwrap();
    let mut events = store.watch("", 0).await.unwrap();
    put(&store, "a", "1").await;
    drop(store);
    assert_eq!(events.next().await.unwrap().unwrap().revision, 1);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_transaction_without_its_caller_leaves_the_store_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("meta.redb");
    let store = EmbeddedMetaStore::open(&path).await.unwrap();
    for round in 0..20 {
        // Polled once, then dropped: the commit is under way.
        let _ = store.txn(Txn::new().put("a", round.to_string()).put("b", round.to_string())).now_or_never();
        tokio::time::sleep(Duration::from_micros(100 * round)).await;
    }
    let revision = put(&store, "last", "").await;
    let before = store.list("").await.unwrap();
    assert_eq!(before.revision, revision);
    assert_eq!(before.entries[0].1, before.entries[1].1);
    drop(store);
    assert_eq!(EmbeddedMetaStore::open(&path).await.unwrap().list("").await.unwrap(), before);
}
