//! What kind of statement a text is.

use arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::common::format::ExplainStatementOptions;
use datafusion::sql::parser::{DFParserBuilder, ResetStatement, Statement as DfStatement};
use datafusion::sql::sqlparser::ast::{ObjectType, Set, Statement as SqlStatement};
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, dialect_from_str};
use polarway_common::{Error, ErrorKind, Place};
use polarway_engine::errors::classify;
use polarway_engine::settable::{DIALECT, RECURSION_LIMIT};
use polarway_engine::settings::Settings;

use crate::write::{Outcome, Written};

use super::stream_statement::{self, StreamStatement};

const TIME_ZONE: &str = "datafusion.execution.time_zone";

/// A statement, sorted by what has to happen.
#[derive(Debug, Clone)]
pub enum Statement {
    /// Gives rows: a query, SHOW, DESCRIBE.
    Query(Box<DfStatement>),
    Explain(Explain),
    Command(Box<Command>),
}

#[derive(Debug, Clone)]
pub struct Explain {
    pub options: ExplainStatementOptions,
    pub statement: Box<DfStatement>,
}

/// A statement that changes something.
#[derive(Debug, Clone)]
pub enum Command {
    Set {
        name: String,
        value: String,
    },
    Reset {
        name: String,
    },
    /// CREATE or DROP of a table, view or schema; DataFusion's planner reads the rest.
    Ddl {
        statement: DfStatement,
        text: String,
    },
    /// CREATE TABLE, INSERT or COPY.
    Write {
        statement: DfStatement,
        text: String,
    },
    /// CREATE or DROP of a stream.
    Stream {
        statement: StreamStatement,
        text: String,
    },
}

impl Command {
    /// The columns of what it tells.
    pub fn outcome_schema(&self) -> SchemaRef {
        match self {
            Command::Write { .. } => Outcome::Written(Written::default()).schema(),
            _ => Outcome::Told(String::new()).schema(),
        }
    }

    /// The verb that a client sees as the result.
    pub fn tag(&self) -> &'static str {
        match self {
            Command::Set { .. } => "SET",
            Command::Reset { .. } => "RESET",
            Command::Write { statement, .. } => match statement {
                DfStatement::CopyTo(_) => "COPY",
                DfStatement::Statement(inner) if matches!(inner.as_ref(), SqlStatement::Insert(_)) => {
                    "INSERT"
                }
                _ => "CREATE TABLE",
            },
            Command::Stream { statement: StreamStatement::Create(_), .. } => "CREATE STREAM",
            Command::Stream { statement: StreamStatement::Drop { .. }, .. } => "DROP STREAM",
            Command::Ddl { statement, .. } => match statement {
                DfStatement::CreateExternalTable(_) => "CREATE EXTERNAL TABLE",
                DfStatement::Statement(statement) => match statement.as_ref() {
                    SqlStatement::CreateView(_) => "CREATE VIEW",
                    SqlStatement::CreateSchema { .. } => "CREATE SCHEMA",
                    SqlStatement::Drop { object_type: ObjectType::View, .. } => "DROP VIEW",
                    SqlStatement::Drop { object_type: ObjectType::Schema, .. } => "DROP SCHEMA",
                    _ => "DROP TABLE",
                },
                _ => "DDL",
            },
        }
    }
}

/// How deep a statement may nest where no session says otherwise; DataFusion's own default.
const DEPTH: usize = 50;

/// What SHOW STREAMS stands for, as other SHOW statements stand for queries of `information_schema`.
const SHOW_STREAMS: &str = "SELECT * FROM system.streams";

/// Parses exactly one statement.
///
/// # Errors
/// `Syntax` with the place; `Unsupported` for statements that Polarway does not offer.
pub fn parse(sql: &str) -> Result<Statement, Error> {
    parse_as(sql, &GenericDialect {}, DEPTH)
}

/// [`parse`] as a session with these settings means it.
///
/// # Errors
/// Also `Unsupported` for definitions in a dialect of the session's: their texts are kept and read again later.
pub fn parse_in(sql: &str, settings: &Settings) -> Result<Statement, Error> {
    let (name, depth) = (settings.get(DIALECT), settings.get(RECURSION_LIMIT));
    if name.is_none() && depth.is_none() {
        return parse(sql);
    }
    let dialect = dialect_of(settings)?;
    let depth = match depth {
        Some(depth) => depth.trim().parse().map_err(|_| unusable(RECURSION_LIMIT))?,
        None => DEPTH,
    };
    let statement = parse_as(sql, dialect.as_ref(), depth)?;
    if let Statement::Command(command) = &statement
        && let Command::Ddl { .. } | Command::Stream { .. } = command.as_ref()
        && !dialect.is::<GenericDialect>()
    {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("{} is not offered in another SQL dialect", command.tag()),
        )
        .with_hint(format!("RESET {DIALECT}, then write it in DataFusion's own")));
    }
    Ok(statement)
}

/// The SQL dialect that a session speaks.
///
/// # Errors
/// `InvalidSetting` for one that there is not.
pub fn dialect_of(settings: &Settings) -> Result<Box<dyn Dialect>, Error> {
    let name = settings.get(DIALECT).map_or("generic", String::as_str);
    dialect_from_str(name).ok_or_else(|| unusable(DIALECT))
}

fn unusable(name: &str) -> Error {
    Error::new(ErrorKind::InvalidSetting, format!("`{name}` cannot be used"))
}

fn parse_as(sql: &str, dialect: &dyn Dialect, depth: usize) -> Result<Statement, Error> {
    if let Some(statement) = stream_statement::parse(sql) {
        let (statement, text) = (statement?, definition_text(sql));
        return Ok(Statement::Command(Box::new(Command::Stream { statement, text })));
    }
    let sql = if stream_statement::shows_streams(sql) { SHOW_STREAMS } else { sql };
    let parsed = DFParserBuilder::new(sql)
        .with_dialect(dialect)
        .with_recursion_limit(depth)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error: DataFusionError| at_end(classify(&error), sql))?;
    let mut statements = parsed.into_iter();
    let Some(statement) = statements.next() else {
        return Err(Error::new(ErrorKind::Syntax, "there is no statement in the text"));
    };
    if statements.next().is_some() {
        return Err(Error::new(ErrorKind::Syntax, "there are several statements in the text")
            .with_hint("send them one by one"));
    }
    sort(statement, sql)
}

/// Whether the statement looks at settings or the catalog only.
pub fn shows(statement: &DfStatement) -> bool {
    let DfStatement::Statement(inner) = statement else { return false };
    matches!(
        inner.as_ref(),
        SqlStatement::ShowTables { .. }
            | SqlStatement::ShowColumns { .. }
            | SqlStatement::ShowVariable { .. }
            | SqlStatement::ShowFunctions { .. }
            | SqlStatement::ShowCreate { .. }
            | SqlStatement::ExplainTable { .. }
    )
}

/// The parser gives no place for what is missing at the end of the text.
fn at_end(mut error: Error, sql: &str) -> Error {
    if error.place.is_none() && error.message.contains("EOF") {
        let text = sql.trim_end();
        let line = text.lines().count().max(1) as u64;
        let column = text.lines().next_back().map_or(0, |last| last.chars().count()) as u64 + 1;
        error.place = Some(Place { line, column });
    }
    error
}

fn sort(statement: DfStatement, text: &str) -> Result<Statement, Error> {
    let write = |statement: DfStatement| {
        Ok(Statement::Command(Box::new(Command::Write { statement, text: definition_text(text) })))
    };
    let ddl = |statement: DfStatement| {
        Ok(Statement::Command(Box::new(Command::Ddl { statement, text: definition_text(text) })))
    };
    match statement {
        DfStatement::Explain(explain) => match sort(*explain.statement, text)? {
            Statement::Query(statement) => {
                Ok(Statement::Explain(Explain { options: explain.options, statement }))
            }
            Statement::Explain(_) | Statement::Command(_) => Err(not_offered("EXPLAIN of this statement")),
        },
        DfStatement::CreateExternalTable(_) => ddl(statement),
        DfStatement::CopyTo(mut copy) => {
            copy.partitioned_by = copy.partitioned_by.iter().map(|name| column_name(name)).collect();
            write(DfStatement::CopyTo(copy))
        }
        DfStatement::Reset(ResetStatement::Variable(name)) => {
            Ok(Statement::Command(Box::new(Command::Reset { name: name.to_string() })))
        }
        DfStatement::Statement(ref inner) => match inner.as_ref() {
            SqlStatement::Query(_)
            | SqlStatement::ShowTables { .. }
            | SqlStatement::ShowColumns { .. }
            | SqlStatement::ShowVariable { .. }
            | SqlStatement::ShowFunctions { .. }
            | SqlStatement::ShowCreate { .. }
            | SqlStatement::ExplainTable { .. } => Ok(Statement::Query(Box::new(statement))),
            SqlStatement::Insert(_) | SqlStatement::CreateTable(_) => write(statement),
            SqlStatement::CreateView(_) | SqlStatement::CreateSchema { .. } => ddl(statement),
            SqlStatement::Drop {
                object_type: ObjectType::Table | ObjectType::View | ObjectType::Schema,
                ..
            } => ddl(statement),
            SqlStatement::Set(set) => set_command(set),
            other => Err(not_offered(verb(&other.to_string()))),
        },
    }
}

/// A column's name as a query has it: the parser leaves it as it was written.
fn column_name(written: &str) -> String {
    let quoted = written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    quoted.map_or_else(|| written.to_lowercase(), |inner| inner.replace("\"\"", "\""))
}

/// The text of a definition as it is kept.
fn definition_text(text: &str) -> String {
    text.trim().trim_end_matches(';').to_owned()
}

fn set_command(set: &Set) -> Result<Statement, Error> {
    let (name, values) = match set {
        Set::SingleAssignment { variable, values, .. } => (variable.to_string(), values),
        Set::SetTimeZone { value, .. } => {
            let value = literal(&value.to_string());
            return Ok(Statement::Command(Box::new(Command::Set { name: TIME_ZONE.to_owned(), value })));
        }
        _ => return Err(not_offered("this form of SET").with_hint("write SET name = value")),
    };
    let [value] = values.as_slice() else {
        return Err(Error::new(ErrorKind::InvalidSetting, "SET takes one value"));
    };
    let name = match name.to_lowercase().as_str() {
        "timezone" | "time zone" | "time_zone" => TIME_ZONE.to_owned(),
        other => other.to_owned(),
    };
    Ok(Statement::Command(Box::new(Command::Set { name, value: literal(&value.to_string()) })))
}

/// A literal's text without its quotes.
fn literal(text: &str) -> String {
    let inner = text
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
        .or_else(|| text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')));
    inner.map_or_else(|| text.to_owned(), |inner| inner.replace("''", "'"))
}

fn verb(statement: &str) -> &str {
    let mut end = 0;
    for word in statement.split_whitespace().take(2) {
        end = statement.find(word).unwrap_or(0) + word.len();
    }
    &statement[..end]
}

fn not_offered(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{what} is not offered"))
        .with_hint("Polarway runs queries, INSERT, COPY, CREATE TABLE, CREATE EXTERNAL TABLE, CREATE STREAM, CREATE VIEW, CREATE SCHEMA, DROP, SET, SHOW, DESCRIBE and EXPLAIN")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(sql: &str) -> Command {
        match parse(sql).unwrap() {
            Statement::Command(command) => *command,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn settings_keep_their_text() {
        let Command::Set { name, value } = command("SET polarway.route = 'staged';") else { panic!() };
        assert_eq!((name.as_str(), value.as_str()), ("polarway.route", "staged"));
        let Command::Set { value, .. } = command("set datafusion.execution.batch_size to 10") else {
            panic!()
        };
        assert_eq!(value, "10");
        let Command::Reset { name } = command("RESET polarway.route") else { panic!() };
        assert_eq!(name, "polarway.route");
    }

    #[test]
    fn kinds_are_told_apart() {
        assert!(matches!(parse("select 1").unwrap(), Statement::Query(_)));
        assert!(matches!(parse("show tables").unwrap(), Statement::Query(_)));
        assert!(matches!(parse("describe t").unwrap(), Statement::Query(_)));
        assert!(
            matches!(parse("explain analyze select 1").unwrap(), Statement::Explain(e) if e.options.analyze)
        );
        assert_eq!(
            command("create external table t stored as parquet location 'x'").tag(),
            "CREATE EXTERNAL TABLE"
        );
        assert_eq!(command("create or replace view v as select 1").tag(), "CREATE VIEW");
        assert_eq!(command("drop view if exists v").tag(), "DROP VIEW");
        assert_eq!(command("create schema s").tag(), "CREATE SCHEMA");
        assert_eq!(command("insert into t values (1)").tag(), "INSERT");
        assert_eq!(command("copy t to 'x.parquet'").tag(), "COPY");
        assert_eq!(command("create table t as select 1").tag(), "CREATE TABLE");
    }

    #[test]
    fn a_session_may_speak_another_dialect_and_less_deeply() {
        let session = |name: &str, value: &str| Settings::from([(name.to_owned(), value.to_owned())]);
        let mysql = session(DIALECT, "mysql");
        let text = |sql: &str, settings: &Settings| match parse_in(sql, settings).unwrap() {
            Statement::Query(statement) => statement.to_string(),
            other => panic!("{other:?}"),
        };
        // Text to the one and a column to the other.
        let sql = "SELECT \"a\"";
        let debug = |settings: &Settings| format!("{:?}", parse_in(sql, settings).unwrap());
        assert!(debug(&mysql).contains("DoubleQuotedString"));
        assert!(!debug(&Settings::new()).contains("DoubleQuotedString"));
        assert_eq!(text("SELECT 1", &mysql), "SELECT 1");
        let error = parse_in("create view v as select \"a\"", &mysql).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
        assert!(error.hint.unwrap().contains(DIALECT));
        assert!(parse_in("RESET datafusion.sql_parser.dialect", &mysql).is_ok());

        let deep = format!("SELECT {}1{}", "(".repeat(15), ")".repeat(15));
        assert!(parse_in(&deep, &Settings::new()).is_ok());
        let shallow = session(RECURSION_LIMIT, "10");
        assert!(parse_in(&deep, &shallow).is_err());
        assert!(parse_in("RESET datafusion.sql_parser.recursion_limit", &shallow).is_ok());
    }

    #[test]
    fn columns_of_partitions_have_the_names_that_queries_give_them() {
        let sql = "copy t to 'x/' stored as parquet partitioned by (Day, \"Two Words\", \"a\"\"b\")";
        let Command::Write { statement: DfStatement::CopyTo(copy), .. } = command(sql) else { panic!() };
        assert_eq!(copy.partitioned_by, ["day", "Two Words", "a\"b"]);
    }

    #[test]
    fn what_only_shows_is_told_apart() {
        let shown = |sql: &str| match parse(sql).unwrap() {
            Statement::Query(statement) => shows(&statement),
            other => panic!("{other:?}"),
        };
        assert!(shown("show tables") && shown("show all") && shown("describe t") && shown("show functions"));
        assert!(!shown("select * from information_schema.tables") && !shown("values (1)"));
    }

    #[test]
    fn what_is_not_offered_says_so() {
        for sql in ["delete from t", "update t set a = 1", "begin", "explain analyze copy t to 'x'"] {
            assert_eq!(parse(sql).unwrap_err().kind, ErrorKind::Unsupported, "{sql}");
        }
    }

    #[test]
    fn a_syntax_error_has_its_place() {
        let error = parse("select 1 from t where a = 1\n  and and b").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Syntax);
        assert_eq!(error.place.map(|Place { line, .. }| line), Some(2));
        let open = parse("select 1\n  +").unwrap_err();
        assert_eq!(open.place, Some(Place { line: 2, column: 4 }));
        assert_eq!(parse("select 1; select 2").unwrap_err().kind, ErrorKind::Syntax);
        assert_eq!(parse("  ").unwrap_err().kind, ErrorKind::Syntax);
    }
}
