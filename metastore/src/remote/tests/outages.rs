use futures::StreamExt;
use tokio::sync::Notify;

use super::*;

fn is_unavailable<T>(result: Result<T>) {
    let error = result.err().unwrap();
    assert!(matches!(error, MetaStoreError::Unavailable { .. }) && error.is_retryable(), "{error:?}");
    let error = polarway_common::Error::from(error);
    assert_eq!(error.kind, polarway_common::ErrorKind::StoreUnavailable);
}

fn is_unknown<T>(result: Result<T>) {
    let error = result.err().unwrap();
    assert!(matches!(error, MetaStoreError::OutcomeUnknown { .. }) && !error.is_retryable(), "{error:?}");
    assert!(!polarway_common::Error::from(error).is_retryable());
}

/// Transactions take place, and their answers never come.
#[derive(Debug)]
struct Mute {
    inner: Arc<EmbeddedMetaStore>,
    done: Arc<Notify>,
}

#[async_trait]
impl MetaStore for Mute {
    async fn get(&self, _: &str) -> Result<Option<Versioned>> {
        std::future::pending().await
    }

    async fn list(&self, _: &str) -> Result<Snapshot> {
        std::future::pending().await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        self.inner.txn(txn).await?;
        self.done.notify_one();
        std::future::pending().await
    }

    async fn watch(&self, _: &str, _: u64) -> Result<WatchStream> {
        std::future::pending().await
    }

    async fn revision(&self) -> Result<u64> {
        std::future::pending().await
    }

    async fn grant(&self, _: Duration) -> Result<Lease> {
        std::future::pending().await
    }

    async fn keep_alive(&self, _: LeaseId) -> Result<()> {
        std::future::pending().await
    }

    async fn revoke(&self, _: LeaseId) -> Result<()> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_server_that_goes_away_is_unavailable_until_it_is_back() {
    let inner = embedded();
    let mut host = Host::start("127.0.0.1:0", Arc::clone(&inner) as _);
    let store = remote(host.address).with_patience(BRIEF);
    put(&store, "a", "1").await;
    let mut events = store.watch("", 1).await.unwrap();

    host.kill();
    let started = Instant::now();
    is_unavailable(events.next().await.unwrap());
    assert!(events.next().await.is_none());
    is_unavailable(store.get("a").await);
    is_unavailable(store.list("").await);
    is_unavailable(store.revision().await);
    is_unavailable(store.watch("", 1).await);
    is_unavailable(store.grant(PATIENCE).await);
    is_unavailable(store.keep_alive(LeaseId::new(1)).await);
    is_unavailable(store.revoke(LeaseId::new(1)).await);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    // It was not sent, which is certain.
    is_unavailable(store.txn(Txn::new().put("a", "2")).await);

    let _host = Host::start(&host.address.to_string(), Arc::clone(&inner) as _);
    assert_eq!(store.get("a").await.unwrap().unwrap().revision, 1);
    assert_eq!(put(&store, "a", "2").await, 2);
    let mut events = store.watch("", 1).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().revision, 2);
}

#[tokio::test]
async fn reads_ride_out_a_restart() {
    let inner = embedded();
    let mut host = Host::start("127.0.0.1:0", Arc::clone(&inner) as _);
    let address = host.address.to_string();
    let store = remote(host.address);
    put(&store, "a", "1").await;
    host.kill();
    let restart = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        Host::start(&address, Arc::clone(&inner) as _)
    };
    let (_host, got, listed, revision, watch) =
        tokio::join!(restart, store.get("a"), store.list(""), store.revision(), store.watch("", 1));
    assert!(got.unwrap().is_some());
    assert_eq!((listed.unwrap().revision, revision.unwrap()), (1, 1));
    assert!(watch.is_ok());
}

#[tokio::test]
async fn a_transaction_whose_answer_is_lost_is_not_sent_again() {
    let (inner, done) = (embedded(), Arc::new(Notify::new()));
    let mute = Arc::new(Mute { inner: Arc::clone(&inner), done: Arc::clone(&done) });
    let mut host = Host::start("127.0.0.1:0", Arc::clone(&mute) as _);
    let address = host.address.to_string();
    let store = remote(host.address);
    let txn = tokio::spawn(async move { store.txn(Txn::new().put("a", "1")).await });
    done.notified().await;
    host.kill();
    let _host = Host::start(&address, mute);
    is_unknown(txn.await.unwrap());
    assert_eq!(inner.revision().await.unwrap(), 1);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_waited_for_within_bounds() {
    let (inner, done) = (embedded(), Arc::new(Notify::new()));
    let mute = Arc::new(Mute { inner: Arc::clone(&inner), done });
    let store = serve(mute, Rights::all()).await;
    let store = RemoteMetaStore::clone(&store).with_patience(BRIEF);
    let started = Instant::now();
    let (got, listed, revision, watch, txn) = tokio::join!(
        store.get("a"),
        store.list(""),
        store.revision(),
        store.watch("", 0),
        store.txn(Txn::new().put("a", "1"))
    );
    is_unavailable(got);
    is_unavailable(listed);
    is_unavailable(revision);
    is_unavailable(watch.map(|_| ()));
    is_unknown(txn);
    assert!(started.elapsed() < 3 * BRIEF.deadline, "{:?}", started.elapsed());
    assert_eq!(inner.revision().await.unwrap(), 1);
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_unavailable_in_bounded_time() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let store = remote(address).with_patience(BRIEF);
    let started = Instant::now();
    is_unavailable(store.revision().await);
    is_unavailable(store.txn(Txn::new().put("a", "1")).await);
    assert!(started.elapsed() < 2 * BRIEF.deadline, "{:?}", started.elapsed());
    let error = store.get("a").await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("refused"), "{error}");
}
