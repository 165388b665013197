//! Tables over files: from a statement to a definition, and from a definition to what DataFusion scans.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::TableReference;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{CreateExternalTable, DdlStatement, LogicalPlan};
use datafusion::prelude::SessionConfig;
use futures::TryStreamExt;
use object_store::path::Path;
use polarway_common::{Error, ErrorKind, Namespace};
use polarway_engine::errors::classify;
use polarway_engine::settings::{CATALOG, SCHEMA};
use polarway_storage::catalog::TableDefinition;
use polarway_storage::policy::Location;

use super::arrow_files;
use super::formats::{self, Format};
use super::paths::Paths;

/// Files looked at to learn what a directory holds.
const PROBED_FILES: usize = 1000;

/// Builds definitions and providers of one namespace over what its paths may lead to.
#[derive(Debug, Clone)]
pub struct TableBuilder {
    pub paths: Arc<Paths>,
    pub namespace: Namespace,
}

impl TableBuilder {
    fn resolve(&self, location: &str) -> Result<Location, Error> {
        self.paths.to_read(&self.namespace, location)
    }

    /// Whether a table's locations may still be reached, where that can change while the server runs.
    ///
    /// # Errors
    /// `PathNotAllowed`.
    pub fn recheck(&self, definition: &TableDefinition) -> Result<(), Error> {
        if self.paths.is_apart(&self.namespace) {
            for location in &definition.locations {
                self.resolve(location)?;
            }
        }
        Ok(())
    }

    /// What `CREATE EXTERNAL TABLE` asked for, with locations checked and what it left open inferred.
    pub async fn define(
        &self,
        state: &SessionState,
        statement: &CreateExternalTable,
        ddl: String,
    ) -> Result<TableDefinition, Error> {
        if statement.unbounded {
            return Err(Error::new(ErrorKind::Unsupported, "UNBOUNDED tables are not offered"));
        }
        let format = formats::by_name(&statement.file_type)?;
        let mut options = BTreeMap::new();
        for (name, value) in &statement.options {
            if ["aws.", "gcp.", "azure.", "google."]
                .iter()
                .any(|prefix| name.to_lowercase().starts_with(prefix))
            {
                return Err(Error::new(
                    ErrorKind::InvalidSetting,
                    format!("`{name}`: credentials and endpoints belong to the server's configuration"),
                )
                .with_hint("an operator sets [storage.s3] in polarway.toml"));
            }
            options.insert(name.clone(), value.clone());
        }
        let declared = statement.schema.inner().as_ref().clone();
        let request = Request {
            format,
            locations: &statement.locations,
            declared: (!declared.fields().is_empty()).then_some(declared),
            partition_columns: &statement.table_partition_cols,
            options,
            ddl,
        };
        self.complete(state, request).await
    }

    /// What a path or URL that stands in place of a table's name holds.
    pub async fn define_path(&self, state: &SessionState, path: &str) -> Result<TableDefinition, Error> {
        let location = self.resolve(path)?;
        let text = location.to_listing_text();
        let by_name = if text.ends_with('/') { None } else { formats::by_file_name(&text) };
        let (format, compression) = match by_name {
            Some((format, _, compression)) => (format, compression),
            None => {
                let url = listing_url(&location)?;
                let name = first_file(state, &url, |_| true).await?.ok_or_else(|| nothing_at(path))?;
                let (format, _, compression) = formats::by_file_name(&name).ok_or_else(|| {
                    Error::new(ErrorKind::Plan, format!("cannot tell the format of `{path}` from `{name}`"))
                        .with_hint("CREATE EXTERNAL TABLE … STORED AS … LOCATION … names the format")
                })?;
                (format, compression)
            }
        };
        let mut options = BTreeMap::new();
        if let Some(compression) = compression {
            options.insert("format.compression".to_owned(), compression.to_owned());
        }
        let locations = [path.to_owned()];
        let request = Request {
            format,
            locations: &locations,
            declared: None,
            partition_columns: &[],
            options,
            ddl: String::new(),
        };
        self.complete(state, request).await
    }

    async fn complete(&self, state: &SessionState, request: Request<'_>) -> Result<TableDefinition, Error> {
        let mut locations = vec![];
        let mut extension = String::new();
        let file_format = make_format(state, request.format, &request.options)?;
        let mut file_schema: Option<Schema> = None;
        let mut partition_names: Vec<String> = request.partition_columns.to_vec();
        for text in request.locations {
            let location = self.resolve(text)?;
            let url = listing_url(&location)?;
            if matches!(&location, Location::Remote(url) if url.path().ends_with('/')) || url.is_folder() {
                if partition_names.is_empty() {
                    partition_names = ListingOptions::new(Arc::clone(&file_format))
                        .infer_partitions(state, &url)
                        .await
                        .map_err(|error| classify(&error))?;
                }
                if url.get_glob().is_none() {
                    let matches = |name: &str| {
                        formats::by_file_name(name).is_some_and(|(format, _, _)| format == request.format)
                    };
                    let name = first_file(state, &url, matches).await?;
                    let suffix = name
                        .and_then(|name| formats::by_file_name(&name))
                        .map_or_else(|| request.format.extensions[0].to_owned(), |(_, suffix, _)| suffix);
                    extension = format!(".{suffix}");
                }
            }
            if request.declared.is_none() {
                let schema = infer_schema(state, &file_format, request.format, &url, &extension)
                    .await
                    .map_err(|error| located(error, text))?;
                if schema.fields().is_empty() {
                    return Err(nothing_at(text));
                }
                match &file_schema {
                    None => file_schema = Some(schema.as_ref().clone()),
                    Some(first) if first.fields() != schema.fields() => {
                        return Err(Error::new(
                            ErrorKind::SchemaMismatch,
                            format!(
                                "the columns at `{text}` differ from those at `{}`",
                                request.locations[0]
                            ),
                        ));
                    }
                    Some(_) => {}
                }
            }
            locations.push(match &location {
                // A pattern of names is not one of a URL.
                Location::Remote(remote) => remote.to_string(),
                Location::Local(_) => listing_text(&url),
            });
        }
        let (file_schema, partition_schema) = split_schema(request.declared, file_schema, &partition_names)?;
        let file_schema = plain_columns(&file_schema);
        let definition = TableDefinition {
            ddl: request.ddl,
            format: request.format.name.to_owned(),
            locations,
            extension,
            file_schema: String::new(),
            partition_schema: String::new(),
            options: request.options,
        };
        Ok(definition.with_schemas(&file_schema, &partition_schema))
    }

    /// What DataFusion scans for `definition`. Locations are checked again: policy may have changed.
    pub async fn provider(
        &self,
        state: &SessionState,
        definition: &TableDefinition,
        types: ColumnTypes,
    ) -> Result<Arc<ListingTable>, Error> {
        let format = formats::by_name(&definition.format)?;
        let mut urls = vec![];
        for text in &definition.locations {
            urls.push(listing_url(&self.resolve(text)?)?);
        }
        let partition_schema = definition.partition_schema()?;
        let partitions = partition_schema
            .fields()
            .iter()
            .map(|field| {
                let held = if types.dictionaries { dictionary(field) } else { field.data_type().clone() };
                (field.name().clone(), held)
            })
            .collect();
        let file_schema = definition.file_schema()?;
        let file_schema =
            if types.views && format.name == "parquet" { with_views(&file_schema) } else { file_schema };
        let options = ListingOptions::new(make_format(state, format, &definition.options)?)
            .with_file_extension(definition.extension.clone())
            .with_table_partition_cols(partitions)
            .with_file_sort_order(sort_order(state, &definition.ddl).await?);
        let config = ListingTableConfig::new_with_multi_paths(urls)
            .with_listing_options(options)
            .with_schema(file_schema);
        let table = ListingTable::try_new(config)
            .map_err(|error| classify(&error))?
            .with_cache(state.runtime_env().cache_manager.get_file_statistic_cache())
            .with_definition(Some(definition.ddl.clone()));
        Ok(Arc::new(table))
    }
}

struct Request<'a> {
    format: Format,
    locations: &'a [String],
    declared: Option<Schema>,
    partition_columns: &'a [String],
    options: BTreeMap<String, String>,
    ddl: String,
}

/// Schema and name of a table reference; anything outside the one catalog is an error.
pub fn split_name(name: &TableReference) -> Result<(String, String), Error> {
    let resolved = name.clone().resolve(CATALOG, SCHEMA);
    if resolved.catalog.as_ref() != CATALOG {
        return Err(Error::new(ErrorKind::NotFound, format!("there is no catalog `{}`", resolved.catalog))
            .with_hint(format!("the one catalog is `{CATALOG}`")));
    }
    Ok((resolved.schema.to_string(), resolved.table.to_string()))
}

fn make_format(
    state: &SessionState,
    format: Format,
    options: &BTreeMap<String, String>,
) -> Result<Arc<dyn FileFormat>, Error> {
    let factory = state
        .get_file_format_factory(format.name)
        .ok_or_else(|| Error::internal(format!("the engine has no format `{}`", format.name)))?;
    let options: HashMap<String, String> = options.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    factory.create(state, &options).map_err(|error| {
        let mut error = classify(&error);
        error.kind = ErrorKind::InvalidSetting;
        error
    })
}

/// DataFusion splits the glob off a path but not off a URL.
fn listing_url(location: &Location) -> Result<ListingTableUrl, Error> {
    let fault = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Plan, format!("the location is not valid: {error}"))
    };
    if let Location::Remote(url) = location
        && let Some(at) = url.path().find(['*', '['])
    {
        let path = url.path().to_owned();
        let start = path[..at].rfind('/').map_or(0, |slash| slash + 1);
        let glob = names_of(&path[start..]).map_err(|error| fault(&error))?;
        let glob = glob::Pattern::new(&glob).map_err(|error| fault(&error))?;
        let mut base = url.clone();
        base.set_path(&path[..start]);
        return ListingTableUrl::try_new(base, Some(glob)).map_err(|error| fault(&error));
    }
    ListingTableUrl::parse(location.to_listing_text()).map_err(|error| classify(&error))
}

/// The pattern in a URL as one of the names that stores know. What is encoded there means itself.
fn names_of(pattern: &str) -> Result<String, object_store::path::Error> {
    let mut pattern = pattern.to_owned();
    for (encoded, itself) in [
        ("%2A", "[*]"),
        ("%2a", "[*]"),
        ("%3F", "[?]"),
        ("%3f", "[?]"),
        ("%5B", "[[]"),
        ("%5b", "[[]"),
        ("%5D", "[]]"),
        ("%5d", "[]]"),
    ] {
        pattern = pattern.replace(encoded, itself);
    }
    let names = Path::from_url_path(&pattern)?.to_string();
    Ok(if pattern.ends_with('/') { names + "/" } else { names })
}

/// # Errors
/// `FileNotFound` when what a table stands on is gone. A listing would only come out empty.
pub async fn expect_present(state: &SessionState, url: &ListingTableUrl) -> Result<(), Error> {
    let gone = || {
        Error::new(ErrorKind::FileNotFound, format!("`{}` does not exist any more", listing_text(url)))
            .with_hint("DROP TABLE removes the table; putting the files back mends it")
    };
    if url.scheme() == "file" {
        let base = url.get_url().to_file_path().map_err(|()| gone())?;
        return if base.exists() { Ok(()) } else { Err(gone()) };
    }
    if url.is_collection() {
        return Ok(());
    }
    let store = state.runtime_env().object_store(url).map_err(|error| classify(&error))?;
    match object_store::ObjectStoreExt::head(store.as_ref(), url.prefix()).await {
        Ok(_) => Ok(()),
        Err(object_store::Error::NotFound { .. }) => Err(gone()),
        Err(error) => Err(classify(&error.into())),
    }
}

/// The columns of the files at `url`, put together.
async fn infer_schema(
    state: &SessionState,
    format: &Arc<dyn FileFormat>,
    named: Format,
    url: &ListingTableUrl,
    extension: &str,
) -> Result<SchemaRef, Error> {
    if named.name == "arrow" && url.scheme() != "file" {
        return arrow_files::infer_schema(state, format, url, extension).await;
    }
    ListingOptions::new(Arc::clone(format))
        .with_file_extension(extension)
        .infer_schema(state, url)
        .await
        .map_err(|error| classify(&error))
}

async fn first_file(
    state: &SessionState,
    url: &ListingTableUrl,
    matches: impl Fn(&str) -> bool,
) -> Result<Option<String>, Error> {
    let store = state.runtime_env().object_store(url).map_err(|error| classify(&error))?;
    let mut files = url.list_all_files(state, store.as_ref(), "").await.map_err(|error| classify(&error))?;
    for _ in 0..PROBED_FILES {
        match files.try_next().await.map_err(|error| classify(&error))? {
            Some(meta) => {
                let name = meta.location.filename().unwrap_or_default();
                if matches(name) && !name.starts_with(['.', '_']) {
                    return Ok(Some(name.to_owned()));
                }
            }
            None => return Ok(None),
        }
    }
    Ok(None)
}

fn nothing_at(location: &str) -> Error {
    Error::new(ErrorKind::FileNotFound, format!("there are no files at `{location}`"))
        .with_hint("check the path; relative paths count from the server's working directory")
}

fn located(mut error: Error, location: &str) -> Error {
    if error.message.contains("No files found at") {
        return nothing_at(location);
    }
    if !error.message.contains(location) {
        error.message = format!("`{location}`: {}", error.message);
    }
    error
}

/// A URL's own text with its glob put back.
fn listing_text(url: &ListingTableUrl) -> String {
    let base = if url.scheme() == "file" {
        url.get_url()
            .to_file_path()
            .map_or_else(|()| url.get_url().path().to_owned(), |path| path.to_string_lossy().into_owned())
    } else {
        url.get_url().to_string()
    };
    match url.get_glob() {
        None => base,
        Some(glob) => format!("{}/{}", base.trim_end_matches('/'), glob.as_str()),
    }
}

fn split_schema(
    declared: Option<Schema>,
    inferred: Option<Schema>,
    partition_names: &[String],
) -> Result<(Schema, Schema), Error> {
    let is_partition = |field: &Arc<Field>| partition_names.contains(field.name());
    let Some(declared) = declared else {
        let partitions: Vec<Field> =
            partition_names.iter().map(|name| Field::new(name, DataType::Utf8, false)).collect();
        let file = inferred.unwrap_or_else(Schema::empty);
        let fields: Vec<Arc<Field>> =
            file.fields().iter().filter(|field| !is_partition(field)).cloned().collect();
        return Ok((Schema::new_with_metadata(fields, file.metadata().clone()), Schema::new(partitions)));
    };
    let mut partitions = vec![];
    for name in partition_names {
        let field = declared.fields().iter().find(|field| field.name() == name).ok_or_else(|| {
            Error::new(
                ErrorKind::ColumnNotFound,
                format!("PARTITIONED BY names `{name}`, which is not declared"),
            )
            .with_hint("declare it with its type among the columns")
        })?;
        partitions.push(Arc::clone(field));
    }
    let fields: Vec<Arc<Field>> =
        declared.fields().iter().filter(|field| !is_partition(field)).cloned().collect();
    Ok((Schema::new(fields), Schema::new(partitions)))
}

/// How columns of files are held while a plan runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ColumnTypes {
    /// Text of Parquet files as views, which are not copied out of their pages.
    views: bool,
    /// Partition columns as dictionaries. Between stages each batch would carry its own.
    dictionaries: bool,
}

impl ColumnTypes {
    pub fn of_one_process(config: &SessionConfig) -> Self {
        let views = config.options().execution.parquet.schema_force_view_types;
        Self { views, dictionaries: views }
    }

    /// Whether text of Parquet files is read as views.
    pub fn views(self) -> bool {
        self.views
    }

    pub fn of_stages(config: &SessionConfig) -> Self {
        Self { dictionaries: false, ..Self::of_one_process(config) }
    }
}

fn dictionary(field: &Field) -> DataType {
    match field.data_type() {
        DataType::Utf8 => DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8)),
        other => other.clone(),
    }
}

pub fn with_views(schema: &Schema) -> SchemaRef {
    map_types(schema, |data_type| match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        other => other.clone(),
    })
}

/// The columns as clients know them.
pub fn plain_columns(schema: &Schema) -> SchemaRef {
    map_types(schema, |data_type| match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        other => other.clone(),
    })
}

fn map_types(schema: &Schema, map: impl Fn(&DataType) -> DataType) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_data_type(map(field.data_type())))
        .collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The sort order that `WITH ORDER` in the defining statement declares.
async fn sort_order(
    state: &SessionState,
    ddl: &str,
) -> Result<Vec<Vec<datafusion::logical_expr::SortExpr>>, Error> {
    if !ddl.to_uppercase().contains("WITH ORDER") {
        return Ok(vec![]);
    }
    let plan = Box::pin(state.create_logical_plan(ddl)).await.map_err(|error| classify(&error))?;
    match plan {
        LogicalPlan::Ddl(DdlStatement::CreateExternalTable(table)) => Ok(table.order_exprs),
        _ => Ok(vec![]),
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    #[test]
    fn patterns_in_urls_are_those_of_names() {
        let url = |text: &str| listing_url(&Location::Remote(Url::parse(text).unwrap())).unwrap();
        let matches = |pattern: &str, path: &str| url(pattern).contains(&Path::parse(path).unwrap(), false);
        let pattern = "s3://lake/a b/*/50%2520off %2A.csv";
        assert_eq!(url(pattern).prefix().as_ref(), "a b");
        assert!(matches(pattern, "a b/x/50%20off *.csv"));
        assert!(!matches(pattern, "a b/x/50%20off y.csv"));
        assert!(!matches(pattern, "a b/x/50 off *.csv"));
        assert!(!matches(pattern, "a%20b/x/50%20off *.csv"));
        assert!(matches("s3://lake/%252E%252E/[ab].csv", "%2E%2E/a.csv"));
    }
}
