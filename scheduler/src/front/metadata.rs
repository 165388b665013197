//! Flight SQL's catalog commands.

use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
    SqlInfo,
};
use chrono::Utc;
use datafusion::catalog::CatalogProvider;
use futures::future::BoxFuture;
use polarway_common::{Caller, Error};
use polarway_engine::errors::classify;
use polarway_engine::output::plain_schema;
use polarway_engine::settings::{CATALOG, of_caller};
use polarway_storage::catalog::Definition;

use crate::plan::Planner;
use crate::service::QueryService;

const TABLE: &str = "BASE TABLE";
const VIEW: &str = "VIEW";

fn flight(error: arrow_flight::error::FlightError) -> Error {
    Error::internal(format!("a catalog answer cannot be built: {error}"))
}

pub fn catalogs(query: CommandGetCatalogs) -> Result<RecordBatch, Error> {
    let mut builder = query.into_builder();
    builder.append(CATALOG);
    builder.build().map_err(flight)
}

pub fn schemas(
    service: &QueryService,
    caller: &Caller,
    query: CommandGetDbSchemas,
) -> Result<RecordBatch, Error> {
    let mut builder = query.into_builder();
    for schema in service.planner.catalog_of(caller.namespace()).snapshot().schemas.keys() {
        builder.append(CATALOG, schema);
    }
    builder.append(CATALOG, "information_schema");
    builder.build().map_err(flight)
}

pub fn tables(
    service: &QueryService,
    caller: Caller,
    query: CommandGetTables,
) -> BoxFuture<'_, Result<RecordBatch, Error>> {
    Box::pin(async move {
        let planner = Arc::clone(&service.planner);
        if !query.include_schema {
            return list_tables(&planner, &caller, query).await;
        }
        // Columns are those of a plan: views are planned, tables may be read.
        service
            .planned("listing the tables", async move { list_tables(&planner, &caller, query).await })
            .await
    })
}

async fn list_tables(
    planner: &Planner,
    caller: &Caller,
    query: CommandGetTables,
) -> Result<RecordBatch, Error> {
    let with_schema = query.include_schema;
    let mut builder = query.into_builder();
    let (_, scope) = planner.state(&of_caller(caller), Utc::now())?;
    let snapshot = planner.catalog_of(caller.namespace()).snapshot();
    for (schema_name, tables) in &snapshot.schemas {
        let provider = scope.schema(schema_name);
        for (name, entry) in tables {
            let kind = match entry.definition {
                Definition::Table(_) | Definition::Managed(_) | Definition::Stream(_) => TABLE,
                Definition::View(_) => VIEW,
            };
            let mut schema: SchemaRef = Arc::new(Schema::empty());
            if with_schema && let Some(provider) = &provider {
                // A table whose files are gone is still listed, without columns.
                match provider.table(name).await {
                    Ok(Some(table)) => schema = plain_schema(&table.schema()),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(table = name, error = %classify(&error), "no schema for a table")
                    }
                }
            }
            builder.append(CATALOG, schema_name, name, kind, &schema).map_err(flight)?;
        }
    }
    builder.build().map_err(flight)
}

pub fn table_types(query: CommandGetTableTypes) -> Result<RecordBatch, Error> {
    let mut builder = query.into_builder();
    builder.append(TABLE);
    builder.append(VIEW);
    builder.build().map_err(flight)
}

static SQL_INFO: LazyLock<Result<SqlInfoData, String>> = LazyLock::new(|| {
    let mut builder = SqlInfoDataBuilder::new();
    builder.append(SqlInfo::FlightSqlServerName, "Polarway");
    builder.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    builder.append(SqlInfo::FlightSqlServerArrowVersion, "59.3");
    builder.append(SqlInfo::FlightSqlServerReadOnly, false);
    builder.append(SqlInfo::FlightSqlServerSql, true);
    builder.append(SqlInfo::FlightSqlServerSubstrait, false);
    builder.append(SqlInfo::FlightSqlServerTransaction, 0i32);
    builder.append(SqlInfo::FlightSqlServerCancel, true);
    builder.append(SqlInfo::FlightSqlServerBulkIngestion, true);
    builder.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, false);
    builder.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    builder.append(SqlInfo::SqlDdlCatalog, false);
    builder.append(SqlInfo::SqlDdlSchema, true);
    builder.append(SqlInfo::SqlDdlTable, true);
    builder.build().map_err(|error| error.to_string())
});

pub fn sql_info(query: CommandGetSqlInfo) -> Result<RecordBatch, Error> {
    let data = SQL_INFO.as_ref().map_err(|error| Error::internal(format!("SqlInfo: {error}")))?;
    query.into_builder(data).build().map_err(flight)
}

fn text(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8, nullable)
}

/// Files have no keys: the answers to the key commands have these columns and no rows.
pub fn primary_keys_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        text("catalog_name", true),
        text("db_schema_name", true),
        text("table_name", false),
        text("column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("key_name", true),
    ]))
}

pub fn foreign_keys_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        text("pk_catalog_name", true),
        text("pk_db_schema_name", true),
        text("pk_table_name", false),
        text("pk_column_name", false),
        text("fk_catalog_name", true),
        text("fk_db_schema_name", true),
        text("fk_table_name", false),
        text("fk_column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("fk_key_name", true),
        text("pk_key_name", true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
}

pub fn no_rows(schema: SchemaRef) -> RecordBatch {
    RecordBatch::new_empty(schema)
}
