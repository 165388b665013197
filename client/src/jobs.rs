//! Statements that are carried out whatever becomes of this client.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use polarway_common::{Error, ErrorKind};
use polarway_proto::job::{CANCEL_JOB_ACTION, JOB_ACTION, JobInfo, JobOutcome, SUBMIT_JOB_ACTION, SubmitJob};

use crate::handles::{millis, read, write};
use crate::session::random_uuid;
use crate::{Client, QueryStream};

/// Between two looks at a job, at first and at most.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Client {
    /// Submits a statement; gives the job's id, by which any client of the cluster can ask for it. What is submitted under the
    /// same key, by whomever, is the same job; without a key it has one of its own. The outcome is kept for `keep` after the
    /// end.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn run(client: polarway_client::Client) -> Result<(), polarway_common::Error> {
    /// let job = client.submit("SELECT count(*) FROM trades", None, Duration::from_secs(3600)).await?;
    /// let mut rows = client.job_rows(&job).await?;
    /// while let Some(batch) = rows.next_batch().await? {
    ///     assert_eq!(batch.num_rows(), 1);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of parsing it; [`ErrorKind::InvalidSetting`] when another statement has the key; when no server answers.
    pub async fn submit(&self, sql: &str, key: Option<&str>, keep: Duration) -> Result<String, Error> {
        self.send_job(sql, None, key, keep).await
    }

    /// [`Client::submit`] with values in place of the statement's placeholders, as [`Client::execute_with`] takes them. With
    /// other values it is another statement, which needs another key.
    ///
    /// # Errors
    /// As [`Client::submit`]; [`ErrorKind::Plan`] when there are not as many values as placeholders ask for,
    /// [`ErrorKind::Unsupported`] for other than one row, maps and unions.
    pub async fn submit_with(
        &self,
        sql: &str,
        parameters: &RecordBatch,
        key: Option<&str>,
        keep: Duration,
    ) -> Result<String, Error> {
        self.send_job(sql, Some(text_of(parameters)?), key, keep).await
    }

    async fn send_job(
        &self,
        sql: &str,
        parameters: Option<String>,
        key: Option<&str>,
        keep: Duration,
    ) -> Result<String, Error> {
        let key = key.map_or_else(random_uuid, str::to_owned);
        let request = SubmitJob { sql: sql.to_owned(), parameters, key, keep_ms: millis(keep) };
        let id = self.ask(SUBMIT_JOB_ACTION, write(&request)?).await?;
        String::from_utf8(id.into()).map_err(|_| Error::internal("a job's name cannot be read"))
    }

    /// What is known of a job.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, or it is not kept any more.
    pub async fn job(&self, id: &str) -> Result<JobInfo, Error> {
        read(&self.ask(JOB_ACTION, Bytes::from(id.to_owned())).await?)
    }

    /// Ends a job; false if it had ended before.
    ///
    /// # Errors
    /// As [`Client::job`].
    pub async fn cancel_job(&self, id: &str) -> Result<bool, Error> {
        read(&self.ask(CANCEL_JOB_ACTION, Bytes::from(id.to_owned())).await?)
    }

    /// Waits for a job's end, and reads the rows of its query; of another statement, the row that it tells.
    ///
    /// # Errors
    /// That of the job; [`ErrorKind::Cancelled`]; as [`Client::job`].
    pub async fn job_rows(&self, id: &str) -> Result<QueryStream, Error> {
        let mut pause = FIRST_LOOK;
        loop {
            let job = self.job(id).await?;
            if let Some(error) = job.error {
                return Err(error.into());
            }
            match job.outcome {
                Some(JobOutcome::Rows { table, .. }) => {
                    return self.execute(&format!("SELECT * FROM {table}")).await;
                }
                Some(JobOutcome::Written { count, files, bytes }) => {
                    let sql = format!("SELECT {count} AS count, {files} AS files, {bytes} AS bytes");
                    return self.execute(&sql).await;
                }
                Some(JobOutcome::Told { status }) => {
                    let sql = format!("SELECT '{}' AS status", status.replace('\'', "''"));
                    return self.execute(&sql).await;
                }
                None if job.state == polarway_proto::progress::QueryState::Cancelled => {
                    return Err(Error::new(ErrorKind::Cancelled, "the job was cancelled"));
                }
                None => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Values as [`SubmitJob::parameters`] takes them.
fn text_of(parameters: &RecordBatch) -> Result<String, Error> {
    let written = || -> Result<Vec<u8>, ArrowError> {
        let mut writer = StreamWriter::try_new(vec![], &parameters.schema())?;
        writer.write(parameters)?;
        writer.into_inner()
    };
    written().map(|bytes| STANDARD.encode(bytes)).map_err(|error| {
        Error::new(ErrorKind::TypeMismatch, format!("the parameters of a job cannot be written: {error}"))
    })
}
