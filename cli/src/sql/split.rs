//! Cuts SQL text into statements at the semicolons that end them: not those in strings, quoted names, comments and
//! dollar quotes. Lines go in as they arrive, so a script of any length is read with the memory of one statement.

use polarway_common::Place;

/// One statement without its semicolon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub text: String,
    /// Line of the source that the text starts on, counted from one.
    pub line: u64,
}

impl Statement {
    /// Where a place in the text lies in the source.
    pub fn place_in_source(&self, place: Place) -> Place {
        Place { line: self.line.saturating_add(place.line).saturating_sub(1), column: place.column }
    }
}

/// What the scanner is inside of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Context {
    Plain,
    Quoted {
        quote: u8,
        /// Whether a backslash takes the meaning from the character after it, as in `E'it\'s'`.
        escapes: bool,
    },
    LineComment,
    BlockComment {
        depth: u32,
    },
    Dollar {
        /// The delimiter with both dollar signs.
        tag: String,
    },
}

#[derive(Debug)]
pub struct Splitter {
    pending: String,
    /// Bytes of `pending` that have been scanned.
    scanned: usize,
    context: Context,
    /// Whether `pending` has anything but blanks and comments.
    has_content: bool,
    /// Line of the source that `pending` starts on.
    line: u64,
}

impl Default for Splitter {
    fn default() -> Self {
        Self { pending: String::new(), scanned: 0, context: Context::Plain, has_content: false, line: 1 }
    }
}

impl Splitter {
    /// Adds one line, without its line break.
    pub fn push_line(&mut self, line: &str) {
        self.pending.push_str(line);
        // No token that matters here spans lines, so the scanner never needs to look past what it has.
        self.pending.push('\n');
    }

    /// The next complete statement.
    pub fn next_statement(&mut self) -> Option<Statement> {
        while let Some(end) = self.scan() {
            let had_content = self.has_content;
            let text = self.pending[..end].to_owned();
            let line = self.line;
            self.forget(end + 1);
            if had_content {
                return Some(trimmed(&text, line));
            }
        }
        None
    }

    /// Whether the next line starts a statement or a shell command rather than going on with one.
    pub fn is_between_statements(&self) -> bool {
        !self.has_content && self.context == Context::Plain
    }

    /// What remains at the end of the text: a statement without a semicolon.
    pub fn finish(&mut self) -> Option<Statement> {
        let text = std::mem::take(&mut self.pending);
        let (had_content, line) = (self.has_content, self.line);
        *self = Self::default();
        had_content.then(|| trimmed(&text, line))
    }

    fn forget(&mut self, bytes: usize) {
        let dropped: String = self.pending.drain(..bytes).collect();
        self.line += count_lines(&dropped);
        self.scanned = 0;
        self.has_content = false;
    }

    /// Position of the next semicolon that ends a statement.
    fn scan(&mut self) -> Option<usize> {
        let bytes = self.pending.as_bytes();
        while self.scanned < bytes.len() {
            let at = self.scanned;
            let was_plain = self.context == Context::Plain;
            if was_plain && bytes[at] == b';' {
                return Some(at);
            }
            self.scanned += self.context.advance(bytes, at);
            self.has_content |= was_plain
                && match self.context {
                    Context::Plain => !bytes[at].is_ascii_whitespace(),
                    Context::LineComment | Context::BlockComment { .. } => false,
                    Context::Quoted { .. } | Context::Dollar { .. } => true,
                };
        }
        self.scanned = bytes.len();
        None
    }
}

impl Context {
    /// Takes the token at `at` into account and tells how many bytes it has.
    fn advance(&mut self, bytes: &[u8], at: usize) -> usize {
        let rest = &bytes[at..];
        let (next, step) = match self {
            Context::Plain => enter(bytes, at),
            Context::Quoted { escapes: true, .. } if rest[0] == b'\\' => return 2,
            Context::Quoted { quote, .. } if rest.starts_with(&[*quote, *quote]) => return 2,
            Context::Quoted { quote, .. } if rest[0] == *quote => (Context::Plain, 1),
            Context::LineComment if rest[0] == b'\n' => (Context::Plain, 1),
            Context::BlockComment { depth } if rest.starts_with(b"/*") => {
                (Context::BlockComment { depth: *depth + 1 }, 2)
            }
            Context::BlockComment { depth: 1 } if rest.starts_with(b"*/") => (Context::Plain, 2),
            Context::BlockComment { depth } if rest.starts_with(b"*/") => {
                (Context::BlockComment { depth: *depth - 1 }, 2)
            }
            Context::Dollar { tag } if rest.starts_with(tag.as_bytes()) => (Context::Plain, tag.len()),
            _ => return 1,
        };
        *self = next;
        step
    }
}

/// What starts at `at` in plain text, and how many bytes its start takes.
fn enter(bytes: &[u8], at: usize) -> (Context, usize) {
    let rest = &bytes[at..];
    match rest[0] {
        b'-' if rest.starts_with(b"--") => (Context::LineComment, 2),
        b'/' if rest.starts_with(b"/*") => (Context::BlockComment { depth: 1 }, 2),
        b'\'' => (Context::Quoted { quote: b'\'', escapes: is_escape_string(&bytes[..at]) }, 1),
        quote @ (b'"' | b'`') => (Context::Quoted { quote, escapes: false }, 1),
        b'$' if !ends_in_word(&bytes[..at]) => match dollar_tag(rest) {
            Some(tag) => {
                let length = tag.len();
                (Context::Dollar { tag }, length)
            }
            None => (Context::Plain, 1),
        },
        _ => (Context::Plain, 1),
    }
}

/// Whether the quote after `before` belongs to an `E` and not to a longer word that ends in one.
fn is_escape_string(before: &[u8]) -> bool {
    matches!(before, [head @ .., b'e' | b'E'] if !ends_in_word(head))
}

fn ends_in_word(text: &[u8]) -> bool {
    text.last().is_some_and(|&byte| is_word(byte))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// `$$` or `$name$`; a parameter such as `$1` is neither.
fn dollar_tag(text: &[u8]) -> Option<String> {
    let name = text[1..].iter().take_while(|&&byte| is_word(byte)).count();
    let starts_like_a_name = name == 0 || !text[1].is_ascii_digit();
    let tag = text.get(..name + 2).filter(|tag| starts_like_a_name && tag.ends_with(b"$"))?;
    Some(String::from_utf8_lossy(tag).into_owned())
}

/// The first word of a statement, behind any comments.
pub fn first_word(text: &str) -> &str {
    let mut rest = text.trim_start();
    loop {
        let after_comment = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map(|(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map(|(_, after)| after)
        } else {
            return rest.split(|char: char| !char.is_alphanumeric()).next().unwrap_or("");
        };
        rest = after_comment.unwrap_or("").trim_start();
    }
}

fn trimmed(text: &str, line: u64) -> Statement {
    let start = text.trim_start();
    let blank = &text[..text.len() - start.len()];
    Statement { text: start.trim_end().to_owned(), line: line + count_lines(blank) }
}

fn count_lines(text: &str) -> u64 {
    text.bytes().filter(|&byte| byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Statements, and what is left over without a semicolon.
    fn split(text: &str) -> (Vec<String>, Option<String>) {
        let mut splitter = Splitter::default();
        text.lines().for_each(|line| splitter.push_line(line));
        let mut statements = vec![];
        while let Some(statement) = splitter.next_statement() {
            statements.push(statement.text);
        }
        (statements, splitter.finish().map(|statement| statement.text))
    }

    #[track_caller]
    fn is_one_statement(text: &str) {
        assert_eq!(split(&format!("{text};")), (vec![text.to_owned()], None));
    }

    #[test]
    fn statements_end_at_semicolons() {
        assert_eq!(split("SELECT 1; SELECT 2 ;"), (vec!["SELECT 1".into(), "SELECT 2".into()], None));
        assert_eq!(split("SELECT 1;\nSELECT 2"), (vec!["SELECT 1".into()], Some("SELECT 2".into())));
        assert_eq!(split(""), (vec![], None));
    }

    #[test]
    fn semicolons_inside_quotes_do_not_count() {
        is_one_statement("SELECT 'a;b'");
        is_one_statement("SELECT 'it''s;'");
        is_one_statement(r#"SELECT "a;""b""#);
        is_one_statement("SELECT `a;b`");
        is_one_statement(r"SELECT E'it\';s'");
        is_one_statement(r"SELECT e'a'';\';b'");
        is_one_statement("SELECT 'ü;ß', 1");
    }

    #[test]
    fn a_backslash_means_nothing_in_a_plain_string() {
        assert_eq!(split(r"SELECT 'a\'; SELECT 2;").0, [r"SELECT 'a\'", "SELECT 2"]);
        assert_eq!(split(r"SELECT date'a\'; SELECT 2;").0, [r"SELECT date'a\'", "SELECT 2"]);
    }

    #[test]
    fn semicolons_inside_comments_do_not_count() {
        is_one_statement("SELECT 1 -- one; two\n+ 2");
        is_one_statement("SELECT /* ; /* ; */ ; */ 1");
        is_one_statement("SELECT 4 - -- ; \n 1");
    }

    #[test]
    fn semicolons_inside_dollar_quotes_do_not_count() {
        is_one_statement("SELECT $$a;b$$");
        is_one_statement("SELECT $f$ a; $$ ; $g$ ; $f$");
        assert_eq!(split("SELECT $1; SELECT a$b$; SELECT 2;").0.len(), 3);
        assert_eq!(split("SELECT $; SELECT 2;").0.len(), 2);
    }

    #[test]
    fn what_has_no_content_is_no_statement() {
        assert_eq!(split(";;\n ; -- nothing;\n /* here; */ ;"), (vec![], None));
        assert_eq!(split("-- only a comment"), (vec![], None));
    }

    #[test]
    fn a_comment_before_a_statement_stays_with_it() {
        assert_eq!(split("-- why\nSELECT 1;").0, ["-- why\nSELECT 1"]);
    }

    #[test]
    fn the_first_word_is_behind_the_comments() {
        for text in ["SET x = 1", " -- a\n/* b */ SET x", "SET;", "/**/SET"] {
            assert_eq!(first_word(text), "SET");
        }
        for text in ["", "-- only", "/* open", "(1)"] {
            assert_eq!(first_word(text), "");
        }
    }

    #[test]
    fn lines_are_counted_through_the_source() {
        let mut splitter = Splitter::default();
        for line in ["", "SELECT 1;", "", "SELECT", "  x; SELECT 2;"] {
            splitter.push_line(line);
        }
        let lines: Vec<u64> =
            std::iter::from_fn(|| splitter.next_statement()).map(|statement| statement.line).collect();
        assert_eq!(lines, [2, 4, 5]);
        let statement = Statement { text: "SELECT\n  x".into(), line: 4 };
        assert_eq!(statement.place_in_source(Place { line: 2, column: 3 }), Place { line: 5, column: 3 });
    }

    #[test]
    fn an_open_construct_is_not_between_statements() {
        for open in ["SELECT 1", "'a", "/* x", "$$ a", "SELECT 1; SELECT"] {
            let mut splitter = Splitter::default();
            splitter.push_line(open);
            while splitter.next_statement().is_some() {}
            assert!(!splitter.is_between_statements(), "{open}");
        }
        for closed in ["", "  ", "-- x", "/* x */", "SELECT 1;", "SELECT 1; -- done"] {
            let mut splitter = Splitter::default();
            splitter.push_line(closed);
            while splitter.next_statement().is_some() {}
            assert!(splitter.is_between_statements(), "{closed}");
        }
    }

    #[test]
    fn feeding_line_by_line_gives_what_feeding_at_once_gives() {
        let text = "SELECT 'a\n;b' /* ;\n */ ;\n$x$ \n ; $x$;\nSELECT 3";
        let mut splitter = Splitter::default();
        let mut statements = vec![];
        for line in text.lines() {
            splitter.push_line(line);
            while let Some(statement) = splitter.next_statement() {
                statements.push(statement.text);
            }
        }
        assert_eq!((statements, splitter.finish().map(|statement| statement.text)), split(text));
    }
}
