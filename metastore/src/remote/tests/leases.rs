use super::*;
use crate::conformance::{Outcome, resumption};

const LONG: Duration = Duration::from_secs(600);

fn is_ended<T>(result: Result<T>) {
    let error = result.err().unwrap();
    assert!(matches!(error, MetaStoreError::LeaseNotFound { .. }) && !error.is_retryable(), "{error}");
}

#[tokio::test]
async fn a_lease_carries_what_its_callers_may_write_and_nothing_else() {
    let inner = embedded();
    let rights = Rights { read: vec![], write: vec!["stream/".into()] };
    let store = serve(Arc::clone(&inner) as _, rights).await;
    let lease = store.grant(LONG).await.unwrap().id;
    store.txn(Txn::new().put_leased("stream/1", "me", lease)).await.unwrap();
    let error = store.txn(Txn::new().put_leased("catalog/version", "", lease)).await.unwrap_err();
    assert!(matches!(error, MetaStoreError::NotAllowed { .. }), "{error}");
    store.revoke(lease).await.unwrap();
    assert_eq!(inner.list("").await.unwrap().entries.len(), 0);
}

#[tokio::test]
async fn a_lease_of_another_way_in_is_out_of_reach() {
    let inner = embedded();
    let lease = inner.grant(LONG).await.unwrap().id;
    inner.txn(Txn::new().put_leased("cluster/leader", "x", lease)).await.unwrap();
    let store = serve(Arc::clone(&inner) as _, Rights { read: vec![], write: vec!["stream/".into()] }).await;
    is_ended(store.keep_alive(lease).await);
    store.revoke(lease).await.unwrap();
    assert!(inner.get("cluster/leader").await.unwrap().is_some());
    inner.keep_alive(lease).await.unwrap();
}

#[tokio::test]
async fn a_lease_outlives_a_connection_and_not_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("meta.redb");
    let inner = Arc::new(EmbeddedMetaStore::open(&path).await.unwrap());
    let mut host = Host::start("127.0.0.1:0", inner as _);
    let address = host.address.to_string();
    let store = remote(host.address);
    let lease = store.grant(LONG).await.unwrap().id;
    store.txn(Txn::new().put_leased("a", "1", lease).put("b", "2")).await.unwrap();
    RemoteMetaStore::connect(&format!("http://{address}"), Credential::default())
        .unwrap()
        .keep_alive(lease)
        .await
        .unwrap();
    host.kill();

    let inner = loop {
        // The server that was killed lets go of the file a little later.
        match EmbeddedMetaStore::open(&path).await {
            Ok(inner) => break Arc::new(inner),
            Err(error) if error.is_retryable() => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error}"),
        }
    };
    let _host = Host::start(&address, inner as _);
    is_ended(store.keep_alive(lease).await);
    let entries = store.list("").await.unwrap().entries;
    assert!(entries.iter().map(|(key, _)| key.as_str()).eq(["b"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_across_restarts_of_the_server_misses_nothing() -> Outcome {
    let inner = embedded();
    let host = tokio::sync::Mutex::new(Host::start("127.0.0.1:0", Arc::clone(&inner) as _));
    let address = host.lock().await.address;
    let cut = || async {
        let mut host = host.lock().await;
        host.kill();
        let inner = Arc::clone(&inner) as Arc<dyn MetaStore>;
        let again = tokio::task::spawn_blocking(move || Host::start(&address.to_string(), inner));
        *host = again.await.unwrap();
    };
    let store = Arc::new(remote(address));
    resumption::a_follower_misses_nothing(store, Arc::clone(&inner) as _, cut).await
}
