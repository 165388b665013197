//! Namespaces, with real servers: those who have the same names see nothing of each other's.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables};
use arrow_flight::{FlightData, FlightDescriptor, FlightInfo, PutResult};
use futures::TryStreamExt;
use polarway_client::{Client, ClientOptions, IngestMode, Token};
use polarway_common::{Error, ErrorKind};
use polarway_proto::status::error_from_status;
use polarway_tests::{Cluster, Sender, Session, Setup, compare, files, flight, until};
use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;
use tokio_tungstenite::tungstenite;
use tonic::Request;
use tonic::transport::Channel;

const ROOT: &str = "admin-token-of-root-0123456789";
const ANNA: &str = "admin-token-of-anna-0123456789";
const ANDY: &str = "writer-token-of-andy-0123456789";
const BERT: &str = "admin-token-of-bert-0123456789";
const CARL: &str = "admin-token-of-carl-0123456789";
const PROCESS: &str = "secret-of-the-processes-0123456789";
const CEILING: Duration = Duration::from_secs(60);

/// What no user may be told: it stands between a namespace and a name where they are stored.
const SEPARATOR: char = '\u{1f}';

/// Somebody of each namespace, and what it is called here.
const TENANTS: [(&str, &str); 3] = [("default", ROOT), ("acme", ANNA), ("beta", BERT)];

/// Files of tenants, and a file of tokens. `acme` and `beta` reach a directory each, `carls` has no entry.
struct Tenants {
    directory: TempDir,
}

impl Tenants {
    fn new() -> Self {
        let tenants = Self { directory: TempDir::new().unwrap() };
        for (namespace, _) in TENANTS {
            std::fs::create_dir(tenants.data(namespace)).unwrap();
        }
        tenants.change("acme");
        tenants
    }

    fn data(&self, namespace: &str) -> PathBuf {
        self.directory.path().join(format!("data-{namespace}"))
    }

    /// Writes the file of tokens, with `andys` as the namespace of Andy.
    fn change(&self, andys: &str) {
        let token = |name: &str, role: &str, namespace: &str, token: &str| {
            format!(
                "[[token]]\nname = '{name}'\nrole = '{role}'\nnamespace = '{namespace}'\ntoken = '{token}'\n"
            )
        };
        let reach = |namespace: &str| {
            let root = self.data(namespace).display().to_string();
            format!("[[namespace]]\nname = '{namespace}'\nallowed = ['{root}']\nwritable = ['{root}']\n")
        };
        let text = [
            format!("[[token]]\nname = 'root'\nrole = 'admin'\ntoken = '{ROOT}'\n"),
            token("anna", "admin", "acme", ANNA),
            token("andy", "write", andys, ANDY),
            token("bert", "admin", "beta", BERT),
            token("carl", "admin", "carls", CARL),
            reach("acme"),
            reach("beta"),
        ];
        self.replace(&text.concat());
    }

    /// Writes a file of tokens that knows nobody but the administrator of `default`.
    fn leave_default_alone(&self) {
        self.replace(&format!("[[token]]\nname = 'root'\nrole = 'admin'\ntoken = '{ROOT}'\n"));
    }

    fn replace(&self, text: &str) {
        let next = self.directory.path().join("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, self.directory.path().join("tokens.toml")).unwrap();
    }

    fn on(&self, setup: Setup) -> Setup {
        let root = self.directory.path();
        setup
            .allow(root)
            .writable(root.display())
            .set("identity.tokens", root.join("tokens.toml").display())
            .set("identity.process_secret", PROCESS)
    }
}

async fn as_(server: SocketAddr, token: &str) -> Session {
    let options = ClientOptions {
        retry_for: Duration::ZERO,
        token: Some(Token::new(token).unwrap()),
        ..ClientOptions::to(server.to_string().parse().unwrap())
    };
    Session { client: Client::connect(options).await.unwrap() }
}

/// The kind of a statement's error, none if it has none. No error tells how names are stored.
async fn kind(session: &Session, sql: &str) -> Option<ErrorKind> {
    let error = session.query(sql).await.err()?;
    let told = format!("{} {:?}", error.message, error.hint);
    let named = sql.contains(SEPARATOR);
    let plain = !told.contains(SEPARATOR) && !told.contains("\\u{1f}");
    assert!(named || plain, "{sql}: {told}");
    Some(error.kind)
}

async fn get(server: SocketAddr, path: &str, token: &str) -> (StatusCode, String) {
    let answer = reqwest::Client::new().get(format!("http://{server}{path}")).bearer_auth(token).send();
    let answer = answer.await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

/// The status of what a server answers to a WebSocket's handshake; none if it takes the connection.
async fn shaken(server: SocketAddr, stream: &str, token: &str) -> Option<u16> {
    match Sender::connect_with(server, stream, Some(token)).await {
        Ok(_) => None,
        Err(tungstenite::Error::Http(answer)) => {
            let body = answer.body().as_ref().map(|body| String::from_utf8_lossy(body).into_owned());
            assert!(!body.unwrap_or_default().contains("\\u001f"));
            Some(answer.status().as_u16())
        }
        Err(error) => panic!("{error}"),
    }
}

/// Sends one row of a stream with the column `who` over WebSocket.
async fn push(server: SocketAddr, stream: &str, token: &str, who: &str) {
    let mut sender = Sender::connect_with(server, stream, Some(token)).await.unwrap();
    assert_eq!(sender.stream, "public.ticks");
    sender.send(format!(r#"{{"who": "{who}"}}"#)).await;
    sender.acknowledged(1).await;
}

/// The same by gRPC; gives the first answer.
async fn put(server: SocketAddr, stream: &[&str], token: &str, who: &str) -> Result<Value, Error> {
    let rows: ArrayRef = Arc::new(StringArray::from(vec![who]));
    let batch = RecordBatch::try_from_iter([("who", rows)]).unwrap();
    let descriptor = FlightDescriptor::new_path(stream.iter().map(|part| (*part).to_owned()).collect());
    let frames: Vec<FlightData> = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(descriptor))
        .build(futures::stream::iter([Ok(batch)]))
        .try_collect()
        .await
        .unwrap();
    let mut request = Request::new(futures::stream::iter(frames));
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let told = |status: tonic::Status| error_from_status(&status);
    let mut client = flight::connect(server).await;
    let answers = client.do_put(request).await.map_err(told)?.into_inner();
    let answers: Vec<PutResult> = answers.try_collect().await.map_err(told)?;
    Ok(serde_json::from_slice(&answers[0].app_metadata).unwrap())
}

async fn job_rows(session: &Session, job: &str) -> Vec<Vec<String>> {
    let mut rows = session.client.job_rows(job).await.unwrap();
    let mut batches = vec![];
    while let Some(batch) = rows.next_batch().await.unwrap() {
        batches.push(batch);
    }
    compare::texts(&batches)
}

/// A column of the answer to a catalog command of Flight SQL.
async fn listed(sql: &mut FlightSqlServiceClient<Channel>, info: FlightInfo, column: &str) -> Vec<String> {
    let batches: Vec<RecordBatch> =
        sql.do_get(flight::ticket(&info)).await.unwrap().try_collect().await.unwrap();
    let texts = |batch: &RecordBatch| -> Vec<String> {
        batch[column].as_string::<i32>().iter().flatten().map(str::to_owned).collect()
    };
    batches.iter().flat_map(texts).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_those_with_the_same_names_see_their_own() {
    let tenants = Tenants::new();
    let cluster = tenants.on(Setup::up()).set("ingest.listen", "127.0.0.1:0").start_without_waiting().await;
    let (server, ws) = (cluster.grpc(), cluster.front.ws());
    for (who, token) in TENANTS {
        let session = as_(server, token).await;
        files::parquet(&tenants.data(who).join("f.parquet"), &format!("SELECT '{who}' AS who")).await;
        for sql in [
            "CREATE SCHEMA sales".to_owned(),
            format!("CREATE TABLE t AS SELECT '{who}' AS who"),
            "CREATE TABLE sales.t (who VARCHAR)".to_owned(),
            format!("INSERT INTO sales.t VALUES ('{who}'), ('{who}')"),
            "CREATE VIEW v AS SELECT who FROM sales.t".to_owned(),
            "CREATE STREAM ticks (who VARCHAR)".to_owned(),
            format!("CREATE TABLE only_{who} (who VARCHAR)"),
            format!("CREATE STREAM stream_of_{who} (who VARCHAR)"),
            format!(
                "CREATE EXTERNAL TABLE f STORED AS PARQUET LOCATION '{}/f.parquet'",
                tenants.data(who).display()
            ),
        ] {
            session.ok(&sql).await;
        }
        assert_eq!(kind(&session, "CREATE TABLE t (who VARCHAR)").await, Some(ErrorKind::AlreadyExists));
        assert_eq!(kind(&session, "CREATE SCHEMA public").await, Some(ErrorKind::AlreadyExists));
        push(ws, "ticks", token, who).await;
        assert_eq!(put(server, &["public", "ticks"], token, who).await.unwrap()["stream"], "public.ticks");
    }
    let mut seen = vec![];
    for (who, token) in TENANTS {
        let session = as_(server, token).await;
        assert_eq!(session.ok("SHOW polarway.namespace").await.cells(), [["polarway.namespace", who]]);
        for route in ["direct", "staged"] {
            session.set_route(route).await;
            // Twice, so that a plan that was kept is asked for, which another's would be, too.
            for _ in 0..2 {
                for sql in ["SELECT who FROM t", "SELECT who FROM f", "SELECT DISTINCT who FROM v"] {
                    assert_eq!(session.value(sql).await, who, "{sql} {route}");
                }
                let ticks = session.ok("SELECT who, count(*) FROM ticks GROUP BY who").await.cells();
                assert_eq!(ticks, [[who, "2"]], "{route}");
            }
        }
        // What lists names lists one's own.
        let lists = [
            "SHOW TABLES",
            "SELECT * FROM information_schema.tables",
            "SELECT * FROM information_schema.columns",
            "SELECT * FROM information_schema.views",
            "SELECT * FROM information_schema.schemata",
            "SELECT stream_schema, stream_name, belongs_to FROM system.streams",
            "SHOW STREAMS",
        ];
        let mut names = String::new();
        for sql in lists {
            names.push_str(&session.ok(sql).await.text());
        }
        assert!(names.contains(&format!("only_{who}")) && names.contains(&format!("stream_of_{who}")));
        let (_, page) = get(cluster.http(), "/streams", token).await;
        assert!(page.contains(&format!("stream_of_{who}")));
        let mut sql = FlightSqlServiceClient::new_from_inner(flight::connect(server).await);
        sql.set_token(token.to_owned());
        let schemas = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: None };
        let info = sql.get_db_schemas(schemas).await.unwrap();
        let mut schemas = listed(&mut sql, info, "db_schema_name").await;
        schemas.sort();
        assert_eq!(schemas, ["information_schema", "public", "sales"]);
        let tables = CommandGetTables {
            catalog: None,
            db_schema_filter_pattern: None,
            table_name_filter_pattern: None,
            table_types: vec![],
            include_schema: true,
        };
        let info = sql.get_tables(tables).await.unwrap();
        let tables = listed(&mut sql, info, "table_name").await;
        assert!(tables.contains(&format!("only_{who}")));
        let all = format!("{names}{page}{}{}", schemas.join(" "), tables.join(" "));
        assert!(!all.contains(SEPARATOR), "{all}");
        for (other, _) in TENANTS.iter().filter(|(other, _)| *other != who) {
            for name in [format!("only_{other}"), format!("stream_of_{other}")] {
                assert!(!all.contains(&name), "{who} sees `{name}`");
                assert_eq!(
                    kind(&session, &format!("SELECT * FROM {name}")).await,
                    Some(ErrorKind::TableNotFound)
                );
            }
            // Nor is a name told that is near.
            let error = session.error(&format!("SELECT * FROM only_{other}s")).await;
            assert!(!error.hint.unwrap_or_default().contains(&format!("only_{other}")), "{who}");
            assert_eq!(shaken(ws, &format!("stream_of_{other}"), token).await, Some(404));
            let refused =
                put(server, &[format!("stream_of_{other}").as_str()], token, who).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::TableNotFound, "{refused}");
            // Who knows how names are stored knows nothing that helps.
            let stored = format!("{other}{SEPARATOR}public");
            for statement in [
                format!("SELECT * FROM \"{stored}\".t"),
                format!("INSERT INTO \"{stored}\".t VALUES ('x')"),
                format!("DROP TABLE \"{stored}\".t"),
                format!("DROP VIEW \"{stored}\".v"),
                format!("DROP SCHEMA \"{stored}\" CASCADE"),
                format!("DROP STREAM \"{stored}\".ticks"),
                format!("CREATE SCHEMA \"{stored}\""),
                format!("CREATE TABLE \"{stored}\".u (a INT)"),
                format!("CREATE VIEW \"{stored}\".u AS SELECT 1"),
                format!("CREATE STREAM \"{stored}\".u (a INT)"),
            ] {
                assert!(kind(&session, &statement).await.is_some(), "{statement}");
            }
            assert!(put(server, &[stored.as_str(), "ticks"], token, who).await.is_err());
            assert_eq!(shaken(ws, &format!("{other}%1Fpublic.ticks"), token).await, Some(400));
        }
        seen.push(session);
    }
    // What one drops is its own.
    let [root, anna, bert] = &seen[..] else { panic!("{}", seen.len()) };
    let rows: ArrayRef = Arc::new(StringArray::from(vec!["anna"]));
    let rows = RecordBatch::try_from_iter([("who", rows)]).unwrap();
    anna.client.ingest("t", None, IngestMode::Append, rows).await.unwrap();
    assert_eq!(anna.value("SELECT count(*) FROM t").await, "2");
    for sql in [
        "DROP STREAM ticks",
        "DROP VIEW v",
        "DROP TABLE t",
        "DROP TABLE f",
        "DROP SCHEMA sales CASCADE",
        "CREATE OR REPLACE TABLE t AS SELECT 'anew' AS who",
    ] {
        anna.ok(sql).await;
    }
    assert_eq!(anna.value("SELECT who FROM t").await, "anew");
    assert_eq!(shaken(ws, "ticks", ANDY).await, Some(404));
    for (session, who) in [(root, "default"), (bert, "beta")] {
        for sql in ["SELECT who FROM t", "SELECT who FROM f", "SELECT DISTINCT who FROM v"] {
            assert_eq!(session.value(sql).await, who, "{sql}");
        }
        assert_eq!(session.value("SELECT count(*) FROM ticks").await, "2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_a_path_leads_where_its_namespace_may_go() {
    let tenants = Tenants::new();
    let cluster = tenants.on(Setup::up()).set("ingest.listen", "127.0.0.1:0").start_without_waiting().await;
    let server = cluster.grpc();
    let (root, anna) = (as_(server, ROOT).await, as_(server, ANNA).await);
    let (bert, carl) = (as_(server, BERT).await, as_(server, CARL).await);
    for (who, _) in TENANTS {
        files::parquet(&tenants.data(who).join("f.parquet"), &format!("SELECT '{who}' AS who")).await;
    }
    let at = |who: &str, path: &str| tenants.data(who).join(path).display().to_string();
    let read = |path: &str| format!("SELECT who FROM '{path}'");
    let refused = Some(ErrorKind::PathNotAllowed);
    assert_eq!(anna.value(&read(&at("acme", "f.parquet"))).await, "acme");
    assert_eq!(bert.value(&read(&at("beta", "f.parquet"))).await, "beta");
    assert_eq!(root.value(&read(&at("acme", "f.parquet"))).await, "acme", "`storage.allowed` has it");
    anna.ok(&format!("COPY (SELECT 1 AS n) TO '{}' STORED AS PARQUET", at("acme", "out/"))).await;
    assert_eq!(anna.value(&format!("SELECT n FROM '{}'", at("acme", "out/"))).await, "1");
    let data = tenants.directory.path().display().to_string();
    let front = cluster.dir().join("front");
    let own = |path: &str| front.join(path).display().to_string();
    anna.ok("CREATE TABLE t AS SELECT 'acme' AS who").await;
    for session in [&anna, &bert, &carl] {
        for path in [
            at("default", "f.parquet"),
            at("acme", "../data-default/"),
            data.clone(),
            format!("{data}/*/f.parquet"),
            own("tables/"),
            own("streams/"),
            own(""),
            "/etc/".to_owned(),
        ] {
            assert_eq!(kind(session, &read(&path)).await, refused, "{path}");
            let table = format!("CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '{path}'");
            assert_eq!(kind(session, &table).await, refused, "{path}");
            let view = format!("CREATE VIEW y AS {}", read(&path));
            assert_eq!(kind(session, &view).await, refused, "{path}");
            if !path.contains('*') {
                let copy = format!("COPY (SELECT 1 AS n) TO '{path}' STORED AS PARQUET");
                assert_eq!(kind(session, &copy).await, refused, "{path}");
            }
        }
    }
    for path in [at("acme", "f.parquet"), at("acme", "*.parquet")] {
        assert_eq!(kind(&bert, &read(&path)).await, refused, "{path}");
        assert_eq!(kind(&carl, &read(&path)).await, refused, "{path}");
    }
    assert_eq!(kind(&carl, "CREATE TABLE t AS SELECT 1 AS n").await, None, "tables are no paths");
    // Where there are namespaces those of `default` do not read others' tables by path either.
    for path in [own("tables/"), own("tables/*/data/*/*.parquet"), own("streams/")] {
        assert_eq!(kind(&root, &read(&path)).await, refused, "{path}");
        let copy = format!("COPY (SELECT 1 AS n) TO '{}x/' STORED AS PARQUET", own("tables/"));
        assert_eq!(kind(&root, &copy).await, refused);
    }
    // A feed would be fetched with secrets that are nobody's in particular.
    let feed = r#"CREATE STREAM s (a BIGINT) WITH (url = 'wss://feeds.example/x', mapping = '{"a": "/a"}')"#;
    assert_eq!(kind(&anna, feed).await, Some(ErrorKind::NotAllowed));

    // What a namespace reaches changes with the file, for tables and plans that are there, too.
    let external =
        format!("CREATE EXTERNAL TABLE f STORED AS PARQUET LOCATION '{}'", at("acme", "f.parquet"));
    anna.ok(&external).await;
    assert_eq!(anna.value("SELECT who FROM f").await, "acme");
    let text = std::fs::read_to_string(tenants.directory.path().join("tokens.toml")).unwrap();
    tenants.replace(&text.replace(&format!("'{}'", tenants.data("acme").display()), ""));
    until("the roots are gone", CEILING, || async {
        (kind(&anna, "SELECT who FROM f").await == refused).then_some(())
    })
    .await;
    assert_eq!(kind(&anna, &read(&at("acme", "f.parquet"))).await, refused);
    assert_eq!(anna.value("SELECT who FROM t").await, "acme");
    assert_eq!(bert.value(&read(&at("beta", "f.parquet"))).await, "beta");
    // It is still listed, and costs what else there is nothing.
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1";
    assert_eq!(anna.ok(tables).await.cells(), [["f"], ["t"]]);
    let shown = anna.ok("SHOW TABLES").await.cells();
    assert!(["f", "t"].iter().all(|name| shown.iter().any(|row| row[2] == *name)), "{shown:?}");
    for view in ["columns", "views"] {
        let sql = format!("SELECT table_name FROM information_schema.{view} WHERE table_schema = 'public'");
        assert_eq!(anna.ok(&sql).await.cells(), [["t"]], "{view}");
    }
    assert!(anna.ok("SHOW COLUMNS FROM t").await.text().contains("who"));
    assert!(anna.ok("SHOW CREATE TABLE t").await.text().contains("CREATE TABLE t"));
    anna.ok("DROP TABLE f").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_what_is_kept_for_a_namespace_stays_closed_without_its_tokens() {
    let tenants = Tenants::new();
    // Where paths in statements of `default` may lead, but for what the server keeps.
    let kept = tenants.directory.path().join("kept");
    let setup = tenants.on(Setup::up()).set("storage.tables", kept.display());
    let mut cluster = setup.start_without_waiting().await;
    let (root, anna) = (as_(cluster.grpc(), ROOT).await, as_(cluster.grpc(), ANNA).await);
    anna.ok("CREATE TABLE t AS SELECT 'acme' AS who").await;
    assert!(std::fs::read_dir(&kept).unwrap().count() > 0, "nothing is kept there");
    tenants.leave_default_alone();
    until("nobody is of another namespace", CEILING, || async {
        (kind(&anna, "SELECT 1").await == Some(ErrorKind::Unauthenticated)).then_some(())
    })
    .await;
    let statements = [
        format!("SELECT who FROM '{}/*/data/*/*.parquet'", kept.display()),
        format!("SELECT * FROM '{}/'", kept.display()),
        format!("COPY (SELECT 1 AS n) TO '{}/x/' STORED AS PARQUET", kept.display()),
    ];
    for sql in &statements {
        assert_eq!(kind(&root, sql).await, Some(ErrorKind::PathNotAllowed), "{sql}");
    }
    // Nor does a server that never knew of anybody else.
    cluster.restart_front().await;
    let root = as_(cluster.grpc(), ROOT).await;
    for sql in &statements {
        assert_eq!(kind(&root, sql).await, Some(ErrorKind::PathNotAllowed), "{sql}");
    }
}

/// A query that runs until it is ended.
async fn running(session: &Session) -> (String, tokio::task::JoinHandle<Option<ErrorKind>>) {
    let query = session.client.execute("SELECT count(*) FROM range(1, 1000000000000)").await.unwrap();
    let id = query.query_id().to_owned();
    let reading = tokio::spawn(async move {
        let mut query = query;
        query.next_batch().await.err().map(|error| error.kind)
    });
    let known = || async { session.client.progress(&id).await.unwrap() };
    until("it runs", CEILING, known).await;
    (id, reading)
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_an_administrator_administers_its_namespace() {
    let tenants = Tenants::new();
    let cluster = tenants.on(Setup::up()).start_without_waiting().await;
    let (server, http) = (cluster.grpc(), cluster.http());
    let (anna, andy) = (as_(server, ANNA).await, as_(server, ANDY).await);
    let others = [as_(server, ROOT).await, as_(server, BERT).await];
    for (session, who) in [(&anna, "acme"), (&others[0], "default"), (&others[1], "beta")] {
        session.ok(&format!("CREATE TABLE t AS SELECT '{who}' AS who")).await;
    }

    // The same statement under the same key is another job in another namespace.
    let sql = "SELECT who FROM t";
    let job = andy.client.submit(sql, Some("a-key"), CEILING).await.unwrap();
    assert_eq!(andy.client.submit(sql, Some("a-key"), CEILING).await.unwrap(), job);
    assert_eq!(job_rows(&andy, &job).await, [["acme"]]);
    for (other, who) in others.iter().zip(["default", "beta"]) {
        let own = other.client.submit(sql, Some("a-key"), CEILING).await.unwrap();
        assert_ne!(own, job);
        assert_eq!(job_rows(other, &own).await, [[who]]);
        assert_eq!(other.client.job(&job).await.unwrap_err().kind, ErrorKind::NotFound);
        assert_eq!(other.client.cancel_job(&job).await.unwrap_err().kind, ErrorKind::NotFound);
        assert_eq!(anna.client.job(&own).await.unwrap_err().kind, ErrorKind::NotFound);
    }
    assert!(anna.client.job(&job).await.is_ok());

    // A handle.
    let handle = andy.client.create_handle(sql, CEILING).await.unwrap();
    let query = format!("SELECT * FROM {}", handle.table());
    assert_eq!(andy.value(&query).await, "acme");
    for other in &others {
        assert!(matches!(kind(other, &query).await, Some(ErrorKind::NotFound | ErrorKind::TableNotFound)));
        assert_eq!(other.client.renew_handle(&handle.id).await.unwrap_err().kind, ErrorKind::NotFound);
        other.client.close_handle(&handle.id).await.unwrap();
    }
    assert!(anna.client.renew_handle(&handle.id).await.is_ok());
    assert_eq!(andy.value(&query).await, "acme", "somebody else has closed it");

    // A running query.
    let (id, reading) = running(&andy).await;
    for ((other, token), path) in others.iter().zip([ROOT, BERT]).zip(["/v1/queries", "/queries"]) {
        assert_eq!(other.client.progress(&id).await.unwrap(), None);
        for path in [path, "/"] {
            let (_, text) = get(http, path, token).await;
            assert!(!text.contains(&id), "{path}");
        }
        assert_eq!(get(http, &format!("/queries/{id}"), token).await.0, StatusCode::NOT_FOUND);
        let url = format!("http://{http}/v1/queries/{id}");
        let ended = reqwest::Client::new().delete(url).bearer_auth(token).send().await.unwrap();
        assert_eq!(ended.status(), StatusCode::NOT_FOUND);
    }
    let (_, text) = get(http, "/v1/queries", ANNA).await;
    assert!(text.contains(&id) && text.contains("acme/andy"));
    let url = format!("http://{http}/v1/queries/{id}");
    let ended = reqwest::Client::new().delete(url).bearer_auth(ANNA).send().await.unwrap();
    assert_eq!(ended.status(), StatusCode::NO_CONTENT);
    assert_eq!(reading.await.unwrap(), Some(ErrorKind::Cancelled));

    // A ticket.
    let info = flight::info_as(server, ANDY, sql).await.unwrap();
    let ticket = flight::ticket(&info).ticket;
    for token in [ROOT, BERT, ANNA] {
        let stolen = flight::redeem_as(server, token, ticket.clone()).await.unwrap_err();
        assert_eq!(stolen.kind, ErrorKind::NotAllowed);
    }

    // What is about the whole cluster.
    for (path, token, status) in [
        ("/metrics", ANNA, StatusCode::FORBIDDEN),
        ("/api/jobs", ANNA, StatusCode::FORBIDDEN),
        ("/metrics", ROOT, StatusCode::OK),
        ("/api/jobs", ROOT, StatusCode::OK),
        ("/v1/nodes", ANDY, StatusCode::OK),
    ] {
        assert_eq!(get(http, path, token).await.0, status, "{path}");
    }

    // Whoever comes into another namespace has nothing of the one before, its ticket and its job among it.
    tenants.change("beta");
    until("the namespace has changed", CEILING, || async {
        (andy.query("SHOW polarway.namespace").await.unwrap().cells()[0][1] == "beta").then_some(())
    })
    .await;
    assert_eq!(andy.value(sql).await, "beta");
    assert_eq!(andy.client.job(&job).await.unwrap_err().kind, ErrorKind::NotFound);
    assert!(kind(&andy, &query).await.is_some());
    assert_eq!(flight::redeem_as(server, ANDY, ticket).await.unwrap_err().kind, ErrorKind::NotAllowed);
    for sql in ["SET polarway.namespace = 'acme'", "RESET polarway.namespace"] {
        // It is not what a session has set, so there is nothing to take back.
        let _ = andy.query(sql).await;
        assert_eq!(andy.value("SELECT who FROM t").await, "beta", "{sql}");
    }
    logs_tell_who(&cluster);
}

fn logs_tell_who(cluster: &Cluster) {
    let log = std::fs::read_to_string(cluster.dir().join("front.log")).unwrap();
    assert!(log.contains("acme/anna"), "nothing was audited with its namespace");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_processes_that_take_rows_know_whose_stream_is_meant() {
    let tenants = Tenants::new();
    let cluster = tenants.on(Setup::cluster(1).ingest(1)).start_without_waiting().await;
    let (server, taker) = (cluster.grpc(), &cluster.ingest[0]);
    for (who, token) in TENANTS {
        let session = as_(server, token).await;
        let made = || async { session.query("CREATE STREAM IF NOT EXISTS ticks (who VARCHAR)").await.ok() };
        until("the stream is made", CEILING, made).await;
        session.ok(&format!("CREATE STREAM stream_of_{who} (who VARCHAR)")).await;
        push(taker.ws(), "ticks", token, who).await;
        for door in [server, taker.grpc] {
            assert_eq!(put(door, &["ticks"], token, who).await.unwrap()["stream"], "public.ticks");
        }
    }
    for (who, token) in TENANTS {
        let session = as_(server, token).await;
        for route in ["direct", "staged"] {
            session.set_route(route).await;
            let ticks = session.ok("SELECT who, count(*) FROM ticks GROUP BY who").await.cells();
            assert_eq!(ticks, [[who, "3"]], "{route}");
        }
        for (other, _) in TENANTS.iter().filter(|(other, _)| *other != who) {
            let name = format!("stream_of_{other}");
            assert_eq!(shaken(taker.ws(), &name, token).await, Some(404));
            let stored = format!("{other}{SEPARATOR}public");
            for door in [server, taker.grpc] {
                let refused = put(door, &[name.as_str()], token, who).await.unwrap_err();
                assert_eq!(refused.kind, ErrorKind::TableNotFound);
                assert!(!refused.to_string().contains(SEPARATOR), "{refused}");
                assert!(put(door, &[stored.as_str(), name.as_str()], token, who).await.is_err());
            }
        }
    }
    as_(server, BERT).await.ok("DROP STREAM ticks").await;
    assert_eq!(shaken(taker.ws(), "ticks", BERT).await, Some(404));
    assert_eq!(shaken(taker.ws(), "ticks", ANNA).await, None);
}
