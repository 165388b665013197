//! Secrets and settings of the server are no data, whatever may be read and written beside them.

use std::os::unix::fs::symlink;
use std::path::Path;

use polarway_common::ErrorKind;
use polarway_tests::pki::Pki;
use polarway_tests::{Session, Setup, files};
use tempfile::TempDir;

use crate::identity::{ADMIN, Known, PROCESS};
use crate::tls::over;

/// A file is read neither by its path nor as a table.
async fn is_not_read(session: &Session, location: &str) {
    let table = format!("(line VARCHAR) STORED AS CSV LOCATION '{location}'");
    let mut refused = 0;
    for sql in [
        format!("CREATE OR REPLACE EXTERNAL TABLE x {table}"),
        format!("CREATE OR REPLACE EXTERNAL TABLE y STORED AS CSV LOCATION '{location}'"),
        "SELECT * FROM x".to_owned(),
        "SELECT * FROM y".to_owned(),
    ] {
        match session.query(&sql).await {
            Ok(_) => assert!(sql.starts_with("CREATE"), "{sql}: {location}"),
            Err(error) if error.kind == ErrorKind::PathNotAllowed => refused += 1,
            // The table was not made.
            Err(error) => assert_eq!(error.kind, ErrorKind::TableNotFound, "{sql}, {location}: {error}"),
        }
    }
    assert!(refused >= 2, "{location}");
    for name in ["x", "y"] {
        session.ok(&format!("DROP TABLE IF EXISTS {name}")).await;
    }
}

async fn is_not_written(session: &Session, location: &str) {
    let copy = format!("COPY (SELECT 1 AS n) TO '{location}' STORED AS CSV");
    let error = session.error(&copy).await;
    assert_eq!(error.kind, ErrorKind::PathNotAllowed, "{location}: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_secrets_and_settings_are_neither_read_nor_written() {
    let (known, pki) = (Known::write(), Pki::make());
    let root = TempDir::new().unwrap();
    let at = |path: &str| root.path().join(path);
    std::fs::create_dir(at("secrets")).unwrap();
    std::fs::write(at("secrets/key.csv"), "a\nhunter2\n").unwrap();
    std::fs::write(at("polarway.toml"), "[cache]\nplans = 100\n").unwrap();
    std::fs::write(at("data.csv"), "a\n1\n").unwrap();
    // Apart from the files: a link out of what may be read is an error to whoever lists a directory above it.
    let links = TempDir::new().unwrap();
    let linked = |path: &str| links.path().join(path);
    for directory in ["a", "b"] {
        std::fs::create_dir(linked(directory)).unwrap();
    }
    symlink(known.path(), linked("a/link.csv")).unwrap();
    symlink(at("secrets"), linked("b/linked")).unwrap();
    let (tokens, key, ca) = (known.path(), pki.material.key(), pki.material.ca());
    let mut setup = Setup::up()
        .set("identity.tokens", tokens.display())
        .set("identity.process_secret", PROCESS)
        .set("ingest.secrets", at("secrets").display())
        .env("POLARWAY_CONFIG", at("polarway.toml").display());
    for directory in [root.path(), links.path(), tokens.parent().unwrap(), key.parent().unwrap()] {
        setup = setup.allow(directory).writable(directory.display());
    }
    let cluster = pki.material.on(setup).start_without_waiting().await;
    let session = over(cluster.grpc(), &ca, ADMIN).await;

    let within = |directory: &Path, path: &str| directory.join(path).display().to_string();
    for location in [
        tokens.display().to_string(),
        format!("file://{}", tokens.display()),
        within(tokens.parent().unwrap(), "*.toml"),
        key.display().to_string(),
        ca.display().to_string(),
        within(key.parent().unwrap(), "*.pem"),
        within(root.path(), "polarway.toml"),
        within(root.path(), "p*.toml"),
        within(root.path(), "secrets/"),
        within(root.path(), "secrets/key.csv"),
        within(root.path(), "sec*/key.csv"),
        within(links.path(), "a/link.csv"),
        within(links.path(), "a/l*.csv"),
        within(links.path(), "b/linked/key.csv"),
        within(links.path(), "b/linked/*.csv"),
    ] {
        is_not_read(&session, &location).await;
    }
    let before = [&tokens, &key, &ca, &at("polarway.toml")].map(|path| std::fs::read(path).unwrap());
    for location in [&tokens, &key, &ca, &at("polarway.toml"), &linked("a/link.csv"), &at("secrets/new.csv")]
    {
        is_not_written(&session, &location.display().to_string()).await;
    }
    for directory in [at("secrets/"), at("secrets/more/"), linked("b/linked/")] {
        is_not_written(&session, &directory.display().to_string()).await;
    }
    let after = [&tokens, &key, &ca, &at("polarway.toml")].map(|path| std::fs::read(path).unwrap());
    assert!(before == after);
    assert_eq!(files::below(&at("secrets")).len(), 1);

    // What lies beside is data.
    assert_eq!(session.value(&format!("SELECT a FROM '{}'", at("d*.csv").display())).await, "1");
    session.ok(&format!("COPY (SELECT 2 AS a) TO '{}' STORED AS PARQUET", at("out.parquet").display())).await;
    assert_eq!(session.value(&format!("SELECT a FROM '{}'", at("out.parquet").display())).await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_an_executor_keeps_its_own_private_files() {
    let (root, data) = (std::env::temp_dir(), TempDir::new().unwrap());
    files::parquet(&data.path().join("ten.parquet"), "SELECT value AS n FROM generate_series(1, 10)").await;
    let cluster = Setup::cluster(1).allow(&root).writable(root.display()).start().await;
    let session = cluster.session().await;
    // To the scheduler these are files like others.
    let private = cluster.dir().join("executor-1/metadata.redb");
    std::fs::write(&private, "1\n2\n").unwrap();
    session
        .ok(&format!("CREATE EXTERNAL TABLE x (n BIGINT) STORED AS CSV LOCATION '{}'", private.display()))
        .await;
    let copy = format!(
        "COPY (SELECT n FROM '{}/ten.parquet' WHERE n > 0) TO '{}' STORED AS CSV",
        data.path().display(),
        private.display()
    );
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        let error = session.error("SELECT sum(n) FROM x WHERE n > 0").await;
        assert_eq!(error.kind, ErrorKind::PathNotAllowed, "{route}: {error}");
    }
    let error = session.error(&copy).await;
    assert_eq!(error.kind, ErrorKind::PathNotAllowed, "{error}");
    assert_eq!(std::fs::read_to_string(&private).unwrap(), "1\n2\n");
    // The scheduler keeps its own as well.
    let of_scheduler = cluster.dir().join("front/metadata.redb");
    is_not_read(&session, &of_scheduler.display().to_string()).await;
    is_not_written(&session, &of_scheduler.display().to_string()).await;
}
