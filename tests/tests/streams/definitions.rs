//! CREATE STREAM, DROP STREAM, and what they refuse.

use polarway_common::ErrorKind;
use polarway_tests::{Sender, Setup};

use super::queries::{TICKS, row, start};

#[tokio::test(flavor = "multi_thread")]
async fn streams_come_and_go() {
    let (cluster, session) = start().await;
    assert_eq!(session.error(TICKS).await.kind, ErrorKind::AlreadyExists);
    session.ok(&TICKS.replace("CREATE STREAM", "CREATE STREAM IF NOT EXISTS")).await;
    let columns = session.ok("DESCRIBE ticks").await.cells();
    assert_eq!(columns[0], ["id", "Int64", "NO"]);
    assert_eq!(columns[1], ["at", "Timestamp(µs)", "YES"]);
    let mut sender = Sender::connect(cluster.front.ws(), "public.ticks").await;
    sender.send(row(1)).await;
    sender.acknowledged(1).await;
    drop(sender);

    let error = session.error("DROP TABLE ticks").await;
    assert!(error.message.contains("is a stream"), "{error:?}");
    assert_eq!(session.error("DROP STREAM ticks_dead_letters").await.kind, ErrorKind::Plan);
    assert_eq!(session.error("DROP STREAM ticked").await.kind, ErrorKind::TableNotFound);
    session.ok("DROP STREAM IF EXISTS ticked").await;
    session.ok("DROP STREAM ticks").await;
    assert_eq!(session.error("SELECT * FROM ticks").await.kind, ErrorKind::TableNotFound);
    assert!(Sender::try_connect(cluster.front.ws(), "ticks").await.is_err());
    for directory in ["wal", "streams"] {
        let left = std::fs::read_dir(cluster.dir().join("front").join(directory)).unwrap();
        for entry in left {
            let entry = entry.unwrap();
            if entry.file_name() == "node" {
                continue; // the name of the process
            }
            let files = walk(&entry.path());
            assert_eq!(files, 0, "{} is left", entry.path().display());
        }
    }
    // Another stream of the same name has none of its rows.
    session.ok(TICKS).await;
    assert_eq!(session.value("SELECT count(*) FROM ticks").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_with_time_zone_has_the_sessions_or_utc() {
    let (cluster, session) = start().await;
    let columns = "(local TIMESTAMP(6), at TIMESTAMP(6) WITH TIME ZONE)";
    session.ok(&format!("CREATE STREAM zoned {columns}")).await;
    session.set("datafusion.execution.time_zone", "+02:00").await;
    session.ok(&format!("CREATE STREAM summer {columns}")).await;
    for (stream, zone, midday) in [("zoned", "UTC", "10:00:00Z"), ("summer", "+02:00", "12:00:00+02:00")] {
        let columns = session.ok(&format!("DESCRIBE {stream}")).await.cells();
        assert_eq!(columns[0][1], "Timestamp(µs)");
        assert_eq!(columns[1][1], format!("Timestamp(µs, \"{zone}\")"));
        let mut sender = Sender::connect(cluster.front.ws(), stream).await;
        sender.send(r#"{"local": "2026-07-01T12:00:00", "at": "2026-07-01T12:00:00+02:00"}"#).await;
        sender.acknowledged(1).await;
        let rows = session.ok(&format!("SELECT local, at FROM {stream}")).await.cells();
        assert_eq!(rows, [["2026-07-01T12:00:00".to_owned(), format!("2026-07-01T{midday}")]]);
    }
}

/// Files below a directory.
fn walk(path: &std::path::Path) -> usize {
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().map(|entry| walk(&entry.unwrap().path())).sum()
    } else {
        1
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_with_its_place_or_name() {
    let (_cluster, session) = start().await;
    let refused = async |sql: &str| {
        let error = session.error(sql).await;
        (error.kind, format!("{} / {}", error.message, error.hint.unwrap_or_default()))
    };
    let (kind, text) = refused("CREATE STREAM s (a INT) WITH (seal_row = 5)").await;
    assert_eq!(kind, ErrorKind::InvalidSetting);
    assert!(text.contains("did you mean `seal_rows`"), "{text}");
    let (kind, text) = refused("CREATE STREAM s (a INT[])").await;
    assert_eq!(kind, ErrorKind::Unsupported);
    assert!(text.contains('a'), "{text}");
    assert_eq!(refused("CREATE STREAM s (a INT,").await.0, ErrorKind::Syntax);
    assert_eq!(refused("CREATE STREAM s (a INT) WITH (event_time = 'a')").await.0, ErrorKind::TypeMismatch);
    assert_eq!(refused("CREATE STREAM nowhere.s (a INT)").await.0, ErrorKind::NotFound);
    assert_eq!(
        session.error("SELECT * FROM s").await.kind,
        ErrorKind::TableNotFound,
        "nothing is left of them"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_streams_says_so() {
    let cluster = Setup::up().start().await;
    let session = cluster.session().await;
    let error = session.error(TICKS).await;
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.hint.unwrap().contains("ingest.listen"));
}
