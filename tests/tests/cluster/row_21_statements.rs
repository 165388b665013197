//! Statements whose answer is lost on its way.

use std::collections::BTreeSet;

use polarway_common::ErrorKind;
use polarway_tests::etcd::Etcd;
use polarway_tests::lossy::SilentDoor;
use polarway_tests::{Session, Setup, flight};

async fn names(session: &Session) -> BTreeSet<String> {
    let tables =
        session.ok("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'").await;
    tables.cells().into_iter().map(|row| row[0].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_21_a_statement_whose_answer_is_lost_is_carried_out_once() {
    let etcd = Etcd::start().await;
    let setup = Setup::cluster(1).schedulers(2).ingest(1).set("metastore.etcd", etcd.url());
    let cluster = setup.start().await;
    let fronts = cluster.fronts();
    let door = SilentDoor::open(fronts[0]).await;
    // Asked again at the same scheduler, and at another one.
    for servers in [vec![door.address], vec![door.address, fronts[1]]] {
        let changes = [
            "CREATE VIEW v AS SELECT 1 AS one",
            "CREATE SCHEMA s",
            "CREATE STREAM t (id BIGINT)",
            "DROP SCHEMA s",
            "DROP STREAM t",
            "DROP VIEW v",
        ];
        for sql in changes {
            // The client stays with a server that answered.
            let session = Session::with_any(&servers).await;
            let (before, asked) = (names(&session).await, door.statements());
            door.lose(1);
            session.ok(sql).await;
            assert_eq!(door.statements() - asked, 3 - servers.len(), "{sql}");
            let after = names(&session).await;
            assert!(sql.contains("SCHEMA") || before != after, "{sql}: {after:?}");
        }
    }
    // Its client gives up at last, and the statement has been carried out all the same.
    let session = Session::with_any(&[door.address]).await;
    door.lose(2);
    let error = session.query("CREATE VIEW v AS SELECT 2 AS two").await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(session.value("SELECT two FROM v").await, "2");
    assert_eq!(
        session.query("CREATE VIEW v AS SELECT 2 AS two").await.unwrap_err().kind,
        ErrorKind::AlreadyExists
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn row_21_a_key_stands_for_one_statement_with_any_driver() {
    let cluster = Setup::up().start().await;
    let session = cluster.session().await;
    let client = flight::connect(cluster.grpc()).await;
    let send = async |sql: &str, key: &str| flight::keyed(&client, sql, key).await;
    for _ in 0..3 {
        send("CREATE VIEW v AS SELECT 1 AS one", "a-1").await.unwrap();
    }
    session.ok("DROP VIEW v").await;
    send("CREATE VIEW v AS SELECT 1 AS one", "a-1").await.unwrap();
    assert!(!names(&session).await.contains("v"), "it was made once, and dropped since");
    let other = send("CREATE VIEW w AS SELECT 1 AS one", "a-1").await.unwrap_err();
    assert_eq!(other.kind, ErrorKind::InvalidSetting, "{other}");
    let none = send("CREATE VIEW w AS SELECT 1 AS one", "no key").await.unwrap_err();
    assert_eq!(none.kind, ErrorKind::InvalidSetting, "{none}");
    assert!(!names(&session).await.contains("w"));
}
