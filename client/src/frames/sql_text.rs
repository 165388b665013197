//! How names and values are written in SQL, so that no part of them is read as anything else.
//!
//! The one place that quotes: all SQL that this crate composes has its names and values from here. It is written in the
//! server's own dialect; a session that has set `datafusion.sql_parser.dialect` to another one reads it otherwise.

use polarway_common::{Error, ErrorKind};

/// A name of a column or table as it is: case and all signs count.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names, quoted and with commas between them.
pub(super) fn identifiers<N: AsRef<str>>(names: &[N]) -> String {
    names.iter().map(|name| identifier(name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// A text, also a path that stands in place of a table.
pub(super) fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// A table by its name or `schema.name`, quoted part by part.
pub(super) fn table(name: &str) -> String {
    name.split('.').map(identifier).collect::<Vec<_>>().join(".")
}

/// A whole number.
pub(super) fn integer(value: i128) -> String {
    // Two minus signs in a row would begin a comment.
    if value < 0 { format!("({value})") } else { value.to_string() }
}

/// A floating-point number, of type DOUBLE.
pub(super) fn float(value: f64) -> String {
    if value.is_nan() {
        "CAST('nan' AS DOUBLE)".to_owned()
    } else if value.is_infinite() {
        format!("CAST('{}' AS DOUBLE)", if value > 0.0 { "inf" } else { "-inf" })
    } else if value.is_sign_negative() {
        // Negative zero has a sign too.
        format!("({value:?})")
    } else {
        format!("{value:?}")
    }
}

/// A statement, unless it has a NUL, which SQL has no way to write: then a name or text in it had one.
pub(super) fn checked(sql: String) -> Result<String, Error> {
    if sql.contains('\0') {
        return Err(Error::new(ErrorKind::Plan, "a name or text with a NUL cannot be written in SQL")
            .with_hint("no file, table or column has such a name"));
    }
    Ok(sql)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What stands between two quotes, if every quote in it is doubled.
    fn read_back(sql: &str, quote: char) -> Option<String> {
        let mut signs = sql.strip_prefix(quote)?.strip_suffix(quote)?.chars();
        let mut read = String::new();
        while let Some(sign) = signs.next() {
            if sign == quote && signs.next() != Some(quote) {
                return None;
            }
            read.push(sign);
        }
        Some(read)
    }

    /// Any signs, and often those that end a name or text, a statement or a line.
    fn anything() -> impl Strategy<Value = String> {
        let sign = prop_oneof![
            any::<char>(),
            prop::sample::select(vec!['\'', '"', '\\', '`', ';', '-', '/', '*', '$', '.', '\n', '\0', 'a']),
        ];
        vec(sign, 0..40).prop_map(|signs| signs.into_iter().collect::<String>())
    }

    #[test]
    fn row_45_the_check_of_these_tests_can_fail() {
        for broken in ["'", "'''", "'a'b'", "a", "''''x'"] {
            assert_eq!(read_back(broken, '\''), None, "{broken}");
        }
        assert_eq!(read_back("'it''s'", '\'').as_deref(), Some("it's"));
    }

    proptest! {
        #[test]
        fn row_45_texts_and_names_of_any_signs_stay_between_their_quotes(value in anything()) {
            prop_assert_eq!(read_back(&text(&value), '\''), Some(value.clone()));
            prop_assert_eq!(read_back(&identifier(&value), '"'), Some(value.clone()));
            prop_assert_eq!(text(&value).len(), value.len() + 2 + value.matches('\'').count());
            prop_assert_eq!(identifier(&value).len(), value.len() + 2 + value.matches('"').count());
            prop_assert_eq!(checked(text(&value)).is_err(), value.contains('\0'));
        }

        #[test]
        fn row_45_parts_of_a_tables_name_are_quoted_each(parts in vec("[a-zA-Z\" ']{0,6}", 1..4)) {
            let quoted: Vec<String> = parts.iter().map(|part| identifier(part)).collect();
            prop_assert_eq!(table(&parts.join(".")), quoted.join("."));
        }

        #[test]
        fn row_45_numbers_are_read_back(whole: i64, part: f64) {
            prop_assert_eq!(integer(i128::from(whole)).trim_matches(['(', ')']).parse::<i64>(), Ok(whole));
            prop_assert_eq!(integer(i128::from(whole)).starts_with('('), whole < 0);
            if part.is_finite() {
                let read: f64 = float(part).trim_matches(['(', ')']).parse().unwrap();
                prop_assert_eq!(read.to_bits(), part.to_bits());
                prop_assert_eq!(float(part).starts_with('('), part.is_sign_negative());
            }
        }
    }

    #[test]
    fn floats_are_no_integers_and_no_words() {
        assert_eq!([float(1.0), float(-0.0), float(1e300)], ["1.0", "(-0.0)", "1e300"]);
        assert_eq!(float(f64::NAN), "CAST('nan' AS DOUBLE)");
        assert_eq!(float(f64::NEG_INFINITY), "CAST('-inf' AS DOUBLE)");
    }
}
