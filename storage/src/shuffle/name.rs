//! Names of objects.

use std::fmt;
use std::str::FromStr;

/// Whether a text is a plain id, which is what queries and writers are called: letters, digits, `_`, `-`, for writers
/// also `.` and `@` after the first character.
///
/// What is none could reach into another query's prefix.
pub fn is_plain(id: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    id.starts_with(letter) && id.chars().all(|c| letter(c) || matches!(c, '.' | '@'))
}

/// The name of an object: `{run}/{writer}/{seq:08}.pack`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectName {
    pub run: String,
    /// An executor's incarnation, so that no two processes write the same name.
    pub writer: String,
    /// Counts what the writer writes.
    pub seq: u32,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{:08}.pack", self.run, self.writer, self.seq)
    }
}

impl FromStr for ObjectName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parse = || {
            let (run, rest) = text.split_once('/')?;
            let (writer, file) = rest.split_once('/')?;
            let seq = file.strip_suffix(".pack")?.parse().ok()?;
            let name = Self { run: run.to_owned(), writer: writer.to_owned(), seq };
            (is_plain(run) && is_plain(writer) && name.to_string() == text).then_some(name)
        };
        parse().ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back() {
        let name = ObjectName { run: "q-1".into(), writer: "executor-0@17".into(), seq: 12 };
        assert_eq!(name.to_string(), "q-1/executor-0@17/00000012.pack");
        assert_eq!(name.to_string().parse(), Ok(name));
        for other in [
            "q-1/w/12.pack",
            "q-1/w/00000012",
            "q-1/00000012.pack",
            "../w/00000012.pack",
            "q/a/b/00000012.pack",
        ] {
            assert_eq!(other.parse::<ObjectName>(), Err(()), "{other}");
        }
    }

    #[test]
    fn what_could_leave_the_prefix_is_not_plain() {
        assert!(["q", "q-1_B", "executor-0@1.5"].into_iter().all(is_plain));
        assert!(!["", ".", "..", "a/b", "a b", "a%2F", "ä"].into_iter().any(is_plain));
    }
}
