//! Statements that are submitted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};
use arrow_flight::{FlightDescriptor, PollInfo};
use polarway_client::{JobInfo, JobOutcome, QueryState};
use polarway_common::{Error, ErrorKind};
use polarway_proto::status::error_from_status;
use polarway_tests::etcd::Etcd;
use polarway_tests::wait::until;
use polarway_tests::{Session, Setup, flight, http};
use prost::Message;

const HOUR: Duration = Duration::from_secs(3600);
const ENDLESS: &str = "SELECT count(*) FROM lineitem a JOIN lineitem b ON a.l_linenumber = b.l_linenumber WHERE a.l_comment <> b.l_comment";
const SUMS: &str = "SELECT l_returnflag, count(*) AS lines, sum(l_extendedprice) AS price FROM lineitem GROUP BY 1 ORDER BY 1";

async fn ended(session: &Session, id: &str) -> JobInfo {
    until("the job ends", Duration::from_secs(120), || async {
        let job = session.client.job(id).await.unwrap();
        job.is_over().then_some(job)
    })
    .await
}

async fn rows(session: &Session, id: &str) -> Vec<Vec<String>> {
    let job = ended(session, id).await;
    let Some(JobOutcome::Rows { table, .. }) = &job.outcome else { panic!("{job:?}") };
    session.ok(&format!("SELECT * FROM {table} ORDER BY 1")).await.cells()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_21_three_submits_with_one_key_are_one_job() {
    let (cluster, _) = Setup::up().start_with_tpch().await;
    let session = cluster.session().await;
    let client = &session.client;
    let wanted = session.ok(SUMS).await.cells();
    let mut ids = vec![];
    for _ in 0..3 {
        ids.push(client.submit(SUMS, Some("report-1"), HOUR).await.unwrap());
    }
    assert!(ids.iter().all(|id| id == &ids[0]), "{ids:?}");
    assert_eq!(rows(&session, &ids[0]).await, wanted);
    assert_eq!(
        client.submit("SELECT 1", Some("report-1"), HOUR).await.unwrap_err().kind,
        ErrorKind::InvalidSetting
    );

    let made = client.submit("CREATE TABLE t (a BIGINT)", None, HOUR).await.unwrap();
    assert_eq!(ended(&session, &made).await.state, QueryState::Finished);
    for _ in 0..3 {
        let id = client.submit("INSERT INTO t VALUES (1), (2)", Some("insert-1"), HOUR).await.unwrap();
        let Some(JobOutcome::Written { count, .. }) = ended(&session, &id).await.outcome else { panic!() };
        assert_eq!(count, 2);
    }
    assert_eq!(session.value("SELECT count(*) FROM t").await, "2");

    let values = |least: i64| {
        let least: ArrayRef = Arc::new(Int64Array::from(vec![least]));
        let flag: ArrayRef = Arc::new(StringArray::from(vec!["A' OR 'a' = 'a"]));
        RecordBatch::try_from_iter([("1", least), ("2", flag)]).unwrap()
    };
    let bound = "SELECT count(*) FROM lineitem WHERE l_orderkey < $1 AND l_returnflag <> $2";
    let count = client.submit_with(bound, &values(1000), Some("bound-1"), HOUR).await.unwrap();
    let counted = session.ok("SELECT count(*) FROM lineitem WHERE l_orderkey < 1000").await.cells();
    assert_eq!(rows(&session, &count).await, counted);
    assert_eq!(client.submit_with(bound, &values(1000), Some("bound-1"), HOUR).await.unwrap(), count);
    let other = client.submit_with(bound, &values(7), Some("bound-1"), HOUR).await.unwrap_err();
    assert_eq!(other.kind, ErrorKind::InvalidSetting);
    assert_eq!(client.submit(bound, None, HOUR).await.unwrap_err().kind, ErrorKind::Plan);

    let failing =
        client.submit("SELECT 1 / (l_orderkey - l_orderkey) FROM lineitem", None, HOUR).await.unwrap();
    let failed = ended(&session, &failing).await;
    assert_eq!((failed.state, failed.error.unwrap().kind.as_str()), (QueryState::Failed, "EXECUTION"));
    assert_eq!(client.submit("SELEC 1", None, HOUR).await.unwrap_err().kind, ErrorKind::Syntax);
    let unknown = format!("j_{}", "0".repeat(32));
    assert_eq!(client.job(&unknown).await.unwrap_err().kind, ErrorKind::NotFound);

    let long = client.submit(ENDLESS, None, HOUR).await.unwrap();
    until("it runs", Duration::from_secs(60), || async {
        (client.job(&long).await.unwrap().state == QueryState::Running).then_some(())
    })
    .await;
    assert!(client.cancel_job(&long).await.unwrap());
    assert!(!client.cancel_job(&long).await.unwrap());
    assert_eq!(ended(&session, &long).await.state, QueryState::Cancelled);
    until("nothing of it runs", Duration::from_secs(10), || async {
        (cluster.metric("polarway_queries_running").await == 0.0).then_some(())
    })
    .await;
    // As short as is allowed.
    let gone = client.submit("SELECT 1 AS one", None, Duration::ZERO).await.unwrap();
    assert_eq!(rows(&session, &gone).await, [["1"]]);
    until("it is kept no more", Duration::from_secs(60), || async {
        client.job(&gone).await.err().filter(|error| error.kind == ErrorKind::NotFound)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_13_a_job_survives_its_scheduler_and_its_client() {
    let etcd = Etcd::start().await;
    let setup =
        Setup::cluster(2).schedulers(2).set("metastore.etcd", etcd.url()).set("metastore.lease_ttl", "2s");
    let (mut cluster, _) = setup.start_with_tpch().await;
    let fronts = cluster.fronts();
    let other = Session::connect(fronts[1]).await;
    let query = "SELECT a.l_orderkey, a.l_comment, b.l_comment AS other FROM lineitem a JOIN lineitem b ON a.l_orderkey = b.l_orderkey";
    let wanted = other.value(&format!("SELECT count(*) FROM ({query})")).await;
    other.ok("CREATE TABLE joined (l_orderkey BIGINT, l_comment VARCHAR, other VARCHAR)").await;
    let mut ids = vec![];
    {
        let session = Session::connect(fronts[0]).await;
        session.ok("SET polarway.route = 'staged'").await;
        ids.push(session.client.submit(query, None, HOUR).await.unwrap());
        ids.push(session.client.submit(&format!("INSERT INTO joined {query}"), None, HOUR).await.unwrap());
    }
    until("tasks run", Duration::from_secs(60), || async {
        (cluster.running_tasks().await > 0.0).then_some(())
    })
    .await;
    cluster.front.kill();
    let [read, written] = [ended(&other, &ids[0]).await, ended(&other, &ids[1]).await];
    let Some(JobOutcome::Rows { rows, table, .. }) = &read.outcome else { panic!("{read:?}") };
    assert_eq!(rows.to_string(), wanted);
    assert_eq!(other.value(&format!("SELECT count(*) FROM {table}")).await, wanted);
    assert!(
        matches!(&written.outcome, Some(JobOutcome::Written { count, .. }) if count.to_string() == wanted),
        "{written:?}"
    );
    assert_eq!(other.value("SELECT count(*) FROM joined").await, wanted);
    assert!(read.attempt <= 2 && written.attempt <= 2, "{read:?} {written:?}");
    let taken_over = http::metric(cluster.others[0].http(), "polarway_jobs_taken_over_total").await;
    assert_eq!(taken_over, f64::from(read.attempt + written.attempt - 2));
}

async fn polled(server: SocketAddr, descriptor: FlightDescriptor) -> Result<PollInfo, Error> {
    let answer = flight::connect(server).await.poll_flight_info(descriptor).await;
    answer.map(tonic::Response::into_inner).map_err(|status| error_from_status(&status))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_polled_with_flights_own_call() {
    let etcd = Etcd::start().await;
    let setup = Setup::cluster(1).schedulers(2).set("metastore.etcd", etcd.url());
    let (cluster, _) = setup.start_with_tpch().await;
    let fronts = cluster.fronts();
    let statement = |sql: &str| {
        let command = CommandStatementQuery { query: sql.to_owned(), transaction_id: None };
        FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
    };
    let mut info = polled(fronts[0], statement(SUMS)).await.unwrap();
    // Any scheduler knows of it.
    let mut turn = 0;
    while let Some(next) = info.flight_descriptor.clone() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        turn += 1;
        info = polled(fronts[turn % 2], next).await.unwrap();
        assert!(info.progress.is_none_or(|done| (0.0..=1.0).contains(&done)));
    }
    let flight = info.info.unwrap();
    assert_eq!(flight.total_records, 3);
    let messages = flight::redeem(fronts[turn % 2], flight::ticket(&flight).ticket).await.unwrap();
    assert!(messages.len() >= 2, "{}", messages.len());
    let mut failing =
        polled(fronts[0], statement("SELECT 1 / (l_orderkey - l_orderkey) FROM lineitem")).await;
    while let Ok(PollInfo { flight_descriptor: Some(next), .. }) = failing {
        failing = polled(fronts[1], next).await;
    }
    assert_eq!(failing.unwrap_err().kind, ErrorKind::Execution);
    let missing = FlightDescriptor::new_cmd(&b"polarway.job:none"[..]);
    assert_eq!(polled(fronts[0], missing).await.unwrap_err().kind, ErrorKind::NotFound);
}
