//! CREATE and DROP.

use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use polarway_common::{Error, ErrorKind};
use polarway_engine::errors::classify;
use polarway_engine::settings::CATALOG;
use polarway_proto::handle::HANDLE_SCHEMA;
use polarway_storage::catalog::{Definition, OwnCatalog, ViewDefinition};

use crate::catalog::{ColumnTypes, SYSTEM, split_name};
use crate::plan::Planner;
use crate::service::Request;

/// Carries a statement out; false when it had nothing to do (IF EXISTS, IF NOT EXISTS). Reads and decodes files to
/// learn their columns: work for the computing threads.
pub async fn run(
    planner: &Planner,
    request: &Request,
    statement: Statement,
    text: &str,
) -> Result<bool, Error> {
    let (state, _scope) = planner.state(&request.settings, request.now)?;
    let view_query = view_query(&statement);
    let suggest = |error| planner.suggest(&request.settings, error);
    let plan = state.statement_to_plan(statement).await.map_err(|error| suggest(classify(&error)))?;
    let LogicalPlan::Ddl(ddl) = plan else {
        return Err(Error::internal("a statement that changes the catalog was planned as something else"));
    };
    let namespace = request.caller.namespace();
    let (catalog, once) = (planner.catalog_of(namespace), request.once.as_ref());
    match ddl {
        DdlStatement::CreateExternalTable(table) => {
            let (schema, name) = split_name(&table.name)?;
            if table.temporary {
                return Err(Error::new(ErrorKind::Unsupported, "temporary tables are not offered"));
            }
            let exists = catalog.snapshot().entry(&schema, &name).is_some();
            if exists && table.if_not_exists {
                return Ok(false);
            }
            let tables = planner.tables(namespace);
            let definition = tables.define(&state, &table, text.to_owned()).await?;
            // Fails here rather than at the first query.
            let types = ColumnTypes::of_one_process(state.config());
            tables.provider(&state, &definition, types).await?;
            catalog
                .create(
                    &schema,
                    &name,
                    &Definition::Table(definition),
                    table.if_not_exists,
                    table.or_replace,
                    once,
                )
                .await
        }
        DdlStatement::CreateView(view) => {
            let (schema, name) = split_name(&view.name)?;
            if view.temporary {
                return Err(Error::new(ErrorKind::Unsupported, "temporary views are not offered"));
            }
            let query = view_query.ok_or_else(|| Error::internal("a view without a query"))?;
            let definition = Definition::View(ViewDefinition { ddl: text.to_owned(), query });
            catalog.create(&schema, &name, &definition, false, view.or_replace, once).await
        }
        DdlStatement::CreateCatalogSchema(schema) => {
            let name = own_schema(&schema.schema_name)?;
            if [SYSTEM, HANDLE_SCHEMA, "information_schema"].contains(&name) {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("the schema `{name}` is the server's own"),
                )
                .with_hint("choose another name"));
            }
            catalog.create_schema(name, schema.if_not_exists, once).await
        }
        DdlStatement::DropTable(table) => {
            let (schema, name) = split_name(&table.name)?;
            expect_kind(&catalog, &schema, &name, false)?;
            let dropped = catalog.drop(&schema, &name, table.if_exists, once).await;
            dropped.map_err(suggest)
        }
        DdlStatement::DropView(view) => {
            let (schema, name) = split_name(&view.name)?;
            expect_kind(&catalog, &schema, &name, true)?;
            let dropped = catalog.drop(&schema, &name, view.if_exists, once).await;
            dropped.map_err(suggest)
        }
        DdlStatement::DropCatalogSchema(schema) => {
            let name = schema.name.to_string();
            let name = own_schema(&name)?;
            expect_no_streams(&catalog, name)?;
            catalog.drop_schema(name, schema.if_exists, schema.cascade, once).await
        }
        other => Err(Error::new(ErrorKind::Unsupported, format!("{} is not offered", other.name()))),
    }
}

/// A schema's name without the one catalog's.
fn own_schema(name: &str) -> Result<&str, Error> {
    match name.split_once('.') {
        None => Ok(name),
        Some((CATALOG, schema)) => Ok(schema),
        Some((catalog, _)) => {
            Err(Error::new(ErrorKind::NotFound, format!("there is no catalog `{catalog}`")))
        }
    }
}

/// A stream takes its rows with it, which CASCADE alone does not ask for.
fn expect_no_streams(catalog: &OwnCatalog<'_>, schema: &str) -> Result<(), Error> {
    let snapshot = catalog.snapshot();
    let tables = snapshot.schemas.get(schema).into_iter().flatten();
    let mut streams = tables.filter(|(_, entry)| matches!(entry.definition, Definition::Stream(_)));
    match streams.next() {
        None => Ok(()),
        Some((stream, _)) => {
            Err(Error::new(ErrorKind::Plan, format!("schema `{schema}` holds the stream `{stream}`"))
                .with_hint(format!("DROP STREAM {schema}.{stream} drops it and its rows")))
        }
    }
}

/// DROP TABLE drops no view, and DROP VIEW no table.
fn expect_kind(catalog: &OwnCatalog<'_>, schema: &str, name: &str, view: bool) -> Result<(), Error> {
    let snapshot = catalog.snapshot();
    let Some(entry) = snapshot.entry(schema, name) else { return Ok(()) };
    match (&entry.definition, view) {
        (Definition::View(_), false) => {
            Err(Error::new(ErrorKind::Plan, format!("`{name}` is a view"))
                .with_hint(format!("DROP VIEW {name}")))
        }
        (Definition::Stream(_), _) => Err(Error::new(ErrorKind::Plan, format!("`{name}` is a stream"))
            .with_hint(format!("DROP STREAM {name}"))),
        (Definition::Table(_) | Definition::Managed(_), true) => {
            Err(Error::new(ErrorKind::Plan, format!("`{name}` is a table"))
                .with_hint(format!("DROP TABLE {name}")))
        }
        _ => Ok(()),
    }
}

fn view_query(statement: &Statement) -> Option<String> {
    let Statement::Statement(inner) = statement else { return None };
    match inner.as_ref() {
        SqlStatement::CreateView(view) => {
            if view.columns.is_empty() {
                Some(view.query.to_string())
            } else {
                let columns: Vec<String> =
                    view.columns.iter().map(|column| column.name.to_string()).collect();
                Some(format!("SELECT * FROM ({}) AS view_rows ({})", view.query, columns.join(", ")))
            }
        }
        _ => None,
    }
}
