//! Rows that a client sends to be a table, or to be added to one: Flight SQL's bulk ingestion.

use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use polarway_common::{Error, ErrorKind, Role};
use polarway_engine::errors::classify;
use polarway_engine::offload;
use polarway_engine::output::plain_schema;
use polarway_engine::settings::SCHEMA;
use polarway_engine::write::write;
use polarway_identity::audit;
use polarway_proto::handle::HANDLE_SCHEMA;
use polarway_proto::ingest::{OUTCOME_OPTION, TTL_OPTION};
use polarway_storage::catalog::{Definition, ManagedDefinition};

use super::Written;
use super::target::{How, NewTable, TableTarget, Target, new_table, nullable};
use crate::catalog::no_tables;
use crate::service::{QueryService, Request};

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct Ingest {
    pub schema: String,
    pub table: String,
    /// Whether the table is made if there is none.
    may_create: bool,
    if_exists: IfExists,
    /// For how long a handle of the rows lasts, which is all there is of them.
    leased: Option<Duration>,
    /// Whether the client only asks what became of rows that it has sent.
    asks: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IfExists {
    Fail,
    Append,
    Replace,
}

impl Ingest {
    /// # Errors
    /// `Unsupported` for another catalog, a transaction, temporary tables.
    pub fn read(command: &CommandStatementIngest) -> Result<Self, Error> {
        let unsupported = |told: &str| Err(Error::new(ErrorKind::Unsupported, told));
        let ttl =
            command.options.get(TTL_OPTION).and_then(|text| text.parse().ok()).map(Duration::from_millis);
        if command.temporary && ttl.is_none() {
            return unsupported("temporary tables are not offered");
        }
        if command.transaction_id.is_some() {
            return unsupported("transactions are not offered");
        }
        if command.catalog.as_ref().is_some_and(|name| name != polarway_engine::settings::CATALOG) {
            return unsupported("there is one catalog");
        }
        if command.table.is_empty() {
            return Err(Error::new(ErrorKind::Plan, "rows come without the name of their table"));
        }
        let options = command.table_definition_options.unwrap_or_default();
        let may_create = options.if_not_exist() == TableNotExistOption::Create;
        let if_exists = match options.if_exists() {
            TableExistsOption::Unspecified | TableExistsOption::Fail => IfExists::Fail,
            TableExistsOption::Append => IfExists::Append,
            TableExistsOption::Replace => IfExists::Replace,
        };
        let schema =
            command.schema.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| SCHEMA.to_owned());
        let asks = command.options.contains_key(OUTCOME_OPTION);
        let leased = ttl.filter(|_| command.temporary);
        Ok(Self { schema, table: command.table.clone(), may_create, if_exists, leased, asks })
    }
}

impl QueryService {
    /// Takes rows for a table; all of them are in it, or none.
    ///
    /// # Errors
    /// `AlreadyExists`, `TableNotFound`, `SchemaMismatch` when they do not fit; those of the stores and of the rows.
    pub fn ingest<'a>(
        &'a self,
        request: &'a Request,
        ingest: &'a Ingest,
        rows: SendableRecordBatchStream,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move {
            let written = self.taken_in(request, ingest, rows).await;
            audit::changed(&request.caller, "sends rows to a table", &request.query_id, &written);
            written
        })
    }

    fn taken_in<'a>(
        &'a self,
        request: &'a Request,
        ingest: &'a Ingest,
        rows: SendableRecordBatchStream,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move {
            self.refuse_while_draining()?;
            request.caller.must_be(Role::Write, "sending rows")?;
            if ingest.asks {
                return self.withdrawn(request).await;
            }
            if let Some(written) = self.written_before(request).await? {
                return Ok(written);
            }
            // Another process may have made the table.
            self.planner.catalog().refresh().await?;
            let (target, rows) = self.ingested(request, ingest, rows)?;
            let begun = self.writing.begin_table(&target).await?;
            let place = self.admission.enter().await?;
            let running = self.queries.begin(&request.caller, &request.query_id, &request.sql, "ingest");
            running.admitted();
            let context = self.context_of(request)?;
            let (spec, access) = (Arc::clone(&begun.spec), Arc::clone(&self.local.runtime.writes));
            let work = async move {
                let files = write(&spec, &access, rows, &context).await;
                files.map_err(|error| classify(&error))
            };
            let written = offload::compute(&self.local.cpu, "writing rows", Box::pin(work));
            let files = crate::limits::or_cancelled(&running.query.cancel, written).await;
            running.finish(&files.as_ref().map(|_| ()).map_err(Clone::clone));
            drop(place);
            self.writing.committed(begun, &target, files, request.once.as_ref()).await
        })
    }

    /// What became of rows that were sent; if they were not taken, they will not be.
    async fn withdrawn(&self, request: &Request) -> Result<Written, Error> {
        let not_taken = || Error::new(ErrorKind::NotFound, "no rows were taken under this idempotency key");
        let once = request.once.as_ref().ok_or_else(not_taken)?;
        match once.withdraw(self.writing.writes.meta().as_ref()).await? {
            Some(told) => self.writing.told(&told).await,
            None => Err(not_taken()),
        }
    }

    fn context_of(&self, request: &Request) -> Result<TaskContext, Error> {
        let (state, _scope) = self.planner.state(&request.settings, request.now)?;
        Ok(TaskContext::from(&state))
    }

    /// The table that rows are for, and the rows in the order of its columns.
    fn ingested(
        &self,
        request: &Request,
        ingest: &Ingest,
        rows: SendableRecordBatchStream,
    ) -> Result<(TableTarget, SendableRecordBatchStream), Error> {
        let Ingest { schema, table, may_create, if_exists, leased, .. } = ingest;
        let (caller, namespace) = (&request.caller, request.caller.namespace());
        if let Some(ttl) = leased {
            self.planner.own_tables().ok_or_else(no_tables)?;
            let columns = nullable(&plain_schema(&rows.schema()));
            let target = TableTarget {
                namespace: namespace.clone(),
                schema: HANDLE_SCHEMA.to_owned(),
                name: table.clone(),
                definition: ManagedDefinition::new(String::new(), &columns),
                how: How::Lease { ttl: *ttl, owner: caller.owner().to_owned() },
                has_rows: true,
            };
            return Ok((target, rows));
        }
        let snapshot = self.planner.catalog_of(namespace).snapshot();
        let found = snapshot.entry(schema, table).map(|entry| entry.definition.clone());
        match (found, if_exists) {
            (Some(Definition::Managed(definition)), IfExists::Append) => {
                let target = TableTarget {
                    namespace: namespace.clone(),
                    schema: schema.clone(),
                    name: table.clone(),
                    definition,
                    how: How::Append,
                    has_rows: true,
                };
                let rows = fitted(table, &target.columns()?, rows)?;
                Ok((target, rows))
            }
            (Some(_), IfExists::Append) => {
                let told =
                    format!("`{table}` is no table of Polarway's own, and takes no rows that are sent");
                Err(Error::new(ErrorKind::Unsupported, told)
                    .with_hint("INSERT INTO adds to tables over files"))
            }
            (None, _) if !may_create => {
                let told = format!("`{schema}.{table}` does not exist");
                let error = Error::new(ErrorKind::TableNotFound, told);
                Err(self.planner.suggest(&request.settings, error))
            }
            (_, how) => {
                let replace = *how == IfExists::Replace;
                let columns = nullable(&plain_schema(&rows.schema()));
                let ddl = create_table(schema, table, &columns);
                let fresh = NewTable { ddl: &ddl, has_rows: true, if_not_exists: false, or_replace: replace };
                let target = new_table(&self.planner, namespace, (schema, table), &columns, &fresh)?;
                match target {
                    Target::Table(target) => Ok((target, rows)),
                    _ => Err(Error::internal("a table that is to be made is none")),
                }
            }
        }
    }
}

/// What SHOW CREATE TABLE tells of a table that was made by sending rows.
fn create_table(schema: &str, table: &str, columns: &arrow::datatypes::Schema) -> String {
    let columns: Vec<String> = columns
        .fields()
        .iter()
        .map(|field| format!("\"{}\" {}", field.name().replace('"', "\"\""), field.data_type()))
        .collect();
    format!("CREATE TABLE \"{schema}\".\"{table}\" ({})", columns.join(", "))
}

/// The rows with the columns of the table, which are found by name; those that the rows do not have are null.
fn fitted(
    table: &str,
    columns: &arrow::datatypes::SchemaRef,
    rows: SendableRecordBatchStream,
) -> Result<SendableRecordBatchStream, Error> {
    use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
    use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::StreamExt;

    let given = rows.schema();
    let mismatch = |told: String| Error::new(ErrorKind::SchemaMismatch, told);
    if let Some(other) = given.fields().iter().find(|field| columns.index_of(field.name()).is_err()) {
        return Err(mismatch(format!("`{table}` has no column `{}`", other.name())));
    }
    let mut places = vec![];
    for column in columns.fields() {
        let place = given.index_of(column.name()).ok();
        let Some(place) = place else {
            if !column.is_nullable() {
                return Err(mismatch(format!("`{table}` wants a value for `{}`", column.name())));
            }
            places.push(None);
            continue;
        };
        let (from, to) = (given.field(place).data_type(), column.data_type());
        if !can_cast_types(from, to) {
            return Err(mismatch(format!(
                "`{}` of `{table}` is {to}, and {from} came for it",
                column.name()
            )));
        }
        places.push(Some(place));
    }
    let target = Arc::clone(columns);
    // A value that does not fit is an error and no null.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let fit = move |batch: RecordBatch| {
        let columns = places
            .iter()
            .zip(target.fields())
            .map(|(place, field)| match place {
                Some(place) => cast_with_options(batch.column(*place), field.data_type(), &options),
                None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&target), columns, &rows)?)
    };
    let rows = rows.map(move |batch| fit(batch?));
    Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(columns), rows)))
}
