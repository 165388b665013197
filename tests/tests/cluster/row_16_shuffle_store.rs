//! Shuffle output that outlives its executor in an object store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use polarway_client::{CancelOutcome, QueryHandle};
use polarway_common::Error;
use polarway_tests::s3::S3Server;
use polarway_tests::{Answer, Cluster, Oracle, Order, Session, Setup, assert_same, tpch, until};
use tokio::task::JoinHandle;

const CEILING: Duration = Duration::from_secs(120);
const BUCKET: &str = "shuffle";

/// Its first three stages are done in a moment, and its fourth takes its time.
const LONG: &str = "
    SELECT count(*), sum(a.c + b.c)
    FROM (SELECT l_orderkey % 30000 AS k, count(*) AS c FROM lineitem GROUP BY 1) a
    JOIN (SELECT l_partkey AS k, count(*) AS c FROM lineitem GROUP BY 1) b
      ON a.k * 3 + b.k * 7 + a.c > b.c * 11 + 40000";
const FIRST_STAGES: [u64; 3] = [1, 2, 3];

/// A cluster with TPC-H that copies to a bucket of a server of its own.
struct Stored {
    server: S3Server,
    cluster: Cluster,
    data: PathBuf,
    session: Session,
}

impl Stored {
    async fn start(setup: Setup) -> Self {
        let server = S3Server::start().await;
        server.bucket(BUCKET);
        let setup = server.configure(setup).set("shuffle.url", format!("s3://{BUCKET}/below"));
        let setup = setup.set("shuffle.upload_after", "20ms");
        let (cluster, data) = setup.start_with_tpch().await;
        let session = cluster.session().await;
        session.set_route("staged").await;
        Self { server, cluster, data, session }
    }

    /// Objects in the bucket.
    fn objects(&self) -> Vec<PathBuf> {
        files_below(&self.server.bucket(BUCKET))
    }

    async fn until_no_objects(&self, why: &str) {
        until(format!("no object is left {why}"), CEILING, || async {
            let objects = self.objects();
            if !objects.is_empty() {
                println!("{} objects", objects.len());
            }
            objects.is_empty().then_some(())
        })
        .await;
    }

    async fn begin(&self, sql: &str) -> Begun {
        let sql = sql.to_owned();
        let mut stream = self.session.client.execute(&sql).await.unwrap();
        let (handle, id) = (stream.handle().clone(), stream.query_id().to_owned());
        let session = self.session.clone();
        let (route, schema) = (stream.route().to_owned(), stream.schema().clone());
        let query_id = id.clone();
        let reading = tokio::spawn(async move {
            let _session = session;
            let mut batches = vec![];
            while let Some(batch) = stream.next_batch().await? {
                batches.push(batch);
            }
            Ok(Answer { query_id, route, schema, batches })
        });
        Begun { id, handle, reading }
    }

    /// Waits until the stages before the last but one are done, and all that their tasks have written is stored.
    async fn until_stored(&self, query: &Begun, stages: &[u64]) {
        until("stages are done and stored", CEILING, || async {
            let progress = self.session.client.progress(&query.id).await.ok()??;
            let done: u64 = stages
                .iter()
                .map(|id| progress.stages.iter().find(|stage| stage.id == *id && stage.tasks == stage.done))
                .map(|stage| stage.map(|stage| stage.done))
                .sum::<Option<u64>>()?;
            let stored = self.cluster.sum_of_executors("polarway_shuffle_outputs_stored_total").await;
            let running = self.cluster.running_tasks().await;
            (stored == done as f64 && running > 0.0).then_some(())
        })
        .await;
    }
}

struct Begun {
    id: String,
    handle: QueryHandle,
    reading: JoinHandle<Result<Answer, Error>>,
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] });
    // The server keeps notes of its own beside its objects.
    files.filter(|path| path.extension().is_some_and(|extension| extension == "pack")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_16_a_finished_stage_is_not_run_again_when_its_executor_dies() {
    let mut stored = Stored::start(Setup::cluster(3).slots(1)).await;
    let oracle = Oracle::tpch(&stored.data).await;
    let expected = oracle.answer(LONG).await;
    let query = stored.begin(LONG).await;
    stored.until_stored(&query, &FIRST_STAGES).await;
    assert!(!stored.objects().is_empty());
    let before = stored.session.progress(&query.id).await;
    stored.cluster.kill_executor(0);
    let answer = query.reading.await.unwrap().unwrap();
    assert_same("with a death", &answer, &expected, Order::None);
    let after = stored.session.progress(&query.id).await;
    println!("before {before:?}\nafter {after:?}");
    assert_eq!(after.attempt, 1);
    let stages = |progress: &polarway_client::QueryProgress| {
        let finished = progress.stages.iter().filter(|stage| FIRST_STAGES.contains(&stage.id));
        finished.map(|stage| (stage.id, stage.tasks, stage.done)).collect::<Vec<_>>()
    };
    assert_eq!(stages(&after), stages(&before), "tasks of finished stages ran again");
    stored.until_no_objects("after the query").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_16_nothing_is_left_after_a_cancel() {
    let stored = Stored::start(Setup::cluster(2)).await;
    let query = stored.begin(LONG).await;
    stored.until_stored(&query, &FIRST_STAGES).await;
    assert!(!stored.objects().is_empty());
    assert_ne!(stored.session.client.cancel(&query.handle).await.unwrap(), CancelOutcome::NotRunning);
    assert!(query.reading.await.unwrap().is_err());
    stored.until_no_objects("after a cancel").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_16_nothing_is_left_after_a_crash_of_the_scheduler() {
    let mut stored = Stored::start(Setup::cluster(2)).await;
    let query = stored.begin(LONG).await;
    stored.until_stored(&query, &FIRST_STAGES).await;
    assert!(!stored.objects().is_empty());
    let address = stored.cluster.grpc();
    stored.cluster.front.kill();
    assert!(query.reading.await.unwrap().is_err());
    assert!(!stored.objects().is_empty(), "nobody was there to remove them");
    stored.cluster.start_front_at(address);
    stored.cluster.until_executors(2).await;
    stored.until_no_objects("after a crash").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_16_durable_output_is_there_before_its_task_is_done() {
    let setup = Setup::cluster(2).slots(1).set("shuffle.mode", "durable").set("shuffle.upload_after", "1h");
    let stored = Stored::start(setup).await;
    let oracle = Oracle::tpch(&stored.data).await;
    for number in [3, 9, 18] {
        let sql = tpch::query(number);
        let answer = stored.session.ok(&sql).await;
        assert_same(&sql, &answer, &*oracle.answer(&sql).await, tpch::order(number));
        let done: u64 =
            stored.session.progress(&answer.query_id).await.stages.iter().map(|stage| stage.done).sum();
        assert!(done > 0);
    }
    let succeeded = stored.cluster.sum_of_executors("polarway_executor_tasks_succeeded_total").await;
    let copied = stored.cluster.sum_of_executors("polarway_shuffle_outputs_stored_total").await;
    assert_eq!(copied, succeeded);
    stored.until_no_objects("after the queries").await;
}
