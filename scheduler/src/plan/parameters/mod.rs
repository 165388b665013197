//! Values in place of a statement's placeholders.
//!
//! A value becomes the text of a literal of its very type, so that what is planned, kept, shown and sent between servers is
//! a plain statement. Placeholders are found by the SQL tokenizer: what stands in texts, comments and quoted names is none.
//! `?` stands for the next value, `$1` and `?1` for the first, `$name` for the one of that name.

mod literal;

use std::collections::HashSet;
use std::ops::Range;

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};
use polarway_common::{Error, ErrorKind, Place};
use polarway_engine::settings::Settings;

use super::dialect_of;

/// A place in a statement where a value belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    pub parameter: Parameter,
    /// In bytes of the statement.
    at: Range<usize>,
    place: Place,
}

/// Which value it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Parameter {
    /// Counted from one.
    Position(usize),
    Name(String),
}

impl std::fmt::Display for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Position(position) => write!(f, "${position}"),
            Self::Name(name) => write!(f, "${name}"),
        }
    }
}

/// The placeholders of a statement, in their order. A text that is no SQL has none: parsing it tells what is wrong.
///
/// # Errors
/// `Syntax` for `$0`.
pub fn placeholders(sql: &str, dialect: &dyn Dialect) -> Result<Vec<Placeholder>, Error> {
    let mut found = vec![];
    let mut next = 1;
    let tokens = Tokenizer::new(dialect, sql).tokenize_with_location().unwrap_or_default();
    let tokens = tokens.into_iter().filter_map(|token| match token.token {
        Token::Placeholder(text) => Some((text, token.span.start)),
        _ => None,
    });
    let mut offsets = Offsets::of(sql);
    for (text, start) in tokens {
        let place = Place { line: start.line, column: start.column };
        let parameter = match text.get(1..).unwrap_or_default() {
            "" => {
                next += 1;
                Parameter::Position(next - 1)
            }
            rest => rest.parse().map_or_else(|_| Parameter::Name(rest.to_owned()), Parameter::Position),
        };
        if parameter == Parameter::Position(0) {
            return Err(Error::new(ErrorKind::Syntax, "parameters are counted from one").with_place(place));
        }
        let from = offsets.at(start);
        found.push(Placeholder { parameter, at: from..from + text.len(), place });
    }
    Ok(found)
}

/// The statement with the values of one row in place of its placeholders: by the columns' names where a placeholder has
/// a name, and else by their order.
///
/// # Errors
/// `Plan` with the place where a value is missing, and where there are values that nothing asks for; `Unsupported` for other
/// than one row, and for types that have no literal.
pub fn bind(sql: &str, dialect: &dyn Dialect, values: &RecordBatch) -> Result<String, Error> {
    if values.num_rows() != 1 {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("{} rows of parameters were sent; a statement takes one", values.num_rows()),
        ));
    }
    let placeholders = placeholders(sql, dialect)?;
    let mut unused: HashSet<usize> = (0..values.num_columns()).collect();
    let mut texts = vec![];
    for Placeholder { parameter, place, .. } in &placeholders {
        let column = match parameter {
            Parameter::Position(position) => {
                Some(position - 1).filter(|column| *column < values.num_columns())
            }
            Parameter::Name(name) => values.schema().index_of(name).ok(),
        };
        let Some(column) = column else { return Err(missing(parameter, *place)) };
        unused.remove(&column);
        let value = ScalarValue::try_from_array(values.column(column), 0)
            .map_err(|error| Error::internal(format!("the parameter {parameter} cannot be read: {error}")))?;
        let text = literal::of(&value).map_err(|mut error| {
            error.message = format!("the parameter {parameter}: {}", error.message);
            error.with_place(*place)
        })?;
        // What stands beside it must not become part of it.
        texts.push(format!(" {text} "));
    }
    if let Some(column) = unused.into_iter().min() {
        return Err(Error::new(
            ErrorKind::Plan,
            format!(
                "{} values were sent, and nothing in the statement stands for number {}, `{}`",
                values.num_columns(),
                column + 1,
                values.schema().field(column).name()
            ),
        ));
    }
    Ok(replaced(sql, &placeholders, &texts))
}

/// The statement as a planner reads it that knows numbered and named placeholders only.
pub fn numbered(sql: &str, placeholders: &[Placeholder]) -> String {
    let texts: Vec<String> =
        placeholders.iter().map(|placeholder| placeholder.parameter.to_string()).collect();
    replaced(sql, placeholders, &texts)
}

/// The statement with these texts in place of its placeholders.
fn replaced(sql: &str, placeholders: &[Placeholder], texts: &[String]) -> String {
    let mut whole = String::with_capacity(sql.len());
    let mut copied = 0;
    for (Placeholder { at, .. }, text) in placeholders.iter().zip(texts) {
        whole.push_str(&sql[copied..at.start]);
        whole.push_str(text);
        copied = at.end;
    }
    whole.push_str(&sql[copied..]);
    whole
}

/// Refuses a statement that has placeholders: one whose values are bound has none any more.
///
/// # Errors
/// `Plan` with the place of the first; those of [`dialect_of`].
pub fn refuse_unbound(sql: &str, settings: &Settings) -> Result<(), Error> {
    // Few texts have to be looked at closely.
    if !sql.contains(['?', '$']) {
        return Ok(());
    }
    let placeholders = placeholders(sql, dialect_of(settings)?.as_ref())?;
    placeholders.first().map_or(Ok(()), |first| Err(missing(&first.parameter, first.place)))
}

fn missing(parameter: &Parameter, place: Place) -> Error {
    Error::new(ErrorKind::Plan, format!("the parameter {parameter} has no value"))
        .with_hint("prepare the statement, and bind a value for each of its parameters")
        .with_place(place)
}

/// Byte offsets of places that are asked for in their order. The tokenizer counts lines and characters.
struct Offsets<'a> {
    rest: std::str::CharIndices<'a>,
    length: usize,
    line: u64,
    column: u64,
}

impl<'a> Offsets<'a> {
    fn of(sql: &'a str) -> Self {
        Self { rest: sql.char_indices(), length: sql.len(), line: 1, column: 1 }
    }

    fn at(&mut self, wanted: Location) -> usize {
        while (self.line, self.column) < (wanted.line, wanted.column) {
            match self.rest.next() {
                Some((_, '\n')) => (self.line, self.column) = (self.line + 1, 1),
                Some(_) => self.column += 1,
                None => break,
            }
        }
        self.rest.clone().next().map_or(self.length, |(offset, _)| offset)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use datafusion::sql::sqlparser::dialect::{GenericDialect, PostgreSqlDialect};

    use super::*;

    fn row(values: &[(&str, i64)]) -> RecordBatch {
        let columns = values.iter().map(|(name, value)| {
            let column: ArrayRef = Arc::new(Int64Array::from(vec![*value]));
            (*name, column)
        });
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn bound(sql: &str, values: &[(&str, i64)]) -> Result<String, Error> {
        bind(sql, &GenericDialect {}, &row(values))
    }

    fn squeezed(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn values_stand_where_their_placeholders_did() {
        for (sql, expected) in [
            ("select ?, ? + ?", "select 7 , 8 + 9"),
            ("select $2,\n  $1, $2 + $3", "select 8 , 7 , 8 + 9"),
            ("select ?2, ?1, ?3", "select 8 , 7 , 9"),
            ("select $b, $a, $c", "select 8 , 7 , 9"),
            ("sélect '?', \"$1\", -- ?\n /* ? */ ?,?,?", "sélect '?', \"$1\", -- ? /* ? */ 7 , 8 , 9"),
        ] {
            let text = bound(sql, &[("a", 7), ("b", 8), ("c", 9)]).unwrap();
            assert_eq!(squeezed(&text), expected);
        }
        assert_eq!(squeezed(&bound("select 1-?", &[("a", -1)]).unwrap()), "select 1- (-1)");
        assert_eq!(squeezed(&bound("select ?from t", &[("a", 1)]).unwrap()), "select 1 from t");
    }

    #[test]
    fn each_placeholder_needs_a_value_and_each_value_a_placeholder() {
        let error = bound("select 1,\n ?, ?", &[("a", 1)]).unwrap_err();
        assert_eq!((error.kind, error.place), (ErrorKind::Plan, Some(Place { line: 2, column: 5 })));
        assert!(error.message.contains("$2"), "{error}");
        assert_eq!(bound("select $x", &[("a", 1)]).unwrap_err().kind, ErrorKind::Plan);
        let error = bound("select ?", &[("a", 1), ("b", 2)]).unwrap_err();
        assert!(error.message.contains("number 2, `b`"), "{error}");
        assert_eq!(bound("select $0", &[("a", 1)]).unwrap_err().kind, ErrorKind::Syntax);
        let two = RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)]);
        let error = bind("select ?", &GenericDialect {}, &two.unwrap()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
    }

    #[test]
    fn a_dialect_may_use_the_question_mark_otherwise() {
        let found = placeholders("select a ? 'b', $1", &PostgreSqlDialect {}).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(numbered("select a ? 'b', $1", &found), "select a ? 'b', $1");
        let found = placeholders("select ?, 'é?', ?", &GenericDialect {}).unwrap();
        assert_eq!(numbered("select ?, 'é?', ?", &found), "select $1, 'é?', $2");
    }

    #[test]
    fn a_text_stays_a_text_whatever_it_holds() {
        for text in ["", "'", "''; drop table t; --", "\\", "\\' or 1 = 1 --", "a\u{0}b", "?", "$1", "é\n\""]
        {
            let values =
                RecordBatch::try_from_iter([("a", Arc::new(StringArray::from(vec![text])) as ArrayRef)]);
            let sql = bind("select ?", &GenericDialect {}, &values.unwrap()).unwrap();
            assert!(placeholders(&sql, &GenericDialect {}).unwrap().is_empty(), "{sql}");
            let parsed = datafusion::sql::sqlparser::parser::Parser::parse_sql(&GenericDialect {}, &sql);
            assert_eq!(parsed.unwrap().len(), 1, "{sql}");
        }
    }
}
