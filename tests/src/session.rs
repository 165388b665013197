//! A client session as tests use it.

use std::net::SocketAddr;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;
use polarway_client::{Client, ClientOptions, QueryHandle, QueryProgress, QueryStream};
use polarway_common::Error;

use crate::wait::within;

/// No statement of these tests takes so long unless it hangs.
pub const QUERY_CEILING: Duration = Duration::from_secs(300);

/// A whole result.
#[derive(Debug, Clone)]
pub struct Answer {
    pub query_id: String,
    pub route: String,
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

impl Answer {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// The result as a table, for messages and for looking into texts.
    pub fn text(&self) -> String {
        pretty_format_batches(&self.batches).unwrap().to_string()
    }

    /// The one value of a result with one row and one column, as text.
    pub fn value(&self) -> String {
        let [row] = &self.cells()[..] else { panic!("not one row:\n{}", self.text()) };
        let [value] = &row[..] else { panic!("not one column:\n{}", self.text()) };
        value.clone()
    }

    /// All values as texts, row by row.
    pub fn cells(&self) -> Vec<Vec<String>> {
        crate::compare::texts(&self.batches)
    }
}

async fn whole(mut stream: QueryStream) -> Result<Answer, Error> {
    let (query_id, route) = (stream.query_id().to_owned(), stream.route().to_owned());
    let schema = stream.schema().clone();
    let mut batches = vec![];
    while let Some(batch) = stream.next_batch().await? {
        batches.push(batch);
    }
    Ok(Answer { query_id, route, schema, batches })
}

/// One session; clones share it.
#[derive(Clone)]
pub struct Session {
    pub client: Client,
}

impl Session {
    pub async fn connect(server: SocketAddr) -> Self {
        Self::try_connect(server).await.unwrap()
    }

    pub async fn try_connect(server: SocketAddr) -> Result<Self, Error> {
        // Tests of what dies see it at once; those that are to see nothing ask for it.
        let endpoint = server.to_string().parse().unwrap();
        let options = ClientOptions { retry_for: Duration::ZERO, ..ClientOptions::to(endpoint) };
        let connecting = Client::connect(options);
        Ok(Self { client: within("connecting", QUERY_CEILING, connecting).await? })
    }

    /// A session that goes on at another server when its own is gone.
    pub async fn with_any(servers: &[SocketAddr]) -> Self {
        let endpoints = servers.iter().map(|server| server.to_string().parse().unwrap()).collect();
        let connecting = Client::connect(ClientOptions::to_any(endpoints));
        Self { client: within("connecting", QUERY_CEILING, connecting).await.unwrap() }
    }

    /// Runs one statement to its end.
    pub async fn query(&self, sql: &str) -> Result<Answer, Error> {
        within(sql, QUERY_CEILING, async { whole(self.client.execute(sql).await?).await }).await
    }

    /// The same with values for its placeholders.
    pub async fn query_with(&self, sql: &str, parameters: &RecordBatch) -> Result<Answer, Error> {
        let work = async { whole(self.client.execute_with(sql, parameters).await?).await };
        within(sql, QUERY_CEILING, work).await
    }

    /// Reads the result of a statement that was planned before, here or elsewhere, as if nothing had been read yet.
    pub async fn again(&self, handle: &QueryHandle) -> Result<Answer, Error> {
        let work = async { whole(self.client.read(handle.clone())?).await };
        within(handle.query_id(), QUERY_CEILING, work).await
    }

    /// A statement that must succeed.
    pub async fn ok(&self, sql: &str) -> Answer {
        self.query(sql).await.unwrap_or_else(|error| panic!("{sql}\n{:?}: {error}", error.kind))
    }

    /// A statement that must fail.
    pub async fn error(&self, sql: &str) -> Error {
        match self.query(sql).await {
            Err(error) => error,
            Ok(answer) => panic!("{sql}\nsucceeded:\n{}", answer.text()),
        }
    }

    /// The one value of a query, as text.
    pub async fn value(&self, sql: &str) -> String {
        self.ok(sql).await.value()
    }

    pub async fn set(&self, name: &str, value: &str) {
        self.ok(&format!("SET {name} = '{value}'")).await;
    }

    pub async fn set_route(&self, route: &str) {
        self.set("polarway.route", route).await;
    }

    /// How far a query has come; it must be known.
    pub async fn progress(&self, query_id: &str) -> QueryProgress {
        let progress = self.client.progress(query_id).await.unwrap();
        progress.unwrap_or_else(|| panic!("the server does not know the query {query_id}"))
    }

    /// Reads a result without keeping it; gives its rows and bytes.
    pub async fn drain(&self, sql: &str) -> Result<(usize, usize), Error> {
        let work = async {
            let stream = self.client.execute(sql).await?;
            let add = |(rows, bytes), batch: RecordBatch| async move {
                Ok((rows + batch.num_rows(), bytes + batch.get_array_memory_size()))
            };
            stream.try_fold((0, 0), add).await
        };
        within(sql, QUERY_CEILING * 3, work).await
    }
}
