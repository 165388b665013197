//! Where a statement writes, and what it may not do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{CreateMemoryTable, DdlStatement, LogicalPlan, WriteOp};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use polarway_common::{Error, ErrorKind, Namespace};
use polarway_engine::errors::classify;
use polarway_engine::output::plain_schema;
use polarway_engine::write::FileFormat;
use polarway_proto::handle::HANDLE_SCHEMA;
use polarway_storage::catalog::{Definition, Entry, ManagedDefinition, TableDefinition};
use polarway_storage::writes::Place;

use crate::catalog::{SYSTEM, no_tables, split_name};
use crate::plan::Planner;
use crate::service::Request;

/// What a statement writes to.
#[derive(Debug, Clone)]
pub enum Target {
    /// It has nothing to do: IF NOT EXISTS.
    Nothing,
    Files(FilesTarget),
    Table(TableTarget),
}

/// Files of a place that others list.
#[derive(Debug, Clone)]
pub struct FilesTarget {
    pub place: Place,
    pub single_file: bool,
    pub format: FileFormat,
    pub options: BTreeMap<String, String>,
    pub extension: String,
    pub partition_by: Vec<String>,
    pub schema: SchemaRef,
}

/// A table of our own.
#[derive(Debug, Clone)]
pub struct TableTarget {
    /// In whose catalog it is.
    pub namespace: Namespace,
    /// As its users call it.
    pub schema: String,
    pub name: String,
    pub definition: ManagedDefinition,
    pub how: How,
    /// Whether a query gives rows for it.
    pub has_rows: bool,
}

/// How a table changes.
#[derive(Debug, Clone)]
pub enum How {
    /// It is made, in place of another if there is one.
    Create {
        replaces: Option<Arc<Entry>>,
    },
    /// It is made for as long as the handle of its name lasts.
    Lease {
        ttl: Duration,
        /// Whose handle it is, as it is noted.
        owner: String,
    },
    Append,
    /// Its rows are replaced.
    Overwrite,
}

impl TableTarget {
    pub fn columns(&self) -> Result<SchemaRef, Error> {
        self.definition.schema()
    }
}

/// DataFusion calls the columns of VALUES by their number; where one takes no NULL this tells its name in the table.
pub fn with_column(error: Error, statement: &Statement) -> Error {
    let number = error
        .message
        .strip_prefix("Column 'column")
        .and_then(|rest| rest.split('\'').next()?.parse::<usize>().ok());
    let (Some(number), true) = (number, error.message.contains("non-nullable")) else { return error };
    let Statement::Statement(statement) = statement else { return error };
    let SqlStatement::Insert(insert) = statement.as_ref() else { return error };
    let told = match number.checked_sub(1).and_then(|index| insert.columns.get(index)) {
        Some(column) => format!("`{column}` takes no NULL, and a row has one"),
        None => format!("column {number} takes no NULL, and a row has one"),
    };
    Error::new(ErrorKind::Plan, told)
}

/// Reads what a statement asks for. It plans its query: work for the computing threads.
///
/// # Errors
/// Those of planning it; `Unsupported`, `AlreadyExists`, `PathNotAllowed`, `InvalidSetting`.
pub async fn target_of(
    planner: &Planner,
    request: &Request,
    statement: Statement,
    text: &str,
) -> Result<Target, Error> {
    let copied = match &statement {
        Statement::CopyTo(copy) => Some((copy.target.clone(), copy.stored_as.is_some())),
        _ => None,
    };
    let (state, _scope) = planner.state(&request.settings, request.now)?;
    let fault = |error| planner.suggest(&request.settings, classify(&error));
    let plan = state.statement_to_plan(statement).await.map_err(fault)?;
    let namespace = request.caller.namespace();
    match plan {
        LogicalPlan::Copy(copy) => {
            let (place, _) = copied.ok_or_else(|| Error::internal("a COPY without a target"))?;
            let columns = plain_schema(copy.input.schema().as_arrow());
            let format = copy.file_type.get_ext();
            let options = copy.options.into_iter().collect();
            copy_target(planner, namespace, &place, &format, options, copy.partition_by, columns)
        }
        LogicalPlan::Dml(insert) => {
            let (schema, name) = split_name(&insert.table_name)?;
            let overwrite = match insert.op {
                WriteOp::Insert(InsertOp::Append) => false,
                WriteOp::Insert(InsertOp::Overwrite) => true,
                other => return Err(unsupported(format!("{} is not offered", other.name()))),
            };
            insert_target(planner, namespace, (&schema, &name), overwrite)
        }
        LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(table)) => {
            create_target(planner, namespace, &table, text)
        }
        _ => Err(Error::internal("a statement that writes was planned as something else")),
    }
}

fn unsupported(told: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, told)
}

fn format_named(name: &str) -> Result<FileFormat, Error> {
    let name = crate::catalog::format_named(name)?.name;
    FileFormat::by_name(name).ok_or_else(|| {
        unsupported(format!("files of the format `{name}` are not written"))
            .with_hint("use PARQUET, CSV or JSON")
    })
}

/// The extension of files of a format: compressed text says so.
fn extension_of(format: FileFormat, options: &BTreeMap<String, String>) -> String {
    let compression = options.get("format.compression").map(|value| value.to_lowercase());
    let suffix = match (format, compression.as_deref()) {
        (FileFormat::Parquet, _) => "",
        (_, Some("gzip")) => ".gz",
        (_, Some("bzip2")) => ".bz2",
        (_, Some("xz")) => ".xz",
        (_, Some("zstd")) => ".zst",
        _ => "",
    };
    format!("{}{suffix}", format.name())
}

fn copy_target(
    planner: &Planner,
    namespace: &Namespace,
    location: &str,
    format: &str,
    options: BTreeMap<String, String>,
    partition_by: Vec<String>,
    columns: SchemaRef,
) -> Result<Target, Error> {
    let format = format_named(format)?;
    if let Some(other) = options.keys().find(|name| !name.starts_with("format.")) {
        return Err(Error::new(ErrorKind::InvalidSetting, format!("COPY has no option `{other}`")));
    }
    let place = planner.place(namespace, location)?;
    let is_directory = location.ends_with('/') || place.local().is_some_and(|path| path.is_dir());
    let last = location.rsplit('/').next().unwrap_or_default();
    let single_file = partition_by.is_empty() && !is_directory && last.contains('.');
    for column in &partition_by {
        columns.index_of(column).map_err(|_| {
            Error::new(
                ErrorKind::ColumnNotFound,
                format!("PARTITIONED BY names `{column}`, which is no column"),
            )
        })?;
    }
    if partition_by.len() == columns.fields().len() {
        return Err(Error::new(
            ErrorKind::Plan,
            "PARTITIONED BY names all columns, and leaves none for the files",
        ));
    }
    expect_distinct(&columns)?;
    let extension = extension_of(format, &options);
    let schema = nullable(&columns);
    Ok(Target::Files(FilesTarget { place, single_file, format, options, extension, partition_by, schema }))
}

fn insert_target(
    planner: &Planner,
    namespace: &Namespace,
    (schema, name): (&str, &str),
    overwrite: bool,
) -> Result<Target, Error> {
    let snapshot = planner.catalog_of(namespace).snapshot();
    snapshot.expect_readable(schema, name)?;
    let Some(entry) = snapshot.entry(schema, name) else {
        return Err(unsupported(format!("rows cannot be inserted into `{schema}.{name}`"))
            .with_hint("INSERT INTO takes a table of the catalog; COPY … TO writes files"));
    };
    match &entry.definition {
        Definition::Managed(definition) => Ok(Target::Table(TableTarget {
            namespace: namespace.clone(),
            schema: schema.to_owned(),
            name: name.to_owned(),
            definition: definition.clone(),
            how: if overwrite { How::Overwrite } else { How::Append },
            has_rows: true,
        })),
        Definition::Table(_) if overwrite => Err(unsupported(format!(
            "INSERT OVERWRITE is not offered for `{name}`, a table over files of others"
        ))),
        Definition::Table(table) => external_target(planner, namespace, name, table),
        Definition::View(_) => {
            Err(Error::new(ErrorKind::Plan, format!("`{name}` is a view, and takes no rows")))
        }
        Definition::Stream(_) => Err(unsupported(format!("`{name}` is a stream, and takes no INSERT"))
            .with_hint("send it rows over WebSocket or gRPC")),
    }
}

fn external_target(
    planner: &Planner,
    namespace: &Namespace,
    name: &str,
    table: &TableDefinition,
) -> Result<Target, Error> {
    let [location] = table.locations.as_slice() else {
        return Err(unsupported(format!(
            "`{name}` has several locations, so that new files belong to none of them"
        )));
    };
    if !location.ends_with('/') {
        return Err(unsupported(format!("`{name}` is one file or a pattern, to which no rows are added"))
            .with_hint("INSERT INTO takes tables over a directory"));
    }
    if table.ddl.to_uppercase().contains("WITH ORDER") {
        return Err(unsupported(format!(
            "`{name}` declares the order of its files, which new rows would break"
        )));
    }
    let format = format_named(&table.format)?;
    let (files, partitions) = (table.file_schema()?, table.partition_schema()?);
    let fields = files.fields().iter().chain(partitions.fields()).cloned().collect::<Vec<_>>();
    let options: BTreeMap<String, String> = table
        .options
        .iter()
        .map(|(key, value)| match key.contains('.') {
            true => (key.clone(), value.clone()),
            false => (format!("format.{key}"), value.clone()),
        })
        .collect();
    let extension = match table.extension.trim_start_matches('.') {
        "" => extension_of(format, &options),
        extension => extension.to_owned(),
    };
    Ok(Target::Files(FilesTarget {
        place: planner.place(namespace, location)?,
        single_file: false,
        format,
        options,
        extension,
        partition_by: partitions.fields().iter().map(|field| field.name().clone()).collect(),
        schema: plain_schema(&Schema::new(fields)),
    }))
}

fn create_target(
    planner: &Planner,
    namespace: &Namespace,
    table: &CreateMemoryTable,
    text: &str,
) -> Result<Target, Error> {
    let (schema, name) = split_name(&table.name)?;
    if table.temporary {
        return Err(
            unsupported("temporary tables are not offered").with_hint("a handle is gone with its client")
        );
    }
    if table.constraints.iter().next().is_some() {
        return Err(unsupported("keys and other constraints are not offered"));
    }
    if let Some((column, _)) = table.column_defaults.first() {
        return Err(unsupported(format!("`{column}` has a default, which is not offered")));
    }
    expect_own_schema(&schema)?;
    let has_rows = !matches!(table.input.as_ref(), LogicalPlan::EmptyRelation(_));
    let columns = table.input.schema().as_arrow();
    // What a query happens not to give nulls for may hold some later; what is declared is meant.
    let columns = if has_rows { nullable(&plain_schema(columns)) } else { plain_schema(columns) };
    let fresh =
        NewTable { ddl: text, has_rows, if_not_exists: table.if_not_exists, or_replace: table.or_replace };
    new_table(planner, namespace, (&schema, &name), &columns, &fresh)
}

/// How a table is to be made.
pub struct NewTable<'a> {
    pub ddl: &'a str,
    pub has_rows: bool,
    pub if_not_exists: bool,
    pub or_replace: bool,
}

/// A table that is to be made, if there is none of its name or it takes that one's place.
pub fn new_table(
    planner: &Planner,
    namespace: &Namespace,
    (schema, name): (&str, &str),
    columns: &SchemaRef,
    &NewTable { ddl, has_rows, if_not_exists, or_replace }: &NewTable<'_>,
) -> Result<Target, Error> {
    planner.own_tables().ok_or_else(no_tables)?;
    let snapshot = planner.catalog_of(namespace).snapshot();
    if !snapshot.schemas.contains_key(schema) {
        return Err(Error::new(ErrorKind::NotFound, format!("schema `{schema}` does not exist"))
            .with_hint(format!("CREATE SCHEMA {schema}")));
    }
    snapshot.expect_readable(schema, name)?;
    let exists = snapshot.entry(schema, name);
    let replaces = match exists {
        Some(_) if if_not_exists => return Ok(Target::Nothing),
        Some(entry) if or_replace => match &entry.definition {
            Definition::Managed(_) | Definition::Table(_) => Some(Arc::clone(entry)),
            Definition::View(_) | Definition::Stream(_) => {
                return Err(Error::new(
                    ErrorKind::Plan,
                    format!("`{name}` is a view or a stream, and no table"),
                ));
            }
        },
        Some(_) => return Err(exists_already(schema, name)),
        None => None,
    };
    expect_distinct(columns)?;
    if columns.fields().is_empty() {
        return Err(Error::new(ErrorKind::Plan, "a table has at least one column"));
    }
    Ok(Target::Table(TableTarget {
        namespace: namespace.clone(),
        schema: schema.to_owned(),
        name: name.to_owned(),
        definition: ManagedDefinition::new(ddl.to_owned(), columns),
        how: How::Create { replaces },
        has_rows,
    }))
}

pub fn exists_already(schema: &str, name: &str) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("`{schema}.{name}` exists already"))
        .with_hint("CREATE OR REPLACE replaces it, IF NOT EXISTS keeps it, INSERT INTO adds to it")
}

fn expect_own_schema(schema: &str) -> Result<(), Error> {
    if [SYSTEM, HANDLE_SCHEMA, "information_schema"].contains(&schema) {
        return Err(unsupported(format!("the schema `{schema}` is the server's own")));
    }
    Ok(())
}

fn expect_distinct(columns: &Schema) -> Result<(), Error> {
    let mut seen = std::collections::HashSet::new();
    match columns.fields().iter().find(|field| !seen.insert(field.name().to_lowercase())) {
        None => Ok(()),
        Some(twice) => Err(Error::new(ErrorKind::Plan, format!("two columns are called `{}`", twice.name()))
            .with_hint("give one of them another name with AS")),
    }
}

/// The columns without what a query says of them beside their types.
pub fn nullable(columns: &Schema) -> SchemaRef {
    let fields: Vec<Field> = columns
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), field.data_type().clone(), true))
        .collect();
    Arc::new(Schema::new(fields))
}
