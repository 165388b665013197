//! What an engine error means for a user. DataFusion, Arrow, Parquet and object-store errors are classified here and
//! nowhere else, and travel inside Ballista's task failures without loss.

use arrow::error::ArrowError;
use ballista_core::error::BallistaError;
use datafusion::common::DataFusionError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError as DfError;
use datafusion::parquet::errors::ParquetError;
use polarway_common::{Error, ErrorKind, Place};

/// Columns that a hint lists at most.
const SHOWN_COLUMNS: usize = 20;

const CREDENTIALS_HINT: &str = "check the credentials the server runs with";
const DISK_HINT: &str =
    "the disk is full; free some of it, or put `query.spill_dir` and `executor.work_dir` on a larger one";

/// Marks an encoded [`Error`] inside a text that Ballista carries.
const MARKER: &str = "polarway-error:";

/// `error` as text that [`find_in_text`] recognises anywhere inside a longer text.
pub fn to_text(error: &Error) -> String {
    match serde_json::to_string(error) {
        Ok(json) => format!("{MARKER}{json}"),
        Err(_) => error.message.clone(),
    }
}

/// The error that [`to_text`] wrote, wherever it stands in `text`.
pub fn find_in_text(text: &str) -> Option<Error> {
    let start = text.find(MARKER)? + MARKER.len();
    let tail = &text[start..];
    let parse = |json: &str| serde_json::Deserializer::from_str(json).into_iter::<Error>().next()?.ok();
    // Ballista formats some failures with `{:?}`, which escapes the quotes.
    parse(tail).or_else(|| parse(&tail.replace("\\\"", "\"").replace("\\\\", "\\")))
}

/// What a text means that an engine error was flattened to somewhere below us. Some of Ballista's writers keep no
/// more than the text; its prefixes are those that DataFusion's errors display.
pub fn from_text(text: &str) -> Option<Error> {
    if let Some(ours) = find_in_text(text) {
        return Some(ours);
    }
    if text.contains("Divide by zero error") {
        return Some(arrow_error(&ArrowError::DivideByZero));
    }
    const REFUSED: &str = "is outside the locations this server may read";
    if let Some((before, _)) = text.split_once(REFUSED) {
        let path = before
            .trim_end()
            .rsplit_once('`')
            .and_then(|(rest, _)| rest.rsplit_once('`'))
            .map(|(_, path)| path);
        let shown = path.unwrap_or("a location");
        return Some(
            Error::new(ErrorKind::PathNotAllowed, format!("`{shown}` {REFUSED}"))
                .with_hint("an operator can add its directory or URL prefix to `storage.allowed`"),
        );
    }
    if let Some(store) = store_text(text) {
        return Some(store);
    }
    let (kind, prefix) = [
        (ErrorKind::ExecutorLost, "shuffle input is damaged: "),
        (ErrorKind::OutOfMemory, "Resources exhausted: "),
        (ErrorKind::TypeMismatch, "Cast error: "),
        (ErrorKind::TypeMismatch, "Parser error: "),
        (ErrorKind::Execution, "Arithmetic overflow: "),
        (ErrorKind::CorruptFile, "Parquet error: "),
        (ErrorKind::CorruptFile, "Csv error: "),
        (ErrorKind::CorruptFile, JSON_PREFIX),
    ]
    .into_iter()
    .find(|(_, prefix)| text.contains(prefix))?;
    let message = text.split_once(prefix).map_or(text, |(_, rest)| rest);
    let message = if message.is_empty() { prefix } else { message };
    let kind = if prefix == JSON_PREFIX { json_kind(message) } else { kind };
    Some(Error::new(kind, first_sentence(message)))
}

/// What an object store's error means that was flattened to text, as DataFusion does with those of Parquet footers.
fn store_text(text: &str) -> Option<Error> {
    let after = |phrase: &str| text.split_once(phrase).map(|(_, rest)| rest);
    let path = |rest: &str| rest.split_once(": ").map_or(rest, |(path, _)| path).to_owned();
    let refused = after("lacked the necessary privileges to complete for path ")
        .or_else(|| after("lacked valid authentication credentials for path "));
    if let Some(rest) = refused {
        let message = format!("no permission to read `{}`", path(rest));
        return Some(Error::new(ErrorKind::PermissionDenied, message).with_hint(CREDENTIALS_HINT));
    }
    let missing = after("Object at location ").filter(|rest| rest.contains(" not found: "));
    if let Some((path, _)) = missing.and_then(|rest| rest.split_once(" not found: ")) {
        return Some(Error::new(ErrorKind::FileNotFound, format!("`{path}` does not exist")));
    }
    REMOTE_STORES.into_iter().find_map(|store| {
        after(&format!("Generic {store} error: ")).map(|rest| remote_store_error(store, first_sentence(rest)))
    })
}

/// What `object_store` calls its stores that are reached over a network.
const REMOTE_STORES: [&str; 4] = ["S3", "GCS", "MicrosoftAzure", "HTTP"];

const JSON_PREFIX: &str = "Json error: ";

/// Arrow has one error for text that is not JSON and for JSON whose values do not fit the columns.
fn json_kind(message: &str) -> ErrorKind {
    if message.contains("whilst decoding field") { ErrorKind::TypeMismatch } else { ErrorKind::CorruptFile }
}

/// Classifies an engine error.
pub fn classify(error: &DataFusionError) -> Error {
    let mut place = None;
    let root = unwrap_layers(error, &mut place);
    let mut classified = classify_root(root);
    if classified.place.is_none() {
        classified.place = place;
    }
    classified
}

fn unwrap_layers<'a>(error: &'a DataFusionError, place: &mut Option<Place>) -> &'a DataFusionError {
    match error {
        DfError::Context(_, inner) => unwrap_layers(inner, place),
        DfError::Diagnostic(diagnostic, inner) => {
            if let Some(span) = diagnostic.span
                && span.start.line > 0
            {
                *place = Some(Place { line: span.start.line, column: span.start.column });
            }
            unwrap_layers(inner, place)
        }
        DfError::Collection(errors) => errors.first().map_or(error, |first| unwrap_layers(first, place)),
        DfError::Shared(inner) => unwrap_layers(inner, place),
        DfError::ArrowError(inner, _) => match inner.as_ref() {
            ArrowError::ExternalError(source) => match source.downcast_ref::<DataFusionError>() {
                Some(inner) => unwrap_layers(inner, place),
                None => error,
            },
            _ => error,
        },
        DfError::External(source) => match source.downcast_ref::<DataFusionError>() {
            Some(inner) => unwrap_layers(inner, place),
            None => error,
        },
        other => other,
    }
}

fn classify_root(error: &DataFusionError) -> Error {
    match error {
        DfError::SQL(parser, _) => syntax(&parser.to_string()),
        DfError::SchemaError(schema, _) => schema_error(schema, &error.strip_backtrace()),
        DfError::Plan(message) => plan_error(message),
        DfError::Configuration(message) => Error::new(ErrorKind::InvalidSetting, message),
        DfError::NotImplemented(message) => Error::new(ErrorKind::Unsupported, message),
        DfError::ResourcesExhausted(message) => Error::new(ErrorKind::OutOfMemory, first_sentence(message)),
        DfError::ObjectStore(inner) => store_error(inner),
        DfError::ParquetError(inner) => parquet_error(inner),
        DfError::ArrowError(inner, _) => arrow_error(inner),
        DfError::IoError(inner) => io_error(inner),
        DfError::Execution(message) => execution_error(message),
        DfError::ExecutionJoin(join) if join.is_cancelled() => {
            Error::new(ErrorKind::Cancelled, "the query was cancelled")
        }
        DfError::External(source) => external(source.as_ref()),
        other => from_text(&other.to_string()).unwrap_or_else(|| Error::internal(other.strip_backtrace())),
    }
}

fn external(source: &(dyn std::error::Error + Send + Sync + 'static)) -> Error {
    if let Some(ours) = source.downcast_ref::<Error>() {
        return ours.clone();
    }
    if let Some(BallistaError::DataFusionError(inner)) = source.downcast_ref::<BallistaError>() {
        return classify(inner);
    }
    if let Some(store) = source.downcast_ref::<object_store::Error>() {
        return store_error(store);
    }
    if let Some(parquet) = source.downcast_ref::<ParquetError>() {
        return parquet_error(parquet);
    }
    if let Some(arrow) = source.downcast_ref::<ArrowError>() {
        return arrow_error(arrow);
    }
    if let Some(io) = source.downcast_ref::<std::io::Error>() {
        return io_error(io);
    }
    let text = source.to_string();
    of_text(&text).unwrap_or_else(|| Error::internal(text))
}

fn syntax(text: &str) -> Error {
    let text = text.trim_start_matches("sql parser error: ");
    let (message, place) = split_place(text);
    let mut error = Error::new(ErrorKind::Syntax, message);
    error.place = place;
    error
}

/// Splits sqlparser's trailing ` at Line: 1, Column: 8` off.
fn split_place(text: &str) -> (String, Option<Place>) {
    let Some((message, tail)) = text.rsplit_once(" at Line: ") else { return (text.to_owned(), None) };
    let Some((line, column)) = tail.split_once(", Column: ") else { return (text.to_owned(), None) };
    let digits =
        |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u64>().ok();
    match (digits(line), digits(column)) {
        (Some(line), Some(column)) => (message.to_owned(), Some(Place { line, column })),
        _ => (text.to_owned(), None),
    }
}

fn schema_error(schema: &SchemaError, text: &str) -> Error {
    match schema {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names: Vec<String> =
                valid_fields.iter().take(SHOWN_COLUMNS).map(|column| column.flat_name()).collect();
            let mut error = Error::new(
                ErrorKind::ColumnNotFound,
                format!("column `{}` does not exist", field.flat_name()),
            );
            let near =
                polarway_common::nearest(field.name(), valid_fields.iter().map(|column| column.name()));
            error.hint = match near {
                Some(near) => Some(format!("did you mean `{near}`?")),
                None if names.is_empty() => None,
                None => Some(format!("columns here are: {}", names.join(", "))),
            };
            error
        }
        _ => Error::new(ErrorKind::Plan, text.trim_start_matches("Schema error: ")),
    }
}

fn plan_error(message: &str) -> Error {
    if let Some(name) = message.strip_prefix("table '").and_then(|rest| rest.split_once("' not found")) {
        return Error::new(ErrorKind::TableNotFound, format!("table `{}` does not exist", name.0));
    }
    if let Some((name, rest)) =
        message.strip_prefix("Invalid function '").and_then(|rest| rest.split_once('\''))
    {
        let mut error = Error::new(ErrorKind::NotFound, format!("function `{name}` does not exist"));
        let near = rest.split_once("Did you mean '").and_then(|(_, rest)| rest.split_once('\''));
        error.hint = near.map(|(near, _)| format!("did you mean `{near}`?"));
        return error;
    }
    if message.contains("failed to resolve schema") || message.contains("failed to resolve catalog") {
        return Error::new(ErrorKind::NotFound, message);
    }
    let mismatch = [
        "Cannot coerce",
        "type_coercion",
        "Cannot infer common argument type",
        "Failed to coerce",
        "Cannot cast",
    ];
    if mismatch.iter().any(|phrase| message.contains(phrase)) {
        return Error::new(ErrorKind::TypeMismatch, message);
    }
    Error::new(ErrorKind::Plan, message)
}

fn execution_error(message: &str) -> Error {
    of_text(message).unwrap_or_else(|| Error::new(ErrorKind::Execution, message))
}

/// What an error that has become text was, where that can be told: one of ours, or a file's type that does not fit.
pub fn of_text(text: &str) -> Option<Error> {
    from_text(text).or_else(|| {
        let mismatch = text.contains("Cannot cast") || text.contains("cast column");
        mismatch.then(|| Error::new(ErrorKind::SchemaMismatch, text))
    })
}

/// Classifies an Arrow error that did not come through DataFusion.
pub fn arrow_error(error: &ArrowError) -> Error {
    match error {
        ArrowError::CastError(message) | ArrowError::ParseError(message) => {
            Error::new(ErrorKind::TypeMismatch, message)
        }
        ArrowError::DivideByZero => Error::new(ErrorKind::Execution, "division by zero")
            .with_hint("guard the divisor, for example with NULLIF(x, 0)"),
        ArrowError::ArithmeticOverflow(message) => {
            Error::new(ErrorKind::Execution, format!("arithmetic overflow: {message}"))
                .with_hint("cast the operands to a wider type")
        }
        ArrowError::ComputeError(message) | ArrowError::InvalidArgumentError(message) => {
            Error::new(ErrorKind::Execution, message)
        }
        ArrowError::JsonError(message) => Error::new(json_kind(message), message),
        ArrowError::CsvError(message) | ArrowError::IpcError(message) => {
            Error::new(ErrorKind::CorruptFile, message)
        }
        ArrowError::ParquetError(message) => {
            store_text(message).unwrap_or_else(|| Error::new(ErrorKind::CorruptFile, message))
        }
        ArrowError::SchemaError(message) => Error::new(ErrorKind::SchemaMismatch, message),
        ArrowError::IoError(message, inner) => {
            let mut classified = io_error(inner);
            classified.message = message.clone();
            classified
        }
        ArrowError::NotYetImplemented(message) => Error::new(ErrorKind::Unsupported, message),
        ArrowError::ExternalError(source) => external(source.as_ref()),
        other => Error::internal(other.to_string()),
    }
}

fn parquet_error(error: &ParquetError) -> Error {
    match error {
        ParquetError::External(source) => external(source.as_ref()),
        ParquetError::NYI(message) => Error::new(ErrorKind::Unsupported, message),
        ParquetError::EOF(message) => {
            Error::new(ErrorKind::CorruptFile, format!("the Parquet file is cut short: {message}"))
                .with_hint("write the file again; its footer or a page is missing")
        }
        other if other.to_string().contains("outside the locations") => {
            from_text(&other.to_string()).unwrap_or_else(|| Error::internal(other.to_string()))
        }
        other => store_text(&other.to_string()).unwrap_or_else(|| {
            Error::new(ErrorKind::CorruptFile, format!("the Parquet file is damaged: {other}"))
                .with_hint("check that the file is Parquet and was written whole")
        }),
    }
}

fn store_error(error: &object_store::Error) -> Error {
    use object_store::Error as Store;
    match error {
        Store::NotFound { path, .. } => {
            Error::new(ErrorKind::FileNotFound, format!("`{path}` does not exist"))
        }
        Store::PermissionDenied { path, source } | Store::Unauthenticated { path, source } => {
            match source.downcast_ref::<Error>() {
                Some(ours) => ours.clone(),
                None => Error::new(
                    ErrorKind::PermissionDenied,
                    format!("no permission to read `{path}`: {source}"),
                )
                .with_hint(CREDENTIALS_HINT),
            }
        }
        Store::Generic { store, source } => generic_store_error(store, source.as_ref()),
        Store::NotSupported { source } => Error::new(ErrorKind::Unsupported, source.to_string()),
        Store::InvalidPath { source } => Error::new(ErrorKind::Plan, source.to_string()),
        other => Error::new(ErrorKind::StoreUnavailable, other.to_string()),
    }
}

fn generic_store_error(store: &str, source: &(dyn std::error::Error + 'static)) -> Error {
    if REMOTE_STORES.contains(&store) {
        return remote_store_error(store, source.to_string());
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(source);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<std::io::Error>() {
            let mut classified = io_error(io);
            classified.message = source.to_string();
            return classified;
        }
        cause = current.source();
    }
    Error::new(ErrorKind::StoreUnavailable, format!("{store}: {source}"))
}

/// Lists have no error of their own for what a server refuses; the status stands in the text only.
fn remote_store_error(store: &str, text: String) -> Error {
    let message = format!("{store}: {text}");
    let answered = |status: &str| text.contains(&format!("non-2xx status code: {status}"));
    if answered("403") || answered("401") {
        return Error::new(ErrorKind::PermissionDenied, message).with_hint(CREDENTIALS_HINT);
    }
    if answered("404") {
        return Error::new(ErrorKind::FileNotFound, message);
    }
    Error::new(ErrorKind::StoreUnavailable, message)
        .with_hint("the object store did not answer as expected; check its endpoint and retry")
}

fn io_error(error: &std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::FileNotFound,
        std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData => ErrorKind::CorruptFile,
        std::io::ErrorKind::StorageFull => ErrorKind::OutOfMemory,
        _ => ErrorKind::Internal,
    };
    let classified = Error::new(kind, error.to_string());
    if error.kind() == std::io::ErrorKind::StorageFull { classified.with_hint(DISK_HINT) } else { classified }
}

fn first_sentence(message: &str) -> String {
    message.lines().next().unwrap_or(message).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_found_inside_ballista_text_plain_and_escaped() {
        let error = Error::new(ErrorKind::CorruptFile, "bad \"footer\"").with_hint("write it again");
        let plain = format!("Job failed due to stage 1 failed: {} trailing", to_text(&error));
        assert_eq!(find_in_text(&plain).unwrap(), error);
        let simple = Error::new(ErrorKind::FileNotFound, "`a` does not exist");
        let escaped = format!("Error({:?})", to_text(&simple));
        assert_eq!(find_in_text(&escaped).unwrap(), simple);
        assert_eq!(find_in_text("nothing here"), None);
    }

    #[test]
    fn parse_errors_carry_their_place() {
        let error = syntax("sql parser error: Expected: an expression, found: FROM at Line: 2, Column: 8");
        assert_eq!(error.kind, ErrorKind::Syntax);
        assert_eq!(error.place, Some(Place { line: 2, column: 8 }));
        assert_eq!(error.message, "Expected: an expression, found: FROM");
    }

    #[test]
    fn a_policy_refusal_keeps_its_kind_through_the_store() {
        let ours = Error::new(ErrorKind::PathNotAllowed, "no");
        let store =
            object_store::Error::PermissionDenied { path: "p".into(), source: Box::new(ours.clone()) };
        assert_eq!(classify(&DataFusionError::ObjectStore(Box::new(store))), ours);
    }

    #[test]
    fn a_flattened_error_is_recognised() {
        let text = "DataFusion error: Not enough memory.\ncaused by\nResources exhausted: the limit is used up\nmore";
        let error = classify(&DataFusionError::Execution(text.into()));
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::OutOfMemory, "the limit is used up"));
        let cast = from_text("Arrow error: Cast error: Cannot cast string 'a'").unwrap();
        assert_eq!((cast.kind, cast.message.as_str()), (ErrorKind::TypeMismatch, "Cannot cast string 'a'"));
    }

    #[test]
    fn json_that_is_broken_is_told_from_values_that_do_not_fit() {
        let of = |text: &str| {
            let direct = arrow_error(&ArrowError::JsonError(text.into())).kind;
            // Some writers keep the text only.
            assert_eq!(from_text(&format!("Arrow error: Json error: {text}")).unwrap().kind, direct);
            direct
        };
        assert_eq!(of("Truncated record whilst reading value"), ErrorKind::CorruptFile);
        let wrong = "whilst decoding field 'id': failed to parse \"seven\" as Int64";
        assert_eq!(of(wrong), ErrorKind::TypeMismatch);
    }

    #[test]
    fn a_missing_function_names_a_near_one() {
        let error = classify(&DataFusionError::Plan("Invalid function 'summ'.\nDid you mean 'sum'?".into()));
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::NotFound, "function `summ` does not exist")
        );
        assert_eq!(error.hint.as_deref(), Some("did you mean `sum`?"));
    }

    #[test]
    fn a_list_that_a_store_refuses_is_no_outage() {
        let refused = |status: &str| {
            let source = format!(
                "Error performing GET http://s3/b in 1ms - Server returned non-2xx status code: {status}: <Error/>"
            );
            let error = object_store::Error::Generic { store: "S3", source: source.into() };
            classify(&DataFusionError::ObjectStore(Box::new(error))).kind
        };
        assert_eq!(refused("403 Forbidden"), ErrorKind::PermissionDenied);
        assert_eq!(refused("401 Unauthorized"), ErrorKind::PermissionDenied);
        assert_eq!(refused("404 Not Found"), ErrorKind::FileNotFound);
        assert_eq!(refused("503 Service Unavailable"), ErrorKind::StoreUnavailable);
    }

    #[test]
    fn a_store_that_is_down_is_no_defect_of_ours() {
        let down = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = object_store::Error::Generic { store: "S3", source: Box::new(down) };
        let error = classify(&DataFusionError::ObjectStore(Box::new(error)));
        assert_eq!(error.kind, ErrorKind::StoreUnavailable);
    }

    #[test]
    fn a_footer_that_could_not_be_fetched_is_not_a_damaged_file() {
        let kind = |error: object_store::Error| {
            let text = format!("Failed to fetch metadata for file a/b.parquet: Object Store error: {error}");
            let direct =
                classify(&DataFusionError::ParquetError(Box::new(ParquetError::General(text.clone()))));
            assert_eq!(from_text(&format!("Parquet error: {text}")).unwrap(), direct);
            direct.kind
        };
        let path = || "a/b.parquet".to_owned();
        let why = || "no".into();
        assert_eq!(
            kind(object_store::Error::PermissionDenied { path: path(), source: why() }),
            ErrorKind::PermissionDenied
        );
        assert_eq!(
            kind(object_store::Error::Unauthenticated { path: path(), source: why() }),
            ErrorKind::PermissionDenied
        );
        assert_eq!(
            kind(object_store::Error::NotFound { path: path(), source: why() }),
            ErrorKind::FileNotFound
        );
        assert_eq!(
            kind(object_store::Error::Generic { store: "S3", source: why() }),
            ErrorKind::StoreUnavailable
        );
        let damaged = DataFusionError::ParquetError(Box::new(ParquetError::General("bad footer".to_owned())));
        assert_eq!(classify(&damaged).kind, ErrorKind::CorruptFile);
    }

    #[test]
    fn a_full_disk_is_told_from_too_little_memory() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = classify(&DataFusionError::IoError(full));
        assert_eq!(error.kind, ErrorKind::OutOfMemory);
        assert!(error.hint.unwrap().contains("disk"));
    }

    #[test]
    fn out_of_memory_is_told_from_other_failures() {
        let error = classify(&DataFusionError::ResourcesExhausted("Failed to allocate\nmore".into()));
        assert_eq!(error.kind, ErrorKind::OutOfMemory);
    }
}
