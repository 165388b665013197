use futures::StreamExt as _;
use polarway_common::config::{IdentityConfig, Secret};
use polarway_identity::grpc::{Callers, Guard};
use polarway_identity::{Identity, Tls};

use super::*;

#[tokio::test]
async fn row_47_calls_and_watches_say_which_process_they_are_from() {
    let tokens = tempfile::NamedTempFile::new().unwrap();
    let text = "[[token]]\nname = 'ana'\nrole = 'admin'\ntoken = 'a-token-of-ana-0123456789'\n";
    std::fs::write(tokens.path(), text).unwrap();
    let config = |secret: &str| IdentityConfig {
        tokens: Some(tokens.path().to_owned()),
        process_secret: Some(Secret::new(secret)),
        trusted_network: false,
    };
    let known = config("the-secret-of-all-processes-0123");
    let guard = Guard::new(Identity::load(&known, &Tls::default()).await.unwrap(), |_| Callers::Processes);
    let inner = embedded();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let door = MetaDoor::new(Arc::clone(&inner) as _, Rights::all());
    let server = Server::builder().layer(guard).add_service(door);
    tokio::spawn(
        server.serve_with_incoming(polarway_identity::connection::incoming(listener, Tls::default())),
    );

    // A user is no process, whatever its role.
    let user = Credential::of(&config("a-token-of-ana-0123456789"), &Tls::default()).unwrap();
    for credential in [Credential::default(), user] {
        let store = remote_as(address, credential);
        for error in [
            store.revision().await.err(),
            store.get("a").await.err(),
            store.watch("", 0).await.err(),
            store.grant(PATIENCE).await.err(),
            store.txn(Txn::new().put("a", "1")).await.err(),
        ] {
            let error = error.unwrap();
            assert!(matches!(error, MetaStoreError::NotAllowed { .. }), "{error}");
        }
    }
    assert_eq!(inner.revision().await.unwrap(), 0);

    let store = remote_as(address, Credential::of(&known, &Tls::default()).unwrap());
    assert!(!format!("{store:?}").contains("the-secret"));
    let mut events = store.watch("a", 0).await.unwrap();
    assert_eq!(put(&store, "a", "1").await, 1);
    assert_eq!(events.next().await.unwrap().unwrap().key, "a");
    assert!(store.get("a").await.unwrap().is_some());
    let lease = store.grant(PATIENCE).await.unwrap().id;
    store.keep_alive(lease).await.unwrap();
    store.revoke(lease).await.unwrap();
}
