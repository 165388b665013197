//! Shows an error with the place in the SQL text that it is about.

use std::fmt::Write;

use polarway_common::Error;

use super::split::Statement;
use super::width::{printable, width};

/// Columns of the offending line that are shown; a longer line is cut around the place.
const SHOWN: usize = 100;

/// The error as text with a final line break: the message, the offending line with a caret below it, the hint.
/// `source` names the file that the statement comes from.
pub fn render(error: &Error, statement: &Statement, source: Option<&str>) -> String {
    let mut out = String::from("error: ");
    out.push_str(&printable(&error.message));
    out.push('\n');
    if let Some(place) = error.place {
        let line =
            usize::try_from(place.line.saturating_sub(1)).ok().and_then(|n| statement.text.lines().nth(n));
        let at = statement.place_in_source(place);
        let number = at.line.to_string();
        let margin = " ".repeat(number.len());
        if let Some(source) = source {
            let _ = writeln!(out, "{margin}--> {source}:{}:{}", at.line, at.column);
        }
        if let Some(line) = line {
            let (line, caret) = excerpt(line, usize::try_from(place.column).unwrap_or(usize::MAX));
            let _ = writeln!(out, "{margin} |\n{number} | {line}\n{margin} | {}^", " ".repeat(caret));
        }
    } else if let Some(source) = source {
        let _ = writeln!(out, " --> {source}:{}", statement.line);
    }
    if let Some(hint) = &error.hint {
        let _ = writeln!(out, "hint: {}", printable(hint));
    }
    out
}

/// The part of `line` around the character numbered `column` (from one), and the caret's offset in it.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    let chars: Vec<char> = line.chars().collect();
    // A place behind the end points at what is missing there.
    let at = column.saturating_sub(1).min(chars.len());
    let start = if chars.len() <= SHOWN { 0 } else { at.saturating_sub(SHOWN / 2).min(chars.len() - SHOWN) };
    let end = chars.len().min(start + SHOWN);
    let text = |range: &[char]| printable(&range.iter().collect::<String>());
    let head = if start > 0 { "…" } else { "" };
    let tail = if end < chars.len() { "…" } else { "" };
    let before = format!("{head}{}", text(&chars[start..at]));
    (format!("{before}{}{tail}", text(&chars[at..end])), width(&before))
}

#[cfg(test)]
mod tests {
    use polarway_common::{ErrorKind, Place};

    use super::*;

    fn statement(text: &str, line: u64) -> Statement {
        Statement { text: text.into(), line }
    }

    fn at(line: u64, column: u64) -> Error {
        Error::new(ErrorKind::ColumnNotFound, "no column `foo`").with_place(Place { line, column })
    }

    #[test]
    fn the_caret_stands_below_the_place() {
        let error = at(2, 3).with_hint("did you mean `food`?");
        let shown = render(&error, &statement("SELECT\n  foo\nFROM t", 1), None);
        assert_eq!(shown, "error: no column `foo`\n  |\n2 |   foo\n  |   ^\nhint: did you mean `food`?\n");
    }

    #[test]
    fn the_line_number_is_the_one_in_the_file() {
        let shown = render(&at(1, 8), &statement("SELECT foo", 99), Some("a.sql"));
        assert_eq!(shown, "error: no column `foo`\n  --> a.sql:99:8\n   |\n99 | SELECT foo\n   |        ^\n");
    }

    #[test]
    fn without_a_place_there_is_no_excerpt() {
        let error = Error::new(ErrorKind::TableNotFound, "no table `t`");
        assert_eq!(render(&error, &statement("SELECT", 3), None), "error: no table `t`\n");
        assert_eq!(
            render(&error, &statement("SELECT", 3), Some("a.sql")),
            "error: no table `t`\n --> a.sql:3\n"
        );
    }

    #[test]
    fn tabs_and_wide_characters_keep_the_caret_in_place() {
        assert_eq!(excerpt("\tx", 2), ("    x".into(), 4));
        assert_eq!(excerpt("'日本' x", 6), ("'日本' x".into(), 7));
    }

    #[test]
    fn a_place_outside_the_text_is_harmless() {
        assert_eq!(excerpt("ab", 99), ("ab".into(), 2));
        assert_eq!(excerpt("", 0), (String::new(), 0));
        assert_eq!(render(&at(7, 1), &statement("SELECT", 1), None), "error: no column `foo`\n");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let line = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let (shown, caret) = excerpt(&line, 501);
        assert!(shown.starts_with('…') && shown.ends_with('…'));
        assert_eq!(shown.chars().nth(caret), Some('X'));
        assert!(shown.chars().count() <= SHOWN + 2);
        let (shown, caret) = excerpt(&line, 1);
        assert!(shown.starts_with('a') && shown.ends_with('…'));
        assert_eq!(caret, 0);
    }
}
