//! Clusters whose shuffle output is copied to an S3 server, and a query that lasts.

use std::path::PathBuf;
use std::time::Duration;

use polarway_client::QueryHandle;
use polarway_common::Error;
use polarway_tests::s3::S3Server;
use polarway_tests::{Answer, Cluster, Session, Setup, until};
use tokio::task::JoinHandle;

const CEILING: Duration = Duration::from_secs(120);
const BUCKET: &str = "shuffle";

/// Its first three stages are done in a moment, and its fourth takes its time.
pub const LONG: &str = "
    SELECT count(*), sum(a.c + b.c)
    FROM (SELECT l_orderkey % 30000 AS k, count(*) AS c FROM lineitem GROUP BY 1) a
    JOIN (SELECT l_partkey AS k, count(*) AS c FROM lineitem GROUP BY 1) b
      ON a.k * 3 + b.k * 7 + a.c > b.c * 11 + 40000";
pub const FIRST_STAGES: [u64; 3] = [1, 2, 3];

/// A cluster with TPC-H that copies to a bucket of a server of its own.
pub struct Stored {
    pub server: S3Server,
    pub cluster: Cluster,
    pub data: PathBuf,
    pub session: Session,
}

impl Stored {
    pub async fn start(setup: Setup) -> Self {
        let server = S3Server::start().await;
        server.bucket(BUCKET);
        let setup = server.configure(setup).set("shuffle.url", format!("s3://{BUCKET}/below"));
        let setup = setup.set("shuffle.upload_after", "20ms");
        let (cluster, data) = setup.start_with_tpch().await;
        let session = Session::with_any(&cluster.fronts()).await;
        session.set_route("staged").await;
        Self { server, cluster, data, session }
    }

    /// Objects in the bucket.
    pub fn objects(&self) -> Vec<PathBuf> {
        self.server.objects(BUCKET)
    }

    pub async fn until_no_objects(&self, why: &str) {
        until(format!("no object is left {why}"), CEILING, || async {
            let objects = self.objects();
            if !objects.is_empty() {
                println!("{} objects", objects.len());
            }
            objects.is_empty().then_some(())
        })
        .await;
    }

    pub async fn begin(&self, sql: &str) -> Begun {
        Self::begin_at(&self.session, sql).await
    }

    pub async fn begin_at(session: &Session, sql: &str) -> Begun {
        let mut stream = session.client.execute(sql).await.unwrap();
        let (handle, id) = (stream.handle().clone(), stream.query_id().to_owned());
        let session = session.clone();
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
    pub async fn until_stored(&self, query: &Begun, stages: &[u64]) {
        Self::until_stored_at(&self.session, &self.cluster, query, stages).await;
    }

    pub async fn until_stored_at(session: &Session, cluster: &Cluster, query: &Begun, stages: &[u64]) {
        until("stages are done and stored", CEILING, || async {
            let progress = session.client.progress(&query.id).await.ok()??;
            let done: u64 = stages
                .iter()
                .map(|id| progress.stages.iter().find(|stage| stage.id == *id && stage.tasks == stage.done))
                .map(|stage| stage.map(|stage| stage.done))
                .sum::<Option<u64>>()?;
            let stored = cluster.sum_of_executors("polarway_shuffle_outputs_stored_total").await;
            let running = cluster.running_tasks().await;
            (stored == done as f64 && running > 0.0).then_some(())
        })
        .await;
    }
}

pub struct Begun {
    pub id: String,
    pub handle: QueryHandle,
    pub reading: JoinHandle<Result<Answer, Error>>,
}
