//! CREATE STREAM and DROP STREAM, which the SQL library does not know.

use std::collections::BTreeMap;

use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    CreateTableOptions, Expr, ObjectType, SqlOption, Statement as SqlStatement, Value,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};
use polarway_common::{Error, ErrorKind};
use polarway_engine::errors::classify;

/// A statement about streams.
#[derive(Debug, Clone)]
pub enum StreamStatement {
    Create(Box<CreateStream>),
    /// Of these names.
    Drop {
        names: Vec<String>,
        if_exists: bool,
    },
}

#[derive(Debug, Clone)]
pub struct CreateStream {
    /// As a table without its options; its name and columns are the stream's.
    pub table: DfStatement,
    pub if_not_exists: bool,
    pub options: BTreeMap<String, String>,
}

/// The statement in `sql` if it is one about streams.
///
/// # Errors
/// `Syntax` with the place, `Unsupported` for what a table may have and a stream may not.
pub fn parse(sql: &str) -> Option<Result<StreamStatement, Error>> {
    let mut tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().ok()?;
    let at = place_of_stream(&tokens)?;
    // As a table it has the same grammar, and every place in the text stays what it is.
    tokens[at].token =
        Token::Word(Word { value: "TABLE".to_owned(), quote_style: None, keyword: Keyword::TABLE });
    Some(read(tokens))
}

/// Whether `sql` is SHOW STREAMS.
pub fn shows_streams(sql: &str) -> bool {
    let words = |token: Token| match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_uppercase()),
        Token::Whitespace(_) | Token::SemiColon => None,
        other => Some(other.to_string()),
    };
    Tokenizer::new(&GenericDialect {}, sql)
        .tokenize()
        .is_ok_and(|tokens| tokens.into_iter().filter_map(words).eq(["SHOW", "STREAMS"]))
}

/// Where the word STREAM stands in `CREATE [OR REPLACE] STREAM` or `DROP STREAM`.
fn place_of_stream(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut words =
        tokens.iter().enumerate().filter(|(_, token)| !matches!(token.token, Token::Whitespace(_)));
    let mut next = || {
        let (index, token) = words.next()?;
        match &token.token {
            Token::Word(word) if word.quote_style.is_none() => Some((index, word.value.to_uppercase())),
            _ => None,
        }
    };
    let (_, verb) = next()?;
    let (mut index, mut word) = next()?;
    if verb == "CREATE" && word == "OR" {
        next().filter(|(_, word)| word == "REPLACE")?;
        (index, word) = next()?;
    }
    (["CREATE", "DROP"].contains(&verb.as_str()) && word == "STREAM").then_some(index)
}

fn read(tokens: Vec<TokenWithSpan>) -> Result<StreamStatement, Error> {
    let syntax = |error| classify(&datafusion::common::DataFusionError::SQL(Box::new(error), None));
    let dialect = GenericDialect {};
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let statement = parser.parse_statement().map_err(syntax)?;
    while parser.consume_token(&Token::SemiColon) {}
    parser.expect_token(&Token::EOF).map_err(syntax)?;
    match statement {
        SqlStatement::CreateTable(mut table) => {
            if table.or_replace {
                return Err(Error::new(ErrorKind::Unsupported, "CREATE OR REPLACE STREAM is not offered")
                    .with_hint("DROP STREAM removes a stream and its rows"));
            }
            if table.query.is_some() || table.columns.is_empty() {
                return Err(Error::new(ErrorKind::Syntax, "a stream needs columns")
                    .with_hint("CREATE STREAM name (column type, …) WITH (event_time = '…')"));
            }
            let options = match std::mem::replace(&mut table.table_options, CreateTableOptions::None) {
                CreateTableOptions::None => BTreeMap::new(),
                CreateTableOptions::With(options) => {
                    options.into_iter().map(option).collect::<Result<_, _>>()?
                }
                other => {
                    return Err(Error::new(ErrorKind::Unsupported, format!("a stream takes no `{other}`"))
                        .with_hint("write options as WITH (name = 'value', …)"));
                }
            };
            let if_not_exists = std::mem::take(&mut table.if_not_exists);
            let table = DfStatement::Statement(Box::new(SqlStatement::CreateTable(table)));
            Ok(StreamStatement::Create(Box::new(CreateStream { table, if_not_exists, options })))
        }
        SqlStatement::Drop { object_type: ObjectType::Table, if_exists, names, .. } => {
            Ok(StreamStatement::Drop { names: names.iter().map(ToString::to_string).collect(), if_exists })
        }
        _ => Err(Error::new(ErrorKind::Syntax, "this is no statement about streams")),
    }
}

fn option(option: SqlOption) -> Result<(String, String), Error> {
    let fault = |text: String| {
        Error::new(ErrorKind::Syntax, format!("`{text}` is no option")).with_hint("write name = 'value'")
    };
    let SqlOption::KeyValue { key, value } = option else { return Err(fault(option.to_string())) };
    let name = if key.quote_style.is_some() { key.value } else { key.value.to_lowercase() };
    let value = match &value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => text.clone(),
            Value::Number(number, _) => number.clone(),
            other => return Err(fault(other.to_string())),
        },
        Expr::Identifier(word) => word.value.clone(),
        other => return Err(fault(other.to_string())),
    };
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(sql: &str) -> CreateStream {
        match parse(sql).unwrap().unwrap() {
            StreamStatement::Create(create) => *create,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_stream_is_read_like_a_table() {
        let stream = create(
            "create STREAM if not exists s.ticks (at timestamp(6) not null, \"Price\" double)
             WITH (event_time = 'at', SEAL_ROWS = 1000, ack = wal);",
        );
        assert!(stream.if_not_exists && stream.table.to_string().contains("s.ticks"), "{}", stream.table);
        let options: Vec<_> =
            stream.options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(options, [("ack", "wal"), ("event_time", "at"), ("seal_rows", "1000")]);
        assert!(!stream.table.to_string().contains("WITH"), "{}", stream.table);
    }

    #[test]
    fn other_statements_are_none_of_its() {
        for sql in [
            "create table t (a int)",
            "select stream from create",
            "drop table t",
            "create view stream as select 1",
            "",
            "'",
        ] {
            assert!(parse(sql).is_none(), "{sql}");
        }
    }

    #[test]
    fn streams_are_shown() {
        assert!(shows_streams("show /* all */ streams ;"));
        for sql in
            ["show \"streams\"", "show streams like 'a'", "show tables", "streams", "select 'show streams'"]
        {
            assert!(!shows_streams(sql), "{sql}");
        }
    }

    #[test]
    fn names_are_dropped() {
        let Some(Ok(StreamStatement::Drop { names, if_exists })) = parse("DROP STREAM IF EXISTS a, b.c")
        else {
            panic!()
        };
        assert_eq!((names, if_exists), (vec!["a".to_owned(), "b.c".to_owned()], true));
    }

    #[test]
    fn faults_have_their_kind_and_place() {
        let error = |sql: &str| parse(sql).unwrap().unwrap_err();
        let wrong = error("CREATE STREAM t (a int,\n  b int int)");
        assert_eq!((wrong.kind, wrong.place.map(|place| place.line)), (ErrorKind::Syntax, Some(2)));
        assert_eq!(error("create stream t").kind, ErrorKind::Syntax);
        assert_eq!(error("create stream t as select 1").kind, ErrorKind::Syntax);
        assert_eq!(error("create or replace stream t (a int)").kind, ErrorKind::Unsupported);
        assert_eq!(error("create stream t (a int) with (x = 1 + 1)").kind, ErrorKind::Syntax);
        assert_eq!(error("create stream t (a int) select").kind, ErrorKind::Syntax);
    }
}
