//! Where files of statements go: a name means itself, whatever it looks like.

use std::os::unix::fs::symlink;
use std::path::Path;

use polarway_common::ErrorKind;
use polarway_tests::s3::S3Server;
use polarway_tests::{Session, Setup, files};
use tempfile::TempDir;

/// Names that mean something else once they are decoded, or decoded twice.
const NAMES: [&str; 6] = ["50%20off", "100%", "%2E%2E", "%252E%252E", "a b+c", ".%2e"];

/// All files below a directory with their contents.
fn contents(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = files::below(directory)
        .into_iter()
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
        .collect();
    found.sort();
    found
}

/// A directory comes back as it was written, by its path and as a table, and takes more rows.
async fn comes_back(session: &Session, place: &str) {
    session.ok(&format!("COPY (SELECT CAST(1 AS BIGINT) AS n) TO '{place}' STORED AS PARQUET")).await;
    assert_eq!(session.value(&format!("SELECT sum(n) FROM '{place}'")).await, "1", "{place}");
    session.ok(&format!("CREATE OR REPLACE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{place}'")).await;
    session.ok("INSERT INTO t VALUES (2)").await;
    assert_eq!(session.value("SELECT sum(n) FROM t").await, "3", "{place}");
    session
        .ok(&format!("COPY (SELECT 4 AS n, 'x' AS k) TO '{place}more/' STORED AS PARQUET PARTITIONED BY (k)"))
        .await;
    assert_eq!(session.value(&format!("SELECT n FROM '{place}more/' WHERE k = 'x'")).await, "4", "{place}");
    session
        .ok(&format!(
            "COPY (SELECT 5 AS n) TO '{place}one.csv' STORED AS CSV OPTIONS ('format.has_header' 'true')"
        ))
        .await;
    assert_eq!(session.value(&format!("SELECT count(*) FROM '{place}one.csv'")).await, "1", "{place}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_39_what_looks_like_a_way_out_stays_in_its_directory() {
    for setup in [Setup::up(), Setup::cluster(1)] {
        let root = TempDir::new().unwrap();
        let (out, beta) = (root.path().join("acme/out"), root.path().join("beta"));
        std::fs::create_dir_all(&out).unwrap();
        std::fs::create_dir(&beta).unwrap();
        files::parquet(&beta.join("f.parquet"), "SELECT 41 AS n").await;
        files::parquet(&root.path().join("ten.parquet"), "SELECT value AS n FROM generate_series(1, 10)")
            .await;
        let cluster = setup.allow(root.path()).writable(out.display()).start().await;
        let session = cluster.session().await;
        let before = contents(&beta);
        let from = format!("SELECT n FROM '{}/ten.parquet' WHERE n > 0", root.path().display());
        for route in ["direct", "staged"] {
            session.set_route(route).await;
            for (number, place) in [
                "%2E%2E/%2E%2E/beta/f.parquet",
                ".%2e/%2e./beta/f.parquet",
                r"..\..\beta\f.parquet",
                "%252E%252E/%252E%252E/beta/f.parquet",
                "%2e%2e%2f%2e%2e%2fbeta%2ff.parquet",
            ]
            .into_iter()
            .enumerate()
            {
                let file = out.join(format!("{route}-{number}")).join(place);
                session.ok(&format!("COPY ({from}) TO '{}' STORED AS PARQUET", file.display())).await;
                assert!(file.is_file(), "{} is there", file.display());
            }
            for place in [r"..\..\..\elsewhere\y.csv", "%2E%2E/%2E%2E/y.csv"] {
                let file = out.join(format!("{route}-csv")).join(place);
                session.ok(&format!("COPY ({from}) TO '{}' STORED AS CSV", file.display())).await;
                assert!(file.is_file(), "{} is there", file.display());
            }
            let place = format!("{}/{route}-t/%2E%2E/%2E%2E/beta/", out.display());
            std::fs::create_dir_all(&place).unwrap();
            session
                .ok(&format!(
                    "CREATE OR REPLACE EXTERNAL TABLE t (n BIGINT) STORED AS PARQUET LOCATION '{place}'"
                ))
                .await;
            session.ok(&format!("INSERT INTO t {from}")).await;
            assert_eq!(session.value("SELECT count(*) FROM t").await, "10");
            assert!(!files::below(Path::new(&place)).is_empty());
        }
        assert_eq!(contents(&beta), before, "what is beside is as it was");
        let mut beside: Vec<_> =
            std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        beside.sort();
        assert_eq!(beside, ["acme", "beta", "ten.parquet"]);
        assert_eq!(std::fs::read_dir(root.path().join("acme")).unwrap().count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_39_directories_with_percent_signs_come_back() {
    let out = TempDir::new().unwrap();
    let setup = Setup::cluster(1).allow(out.path()).writable(out.path().display());
    let cluster = setup.start().await;
    let session = cluster.session().await;
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        let directory = out.path().join(route);
        for name in NAMES {
            comes_back(&session, &format!("{}/{name}/", directory.display())).await;
        }
        let mut found: Vec<_> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        let mut names = NAMES;
        names.sort();
        assert_eq!(found, names, "under their own names, and nothing else");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_39_a_key_of_s3_means_itself() {
    let s3 = S3Server::start().await;
    let bucket = s3.bucket("lake");
    let beta = bucket.join("beta");
    std::fs::create_dir(&beta).unwrap();
    files::parquet(&beta.join("f.parquet"), "SELECT 41 AS n").await;
    let setup = Setup::cluster(1)
        .allow("s3://lake/acme")
        .writable("s3://lake/acme/out")
        .without_tables()
        .set("storage.list_ttl", "0s");
    let cluster = s3.configure(setup).start().await;
    let session = cluster.session().await;
    let before = contents(&beta);
    // As a URL's path this is `..`, which is out.
    for place in ["%2E%2E/%2E%2E/beta/f.parquet", "../../beta/f.parquet", ".%2e/%2e./beta/"] {
        let copy = format!("COPY (SELECT 1 AS n) TO 's3://lake/acme/out/{place}' STORED AS PARQUET");
        assert_eq!(session.error(&copy).await.kind, ErrorKind::PathNotAllowed, "{place}");
    }
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        // Decoded once, these are names.
        for place in ["%252E%252E/%252E%252E/beta/f.parquet", "%25252E%25252E/%25252E%25252E/beta/f.parquet"]
        {
            let place = format!("s3://lake/acme/out/{route}/{place}");
            session.ok(&format!("COPY (SELECT 1 AS n) TO '{place}' STORED AS PARQUET")).await;
            assert_eq!(session.value(&format!("SELECT n FROM '{place}'")).await, "1", "{place}");
        }
        assert!(bucket.join("acme/out").join(route).join("%2E%2E/%2E%2E/beta/f.parquet").is_file());
        let place = format!("s3://lake/acme/out/{route}-t/%252E%252E/%252E%252E/beta/");
        session
            .ok(&format!(
                "CREATE OR REPLACE EXTERNAL TABLE t (n BIGINT) STORED AS PARQUET LOCATION '{place}'"
            ))
            .await;
        session.ok("INSERT INTO t VALUES (7)").await;
        assert_eq!(session.value("SELECT n FROM t").await, "7");
        comes_back(&session, &format!("s3://lake/acme/out/{route}-names/50%2520off/")).await;
        comes_back(&session, &format!("s3://lake/acme/out/{route}-names/a%20b/")).await;
        // Patterns are those of names, too.
        let glob = format!("s3://lake/acme/out/{route}-names/*/one.csv");
        assert_eq!(session.value(&format!("SELECT count(*) FROM '{glob}'")).await, "2");
        let glob = format!("s3://lake/acme/out/{route}-n*/50%2520off/one.csv");
        assert_eq!(session.value(&format!("SELECT count(*) FROM '{glob}'")).await, "1");
    }
    assert_eq!(contents(&beta), before, "what is beside is as it was");
    for request in s3.take_requests() {
        assert!(request.key.is_empty() || request.key.starts_with("acme/"), "{request:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_39_nobody_writes_where_files_wait_or_through_a_link_out() {
    let root = TempDir::new().unwrap();
    let (out, elsewhere) = (root.path().join("out"), root.path().join("elsewhere"));
    for directory in [&out, &elsewhere] {
        std::fs::create_dir(directory).unwrap();
    }
    let setup = Setup::cluster(1).allow(root.path()).writable(out.display());
    let cluster = setup.start().await;
    let session = cluster.session().await;
    let place = out.display();
    let kind = async |sql: &str| session.error(sql).await.kind;
    for waiting in [".polarway-0123/files.json", ".polarway-0123/", "x/.polarway-0123/1/x.json"] {
        let copy = format!("COPY (SELECT 1 AS n) TO '{place}/{waiting}' STORED AS JSON");
        assert_eq!(kind(&copy).await, ErrorKind::PathNotAllowed, "{waiting}");
    }
    std::fs::create_dir(out.join(".polarway-0123")).unwrap();
    session
        .ok(&format!("CREATE EXTERNAL TABLE f (n BIGINT) STORED AS JSON LOCATION '{place}/.polarway-0123/'"))
        .await;
    assert_eq!(kind("INSERT INTO f VALUES (1)").await, ErrorKind::PathNotAllowed);
    symlink(&elsewhere, out.join("k=out")).unwrap();
    let copy = |key: &str| {
        format!("COPY (SELECT 1 AS n, '{key}' AS k) TO '{place}/' STORED AS PARQUET PARTITIONED BY (k)")
    };
    assert_eq!(kind(&copy("out")).await, ErrorKind::PathNotAllowed);
    session.ok(&copy("in")).await;
    assert_eq!(files::below(&elsewhere).len(), 0);
    assert_eq!(files::below(&out.join("k=in")).len(), 1);
}
