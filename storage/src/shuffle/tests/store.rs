use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use polarway_common::config::S3Config;
use polarway_common::{ErrorKind, ManualClock};
use url::Url;

use super::super::testing::{FaultyStore, Turn, store_over};
use super::super::{Retry, ShuffleError, ShuffleStore};

const NAME: &str = "q-1/w@1/00000000.pack";

/// A store over `inner`, which is told about what is to happen.
fn faulty(inner: FaultyStore) -> (Arc<FaultyStore>, ShuffleStore) {
    let inner = Arc::new(inner);
    let store = store_over(Arc::clone(&inner) as Arc<dyn ObjectStore>);
    (inner, store)
}

async fn conforms(store: ShuffleStore) {
    store.check().await.unwrap();
    store.put(NAME, Bytes::from_static(b"0123456789")).await.unwrap();
    let again = store.put(NAME, Bytes::from_static(b"0123456789")).await;
    assert!(matches!(again, Err(ShuffleError::Exists { .. })), "{again:?}");

    let parts = store.read(NAME, &[2..4, 8..10]).await.unwrap();
    assert_eq!(parts, ["23", "89"]);
    let missing = store.read("q-1/w@1/00000001.pack", &[2..4, 8..10]).await;
    assert!(matches!(missing, Err(ShuffleError::Missing { .. })), "{missing:?}");
    for beyond in [8..11, 20..30] {
        let short = store.read(NAME, std::slice::from_ref(&beyond)).await;
        assert!(matches!(short, Err(ShuffleError::Damaged { .. })), "{beyond:?}: {short:?}");
    }

    store.put("q-1/x/00000000.pack", Bytes::from_static(b"1")).await.unwrap();
    store.put("q-10/w/00000000.pack", Bytes::from_static(b"1")).await.unwrap();
    let stranger = BTreeSet::from(["q-10/w/00000000.pack".to_owned()]);
    assert!(matches!(store.remove_objects("q-1", &stranger).await, Err(ShuffleError::NoPlainId { .. })));
    let named = BTreeSet::from([NAME.to_owned(), "q-1/gone/00000007.pack".to_owned()]);
    assert_eq!(store.remove_objects("q-1", &named).await.unwrap(), 2);
    assert!(matches!(
        store.read(NAME, std::slice::from_ref(&(0..1))).await,
        Err(ShuffleError::Missing { .. })
    ));
    store.put(NAME, Bytes::from_static(b"1")).await.unwrap();
    assert_eq!(store.remove_run("q-1").await.unwrap(), 2);
    assert_eq!(store.remove_run("q-1").await.unwrap(), 0);
    store.remove(NAME).await.unwrap();
    assert!(matches!(store.read(NAME, &[0..1, 2..3]).await, Err(ShuffleError::Missing { .. })));
    assert_eq!(store.read("q-10/w/00000000.pack", std::slice::from_ref(&(0..1))).await.unwrap(), ["1"]);
    for id in ["", ".", "..", "q/1", "*"] {
        assert!(matches!(store.remove_run(id).await, Err(ShuffleError::NoPlainId { .. })), "{id}");
    }

    let requests = store.requests();
    assert_eq!((requests.put_bytes, requests.retries), (13, 0));
    assert!(
        requests.puts >= 6 && requests.gets >= 6 && requests.lists == 2 && requests.deletes >= 4,
        "{requests:?}"
    );
    assert!(requests.get_bytes >= 5);
}

#[tokio::test]
async fn a_store_in_memory() {
    conforms(store_over(Arc::new(InMemory::new()))).await;
}

#[tokio::test]
async fn a_store_below_a_prefix() {
    let inner = Arc::new(InMemory::new());
    inner.put(&Path::from("other/w/0"), Bytes::from_static(b"x").into()).await.unwrap();
    let store =
        ShuffleStore::new(Arc::clone(&inner) as _, Path::from("pre/fix"), "memory:///pre/fix".to_owned());
    conforms(store).await;
    assert!(inner.head(&Path::from("other/w/0")).await.is_ok());
}

#[tokio::test]
async fn a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("shuffle of all");
    let url = Url::from_directory_path(&root).unwrap();
    conforms(ShuffleStore::open(&url, &S3Config::default()).unwrap()).await;
    let left: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["q-10"], "no directories of what is over, and no probe");
}

#[test]
fn a_place_without_conditional_writes_is_not_opened() {
    for (url, kind) in
        [("https://example.com/x", ErrorKind::Unsupported), ("ftp://x/y", ErrorKind::Unsupported)]
    {
        let error = ShuffleStore::open(&Url::parse(url).unwrap(), &S3Config::default()).unwrap_err();
        assert_eq!(error.kind, kind, "{url}");
    }
}

#[tokio::test]
async fn what_is_transient_is_repeated() {
    let (inner, store) = faulty(FaultyStore::new().with_puts([Turn::Transient, Turn::Transient]));
    store.put(NAME, Bytes::from_static(b"abc")).await.unwrap();
    inner.reads.lock().extend([Turn::Transient; 3]);
    assert_eq!(store.read(NAME, std::slice::from_ref(&(0..3))).await.unwrap(), ["abc"]);
    inner.deletes.lock().push_back(Turn::Transient);
    assert_eq!(store.remove_run("q-1").await.unwrap(), 1);
    assert!(inner.objects().await.is_empty());
    let requests = store.requests();
    assert_eq!((requests.puts, requests.gets, requests.retries), (3, 4, 6));
}

#[tokio::test]
async fn a_budget_is_spent_and_no_more() {
    let (_, store) = faulty(FaultyStore::new().with_puts([Turn::Transient; 10]));
    let error = store.put(NAME, Bytes::new()).await.unwrap_err();
    assert!(matches!(error, ShuffleError::Unavailable { attempts: 4, .. }), "{error:?}");
    assert!(
        error.to_string().contains("the connection broke") && error.to_string().contains(NAME),
        "{error}"
    );
    assert_eq!(store.requests().puts, 4);
}

#[tokio::test]
async fn an_answer_that_never_comes_is_waited_for_within_the_budget() {
    let gate = tokio::sync::Semaphore::new(0);
    let (_, store) = faulty(FaultyStore { gate: Some(gate), ..FaultyStore::new() });
    // Long before the 30 s of each request.
    let error = store.check_within(Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, ShuffleError::Unavailable { .. }), "{error:?}");
    let store = store.with_retry(Retry { total: Duration::from_millis(100), ..Retry::default() });
    let error = store.put(NAME, Bytes::new()).await.unwrap_err();
    assert!(matches!(error, ShuffleError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_permanent_fails_at_once_with_its_cause() {
    let (inner, store) = faulty(FaultyStore::new().with_puts([Turn::Permanent]));
    let error = store.put(NAME, Bytes::new()).await.unwrap_err();
    assert!(
        matches!(error, ShuffleError::Refused { .. }) && error.to_string().contains("no access"),
        "{error:?}"
    );
    store.put(NAME, Bytes::from_static(b"x")).await.unwrap();
    inner.reads.lock().push_back(Turn::Permanent);
    let error = store.read(NAME, std::slice::from_ref(&(0..1))).await.unwrap_err();
    assert!(matches!(error, ShuffleError::Refused { .. }), "{error:?}");
    assert_eq!(store.requests().retries, 0);
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_not_doubled() {
    let (inner, store) = faulty(FaultyStore::new().with_puts([Turn::LosesAnswer]));
    store.put(NAME, Bytes::from_static(b"abc")).await.unwrap();
    assert_eq!(inner.objects().await, [NAME]);
    assert_eq!(store.requests().puts, 2);
}

#[tokio::test]
async fn an_object_of_another_length_is_not_ours() {
    let (inner, store) = faulty(FaultyStore::new().with_puts([Turn::Transient]));
    inner.inner.put(&Path::from(NAME), Bytes::from_static(b"another").into()).await.unwrap();
    let error = store.put(NAME, Bytes::from_static(b"abc")).await.unwrap_err();
    assert!(matches!(error, ShuffleError::Exists { .. }), "{error:?}");
}

#[tokio::test]
async fn a_conflict_with_a_write_that_has_not_ended_is_waited_out() {
    let (inner, store) = faulty(FaultyStore::new().with_puts([Turn::Conflict, Turn::Conflict]));
    store.put(NAME, Bytes::from_static(b"abc")).await.unwrap();
    assert_eq!(inner.objects().await, [NAME]);
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_refused() {
    let (inner, store) = faulty(FaultyStore { ignores_conditions: true, ..FaultyStore::new() });
    let error = store.check().await.unwrap_err();
    assert!(matches!(error, ShuffleError::Configuration { .. }), "{error:?}");
    assert!(
        error.to_string().contains("If-None-Match") && error.to_string().contains("memory:///"),
        "{error}"
    );
    assert!(inner.objects().await.is_empty(), "the probe is removed");
}

#[tokio::test]
async fn a_check_bears_transient_faults_and_says_what_is_refused() {
    let (inner, store) = faulty(FaultyStore::new().with_puts([Turn::Transient, Turn::LosesAnswer]));
    store.check().await.unwrap();
    assert!(inner.objects().await.is_empty());
    let (_, store) = faulty(FaultyStore::new().with_puts([Turn::Permanent]));
    assert!(matches!(store.check().await, Err(ShuffleError::Refused { .. })));
}

#[tokio::test]
async fn runs_are_as_old_as_their_newest_object() {
    let clock = Arc::new(ManualClock::new(SystemTime::now()));
    let store = store_over(Arc::new(InMemory::new())).with_clock(Arc::clone(&clock) as _);
    for name in ["old/w/00000000.pack", "both/w/00000000.pack", "probe-1"] {
        store.put(name, Bytes::new()).await.unwrap();
    }
    assert!(store.runs_older_than(Duration::from_secs(60)).await.unwrap().is_empty());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    store.put("both/w/00000001.pack", Bytes::new()).await.unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(store.runs_older_than(Duration::from_millis(500)).await.unwrap(), ["old"]);
    clock.advance(Duration::from_secs(3600));
    assert_eq!(store.runs_older_than(Duration::from_secs(60)).await.unwrap(), ["both", "old"]);
}
