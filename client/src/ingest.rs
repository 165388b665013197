//! Rows that become a table, or are added to one.

use std::collections::HashMap;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{
    CommandStatementIngest, DoPutUpdateResult, TableDefinitionOptions, TableExistsOption, TableNotExistOption,
};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use polarway_common::{Error, ErrorKind};
use polarway_proto::ingest::{OUTCOME_OPTION, TTL_OPTION};
use polarway_proto::statement::IDEMPOTENCY_KEY;
use prost::Message;
use tokio::sync::oneshot;

use crate::session::random_uuid;
use crate::statement::command_of;
use crate::transport::Failure;
use crate::{Client, Endpoint, Handle};

/// What becomes of a table that is there, and of one that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IngestMode {
    /// The table is made; there must be none of its name.
    Create,
    /// Rows are added; the table must be there.
    Append,
    /// Rows are added, to a new table if there is none.
    CreateAppend,
    /// The table is made anew, in place of one of its name.
    Replace,
}

impl IngestMode {
    fn options(self) -> TableDefinitionOptions {
        let (missing, exists) = match self {
            Self::Create => (TableNotExistOption::Create, TableExistsOption::Fail),
            Self::Append => (TableNotExistOption::Fail, TableExistsOption::Append),
            Self::CreateAppend => (TableNotExistOption::Create, TableExistsOption::Append),
            Self::Replace => (TableNotExistOption::Create, TableExistsOption::Replace),
        };
        TableDefinitionOptions { if_not_exist: missing as i32, if_exists: exists as i32 }
    }
}

/// Rows on their way to a server: their columns, and batches of them.
pub struct IngestRows {
    schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch, Error>>,
}

impl IngestRows {
    /// Batches with the columns of `schema`. They are asked for as the server takes them. An error among them ends the call
    /// with it, and none of the rows are taken.
    pub fn new(
        schema: SchemaRef,
        batches: impl Stream<Item = Result<RecordBatch, Error>> + Send + 'static,
    ) -> Self {
        Self { schema, batches: batches.boxed() }
    }
}

impl From<RecordBatch> for IngestRows {
    fn from(batch: RecordBatch) -> Self {
        Self::new(batch.schema(), stream::iter([Ok(batch)]))
    }
}

impl Client {
    /// Makes a table of rows, or adds them to one: all of them, or none. `schema` is that of the catalog; without it the table
    /// is in the one where tables are by default. Columns are found by name. Gives how many rows there were.
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
    /// # use polarway_client::IngestMode;
    /// # async fn run(client: polarway_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let symbol: ArrayRef = Arc::new(StringArray::from(vec!["BTC"]));
    /// let price: ArrayRef = Arc::new(Float64Array::from(vec![97_000.0]));
    /// let ticks = RecordBatch::try_from_iter([("symbol", symbol), ("price", price)])?;
    /// client.ingest("ticks", None, IngestMode::CreateAppend, ticks).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`], [`ErrorKind::TableNotFound`], [`ErrorKind::SchemaMismatch`] for rows that do not fit; that
    /// of the batches; when no server answers. After an error none of the rows are in the table.
    pub async fn ingest(
        &self,
        table: &str,
        schema: Option<&str>,
        mode: IngestMode,
        rows: impl Into<IngestRows>,
    ) -> Result<u64, Error> {
        let command = CommandStatementIngest {
            table_definition_options: Some(mode.options()),
            table: table.to_owned(),
            schema: schema.map(str::to_owned),
            ..CommandStatementIngest::default()
        };
        self.put_rows(command, rows.into()).await
    }

    /// Puts rows under a leased handle, and makes no table of them: they are gone some time after the handle is.
    ///
    /// # Errors
    /// As [`Client::ingest`].
    pub async fn upload(&self, ttl: Duration, rows: impl Into<IngestRows>) -> Result<Handle, Error> {
        let rows = rows.into();
        let id = format!("h_{}", random_uuid().replace('-', ""));
        let columns = rows.schema.fields().iter();
        let columns = columns.map(|field| (field.name().clone(), field.data_type().to_string())).collect();
        let command = CommandStatementIngest {
            table_definition_options: Some(IngestMode::Create.options()),
            table: id.clone(),
            temporary: true,
            options: HashMap::from([(TTL_OPTION.to_owned(), ttl.as_millis().to_string())]),
            ..CommandStatementIngest::default()
        };
        self.put_rows(command, rows).await?;
        let ttl = self.renew_handle(&id).await?;
        Ok(Handle { id, ttl, columns })
    }

    /// To the first server that can be reached. Rows are sent once, with the token as it is now: if the connection breaks, the
    /// others are asked what became of them.
    async fn put_rows(&self, command: CommandStatementIngest, rows: IngestRows) -> Result<u64, Error> {
        let key = random_uuid();
        let mut failed = Error::internal("the client has no server");
        self.pool().refresh_token().await;
        for server in self.servers().in_turn() {
            match self.pool().client(&server).await {
                Ok(client) => {
                    self.servers().answered(&server);
                    return match put(client, &server, &command, &key, rows).await {
                        Err(Failure::Lost(error)) => self.outcome(command, &key, error).await,
                        put => put.map_err(Failure::into_error),
                    };
                }
                Err(failure) if failure.is_elsewhere_retryable() => failed = failure.into_error(),
                Err(failure) => return Err(failure.into_error()),
            }
        }
        Err(failed)
    }

    /// What became of rows that were sent to a server whose answer was `lost`. If they were not taken, they will not be.
    async fn outcome(
        &self,
        mut command: CommandStatementIngest,
        key: &str,
        lost: Error,
    ) -> Result<u64, Error> {
        command.options.insert(OUTCOME_OPTION.to_owned(), "true".to_owned());
        let schema = SchemaRef::new(arrow::datatypes::Schema::empty());
        for server in self.servers().in_turn() {
            let asked = self.pool().call(&server, |client| {
                let none = IngestRows::new(SchemaRef::clone(&schema), stream::empty());
                put(client, &server, &command, key, none)
            });
            match asked.await {
                Ok(count) => return Ok(count),
                Err(Failure::Answer(error)) if error.kind == ErrorKind::NotFound => return Err(lost),
                // The others know the caller as little.
                Err(failure) if failure.is_unauthenticated() => break,
                Err(_) => {}
            }
        }
        let told = format!("{}; it is not known whether the rows were taken", lost.message);
        Err(Error::internal(told).with_hint("count them before they are sent again"))
    }
}

async fn put(
    mut client: arrow_flight::FlightClient,
    server: &Endpoint,
    command: &CommandStatementIngest,
    key: &str,
    rows: IngestRows,
) -> Result<u64, Failure> {
    let refused = |error: FlightError| Failure::from_flight(error, server);
    client.add_header(IDEMPOTENCY_KEY, key).map_err(refused)?;
    let (broken, failed) = oneshot::channel();
    let mut broken = Some(broken);
    // The end of the stream tells the server that these are all rows. After an error it must not come: the call is dropped.
    let batches = rows.batches.then(move |batch| {
        let error = match batch {
            Ok(batch) => return std::future::ready(Ok(batch)).left_future(),
            Err(error) => error,
        };
        if let Some(broken) = broken.take() {
            let _ = broken.send(error);
        }
        std::future::pending().right_future()
    });
    let messages = FlightDataEncoderBuilder::new()
        .with_schema(rows.schema)
        .with_flight_descriptor(Some(command_of(command)))
        .build(batches);
    let putting = async {
        let answer = client.do_put(messages).await.map_err(refused)?.try_next().await.map_err(refused)?;
        let result = answer.and_then(|answer| DoPutUpdateResult::decode(answer.app_metadata).ok());
        let count = result.map(|result| u64::try_from(result.record_count).unwrap_or_default());
        count.ok_or_else(|| Failure::Answer(Error::internal("a server did not tell what became of rows")))
    };
    tokio::select! {
        biased;
        put = putting => put,
        Ok(error) = failed => Err(Failure::Answer(error)),
    }
}
