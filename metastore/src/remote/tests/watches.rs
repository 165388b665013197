use futures::StreamExt;

use super::*;
use crate::store::{Event, EventKind};

async fn next(events: &mut WatchStream) -> Option<Result<Event>> {
    tokio::time::timeout(PATIENCE, events.next()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_over_many_events() {
    const EVENTS: u64 = 20_000;
    let history = HistoryLimit { events: 50_000, bytes: 64 << 20 };
    let inner = Arc::new(EmbeddedMetaStore::in_memory_with(history).unwrap());
    let store = serve(Arc::clone(&inner) as _, Rights::all()).await;
    let mut events = store.watch("k", 0).await.unwrap();
    let writer = tokio::spawn(async move {
        for round in 0..EVENTS / 100 {
            let txn =
                (0..100).fold(Txn::new(), |txn, key| txn.put(format!("k{key}"), format!("{round} {key}")));
            inner.txn(txn).await.unwrap();
        }
    });
    for count in 0..EVENTS {
        let (round, key) = (count / 100, count % 100);
        let kind = EventKind::Put(format!("{round} {key}").into());
        let expected = Event { revision: round + 1, key: format!("k{key}"), kind };
        assert_eq!(next(&mut events).await.unwrap().unwrap(), expected);
    }
    writer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_too_slow_is_told_and_ends() {
    let history = HistoryLimit { events: 3, bytes: 1 << 30 };
    let inner = Arc::new(EmbeddedMetaStore::in_memory_with(history).unwrap());
    let store = serve(Arc::clone(&inner) as _, Rights::all()).await;
    let mut slow = store.watch("", 0).await.unwrap();
    // More than the connection holds.
    for _ in 0..100 {
        inner.txn(Txn::new().put("a", vec![0; 256 << 10])).await.unwrap();
    }
    let mut seen = 0;
    let error = loop {
        match next(&mut slow).await.unwrap() {
            Ok(event) => {
                assert_eq!(event.revision, seen + 1);
                seen = event.revision;
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(error, MetaStoreError::Lagged { at: 97 }) && error.needs_relist(), "{error}");
    assert!(seen < 97);
    assert!(next(&mut slow).await.is_none());

    let error = store.watch("", 96).await.err().unwrap();
    assert!(matches!(error, MetaStoreError::Compacted { at: 97 }), "{error}");
    let mut events = store.watch("", 97).await.unwrap();
    assert_eq!(next(&mut events).await.unwrap().unwrap().revision, 98);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_that_are_not_read_leave_room_for_calls() {
    let inner = embedded();
    let store = serve(Arc::clone(&inner) as _, Rights::all()).await;
    let mut unread = vec![];
    for _ in 0..32 {
        unread.push(store.watch("", 0).await.unwrap());
    }
    for _ in 0..12 {
        inner.txn(Txn::new().put("a", vec![0; 1 << 20])).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(store.get("a").await.unwrap().unwrap().value.len(), 1 << 20);
    assert_eq!(next(&mut unread[31]).await.unwrap().unwrap().revision, 1);
}

/// Has nothing to tell, until it is closed.
#[derive(Debug, Default)]
struct Quiet {
    closed: CancellationToken,
    open_watches: Arc<()>,
}

#[async_trait]
impl MetaStore for Quiet {
    async fn get(&self, _: &str) -> Result<Option<Versioned>> {
        Ok(None)
    }

    async fn list(&self, _: &str) -> Result<Snapshot> {
        Ok(Snapshot { revision: 0, entries: vec![] })
    }

    async fn txn(&self, _: Txn) -> Result<TxnOutcome> {
        Ok(TxnOutcome::Committed { revision: 0 })
    }

    async fn watch(&self, _: &str, _: u64) -> Result<WatchStream> {
        let (closed, open) = (self.closed.clone(), Arc::clone(&self.open_watches));
        let end = async move {
            closed.cancelled().await;
            drop(open);
        };
        Ok(futures::stream::once(end).filter_map(async |()| None).boxed())
    }

    async fn revision(&self) -> Result<u64> {
        Ok(0)
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease> {
        Ok(Lease { id: LeaseId::new(1), ttl })
    }

    async fn keep_alive(&self, _: LeaseId) -> Result<()> {
        Ok(())
    }

    async fn revoke(&self, _: LeaseId) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_watch_ends_when_the_store_is_closed() {
    let quiet = Arc::new(Quiet::default());
    let store = serve(Arc::clone(&quiet) as _, Rights::all()).await;
    let mut events = store.watch("", 0).await.unwrap();
    quiet.closed.cancel();
    assert!(next(&mut events).await.is_none());
}

#[tokio::test]
async fn a_watch_that_is_dropped_ends_at_the_other_side() {
    let quiet = Arc::new(Quiet::default());
    let store = serve(Arc::clone(&quiet) as _, Rights::all()).await;
    let events = store.watch("", 0).await.unwrap();
    assert_eq!(Arc::strong_count(&quiet.open_watches), 2);
    drop(events);
    let gone = async {
        while Arc::strong_count(&quiet.open_watches) > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

#[tokio::test]
async fn a_watch_holds_up_no_graceful_shutdown_and_knows_it_was_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = remote(listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let door = MetaDoor::new(embedded(), Rights::all()).until(stop.clone());
    let server = Server::builder()
        .add_service(door)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), stop.clone().cancelled_owned());
    let server = tokio::spawn(server);
    let mut events = store.watch("", 0).await.unwrap();
    put(&store, "a", "1").await;
    assert_eq!(next(&mut events).await.unwrap().unwrap().revision, 1);
    stop.cancel();
    let error = next(&mut events).await.unwrap().unwrap_err();
    assert!(matches!(error, MetaStoreError::Unavailable { .. }) && error.is_retryable(), "{error}");
    assert!(next(&mut events).await.is_none());
    tokio::time::timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
}
