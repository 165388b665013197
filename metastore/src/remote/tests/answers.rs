use std::sync::Mutex;

use tonic::Status;

use super::*;
use crate::remote::convert::Answer;
use crate::remote::failure::tests::every_error;
use crate::remote::messages::{TxnAnswer, TxnRequest};

/// Fails as it is told to.
#[derive(Debug, Default)]
struct Failing(Mutex<Option<MetaStoreError>>);

impl Failing {
    fn fail<T>(&self) -> Result<T> {
        Err(self.0.lock().unwrap().take().unwrap())
    }
}

#[async_trait]
impl MetaStore for Failing {
    async fn get(&self, _: &str) -> Result<Option<Versioned>> {
        self.fail()
    }

    async fn list(&self, _: &str) -> Result<Snapshot> {
        self.fail()
    }

    async fn txn(&self, _: Txn) -> Result<TxnOutcome> {
        self.fail()
    }

    async fn watch(&self, _: &str, _: u64) -> Result<WatchStream> {
        self.fail()
    }

    async fn revision(&self) -> Result<u64> {
        self.fail()
    }

    /// Not if nothing was told.
    async fn grant(&self, ttl: Duration) -> Result<Lease> {
        self.0.lock().unwrap().take().map_or(Ok(Lease { id: LeaseId::new(7), ttl }), Err)
    }

    async fn keep_alive(&self, _: LeaseId) -> Result<()> {
        self.fail()
    }

    async fn revoke(&self, _: LeaseId) -> Result<()> {
        self.fail()
    }
}

#[tokio::test]
async fn every_error_keeps_its_variant_in_every_call() {
    let failing = Arc::new(Failing::default());
    let store = serve(Arc::clone(&failing) as _, Rights::all()).await;
    for call in 0..8 {
        for error in every_error() {
            let expected = format!("{error:?}");
            let lease = store.grant(PATIENCE).await.unwrap().id;
            *failing.0.lock().unwrap() = Some(error);
            let arrived = match call {
                0 => store.get("a").await.err(),
                1 => store.list("").await.err(),
                2 => store.txn(Txn::new().delete("a")).await.err(),
                3 => store.watch("", 0).await.err(),
                4 => store.grant(PATIENCE).await.err(),
                5 => store.keep_alive(lease).await.err(),
                6 => store.revoke(lease).await.err(),
                _ => store.revision().await.err(),
            };
            assert_eq!(format!("{:?}", arrived.unwrap()), expected, "call {call}");
        }
    }
}

#[tokio::test]
async fn the_door_itself_refuses_meaningless_transactions() {
    // Past the client, which refuses them too.
    let store = serve(embedded(), Rights { read: vec![], write: vec!["a".into()] }).await;
    let send = async |request: TxnRequest| store.call::<_, TxnAnswer>(path::TXN, request).await.unwrap();
    let empty = send(Txn::new().put("", "1").into()).await.into_result().unwrap_err();
    assert!(matches!(empty, MetaStoreError::EmptyKey), "{empty}");
    let twice = send(Txn::new().put("a", "1").delete("a").into()).await.into_result().unwrap_err();
    assert!(matches!(&twice, MetaStoreError::DuplicateKey { key } if key == "a"), "{twice}");
    // As a later version might ask for something new.
    let known = TxnRequest::from(Txn::new().expect("a", Expect::Absent).put("a", "1"));
    let (mut change, mut condition) = (known.clone(), known);
    change.writes[0].effect = None;
    condition.preconditions[0].expected = None;
    for request in [change, condition] {
        let strange = send(request).await.into_result().unwrap_err();
        assert!(matches!(strange, MetaStoreError::Engine { .. }), "{strange}");
    }
    assert_eq!(store.revision().await.unwrap(), 0);
}

fn is_refused<T>(result: Result<T>, key: &str) {
    let error = result.err().unwrap();
    assert!(matches!(error, MetaStoreError::NotAllowed { .. }) && !error.is_retryable(), "{error}");
    assert!(error.to_string().contains(&format!("`{key}`")), "{error}");
    let error = polarway_common::Error::from(error);
    assert_eq!(error.kind, polarway_common::ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn what_the_rights_do_not_cover_is_refused() {
    let inner = embedded();
    put(&*inner, "cluster/secret", "secret").await;
    put(&*inner, "catalog/version", "1").await;
    let rights = Rights { read: vec!["catalog/".into(), "stream/".into()], write: vec!["stream/".into()] };
    let store = serve(Arc::clone(&inner) as _, rights).await;

    assert!(store.get("catalog/version").await.unwrap().is_some());
    assert_eq!(store.list("catalog/").await.unwrap().entries.len(), 1);
    assert_eq!(store.revision().await.unwrap(), 2);
    let claim = Txn::new().expect("stream/1", Expect::Absent).expect("catalog/version", Expect::Exists);
    assert_eq!(store.txn(claim.clone().put("stream/1", "me")).await.unwrap().committed(), Some(3));

    is_refused(store.get("cluster/secret").await, "cluster/secret");
    for prefix in ["", "c", "catalog", "cluster/"] {
        is_refused(store.list(prefix).await, prefix);
        is_refused(store.watch(prefix, 0).await, prefix);
    }
    is_refused(store.txn(Txn::new().put("catalog/version", "2")).await, "catalog/version");
    is_refused(store.txn(Txn::new().put("stream/2", "").delete("cluster/secret")).await, "cluster/secret");
    let guess = Txn::new().expect("cluster/secret", Expect::Revision(1));
    is_refused(store.txn(guess).await, "cluster/secret");
    assert_eq!(inner.revision().await.unwrap(), 3);
}

#[tokio::test]
async fn what_is_too_large_is_refused_by_its_size() {
    let inner = embedded();
    let store = serve(Arc::clone(&inner) as _, Rights::all()).await;
    let error = store.txn(Txn::new().put("a", vec![0; REQUEST_BYTES])).await.unwrap_err();
    assert!(matches!(error, MetaStoreError::TooLarge { bytes, limit } if bytes > limit), "{error}");
    assert_eq!(inner.revision().await.unwrap(), 0);

    let largest = REQUEST_BYTES - 100;
    for key in ["a", "b", "c", "d"] {
        store.txn(Txn::new().put(key, vec![0; largest])).await.unwrap();
    }
    assert_eq!(store.get("a").await.unwrap().unwrap().value.len(), largest);
    assert_eq!(store.list("").await.unwrap().entries.len(), 4);
    put(&*store, "e", &"0".repeat(1 << 20)).await;
    let error = store.list("").await.unwrap_err();
    assert!(matches!(error, MetaStoreError::TooLarge { bytes, limit } if bytes > limit), "{error}");
    // Events of any size that the embedded store takes reach a watch, or end it.
    inner.txn(Txn::new().put("f", vec![0; ANSWER_BYTES])).await.unwrap();
    let mut events = store.watch("f", 5).await.unwrap();
    let error = futures::StreamExt::next(&mut events).await.unwrap().unwrap_err();
    assert!(matches!(error, MetaStoreError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn a_server_without_the_service_is_no_outage() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = remote(listener.local_addr().unwrap());
    let guarded = tonic::service::interceptor::InterceptedService::new(
        MetaDoor::new(embedded(), Rights::all()),
        |_: tonic::Request<()>| Err::<tonic::Request<()>, _>(Status::unauthenticated("no token")),
    );
    let server = Server::builder().add_service(guarded);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    for error in [store.revision().await.err(), store.txn(Txn::new()).await.err()] {
        let error = error.unwrap();
        assert!(matches!(error, MetaStoreError::NotAllowed { .. }), "{error}");
    }

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = remote(listener.local_addr().unwrap());
    let server = Server::builder().add_routes(tonic::service::Routes::default());
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    for error in [store.revision().await.err(), store.txn(Txn::new()).await.err()] {
        let error = error.unwrap();
        assert!(matches!(error, MetaStoreError::Engine { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    let error = RemoteMetaStore::connect("not an address", Credential::default()).unwrap_err();
    assert!(matches!(error, MetaStoreError::Engine { .. }), "{error}");
    assert!(error.to_string().contains("not an address"), "{error}");
}
