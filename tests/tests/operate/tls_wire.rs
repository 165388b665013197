//! What somebody on the way sees: all of it without TLS, and nothing with it.

use std::net::SocketAddr;
use std::time::Duration;

use polarway_tests::pki::Pki;
use polarway_tests::tap::Tap;
use polarway_tests::{Dial, Sender, Setup, http, until};

use crate::identity::{ADMIN, Known, PROCESS, WRITER};
use crate::tls::{CEILING, TICKS, try_with};

/// Its text is in no other statement, and its result not in its text.
const SQL: &str = "SELECT concat('what-only-', 'we-ask-', 'and-get') AS answer";
const RESULT: &str = "what-only-we-ask-and-get";

/// What a server tells over HTTP.
async fn told(pki: Option<&Pki>, server: SocketAddr, path: &str) -> String {
    match pki {
        Some(pki) => Dial::user(&[&pki.authority]).get(server, path, Some(ADMIN)).await.unwrap().1,
        None => {
            let request = reqwest::Client::new().get(format!("http://{server}{path}")).bearer_auth(ADMIN);
            request.send().await.unwrap().text().await.unwrap()
        }
    }
}

/// Uses a cluster in all ways through doors that keep what passes; gives what of it can be read.
async fn seen(pki: Option<&Pki>) -> Vec<(&'static str, bool)> {
    let known = Known::write();
    let setup = Setup::cluster(0).ingest(1).set("identity.tokens", known.path().display());
    let setup = match pki {
        Some(pki) => pki.material.on(setup),
        None => setup.set("identity.process_secret", PROCESS),
    };
    let mut cluster = setup.start_without_waiting().await;
    let of_users = Tap::before(cluster.grpc()).await;
    let of_browsers = Tap::before(cluster.http()).await;
    let of_senders = Tap::before(cluster.ingest[0].ws()).await;
    let of_processes = Tap::before(cluster.grpc()).await;

    let executor = cluster.add_executor_by(of_processes.address);
    let executor = cluster.executors[executor].name().to_owned();
    until("the executor is known", CEILING, || async {
        let samples = http::samples(&told(pki, cluster.http(), "/metrics").await);
        (samples.get("polarway_executors") == Some(&1.0)).then_some(())
    })
    .await;

    let (scheme, ca) = (pki.map_or("http", |_| "https"), pki.map(Pki::ca));
    let endpoint = format!("{scheme}://{}", of_users.address);
    let session = try_with(&endpoint, ca.as_deref(), ADMIN, Duration::ZERO).await.unwrap();
    assert_eq!(session.value(SQL).await, RESULT);
    assert!(told(pki, of_browsers.address, "/v1/queries").await.contains("we-ask-"));

    until("the stream is made", CEILING, || async { session.query(TICKS).await.ok() }).await;
    let connected = match pki {
        Some(pki) => {
            let user = Dial::user(&[&pki.authority]);
            Sender::connect_over(&user, of_senders.address, "ticks", Some(WRITER)).await
        }
        None => Sender::connect_with(of_senders.address, "ticks", Some(WRITER)).await,
    };
    let mut sender = connected.unwrap();
    sender.send(r#"{"price": 1.5}"#).await;
    sender.acknowledged(1).await;

    for tap in [&of_users, &of_browsers, &of_senders, &of_processes] {
        assert!(tap.bytes() > 0, "nothing passed");
    }
    vec![
        ("a statement", of_users.saw(SQL)),
        ("a result", of_users.saw(RESULT)),
        ("a statement in a list", of_browsers.saw("we-ask-")),
        // HTTP/2 packs its headers, so the token is looked for where HTTP/1.1 is spoken.
        ("a token", of_browsers.saw(ADMIN)),
        ("a sender's token", of_senders.saw(WRITER)),
        ("an executor's name", of_processes.saw(&executor)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_what_goes_over_the_wire_cannot_be_read() {
    let plain = Box::pin(seen(None)).await;
    assert!(plain.iter().all(|(_, read)| *read), "this test does not see what is there: {plain:?}");
    let pki = Pki::make();
    let encrypted = Box::pin(seen(Some(&pki))).await;
    assert!(encrypted.iter().all(|(_, read)| !read), "{encrypted:?}");
}
