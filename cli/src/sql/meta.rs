//! The shell's own commands, which start with a backslash.

use std::path::PathBuf;

use super::format::Format;

/// A command to the shell rather than to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meta {
    /// Runs this SQL text in place of the command.
    Query(String),
    /// Shows times (`Some(true)`), hides them, or changes from one to the other.
    Timing(Option<bool>),
    Format(Format),
    /// Runs the statements of a file.
    Include(PathBuf),
    /// Sends results to a file, or back to standard output.
    Output(Option<PathBuf>),
    Help,
    Quit,
}

pub const HELP: &str = "\
Statements end with a semicolon and may span lines. Commands:
  \\d              list tables and views
  \\d NAME         describe the columns of a table or view
  \\dt             list tables only
  \\dn             list schemas
  \\format FORMAT  show results as table, csv, ndjson or parquet (the last needs \\o)
  \\i FILE         run the statements in a file
  \\o FILE         write results to a file; without FILE back to the screen
  \\timing [on|off]  show how long statements take
  \\q              quit (as does Ctrl-D)
  \\?              this help
Ctrl-C cancels the running statement, or clears the line.";

/// Whether a line is for the shell. Only the first line of an input can be.
pub fn is_meta(line: &str) -> bool {
    line.trim_start().starts_with('\\')
}

/// Reads a line that [`is_meta`].
///
/// # Errors
/// A sentence that says what is wrong with the command.
pub fn parse(line: &str) -> Result<Meta, String> {
    let line = line.trim().trim_end_matches(';').trim_end();
    let (name, argument) = match line.split_once(char::is_whitespace) {
        Some((name, argument)) => (name, Some(argument.trim()).filter(|argument| !argument.is_empty())),
        None => (line, None),
    };
    let bare = |meta: Meta| match argument {
        None => Ok(meta),
        Some(argument) => Err(format!("{name} takes no argument, but got `{argument}`")),
    };
    match name {
        "\\d" => {
            Ok(Meta::Query(argument.map_or_else(|| list_tables(None), |name| format!("DESCRIBE {name}"))))
        }
        "\\dt" => bare(Meta::Query(list_tables(Some("BASE TABLE")))),
        "\\dn" => bare(Meta::Query(LIST_SCHEMAS.to_owned())),
        "\\timing" => match argument {
            None => Ok(Meta::Timing(None)),
            Some("on") => Ok(Meta::Timing(Some(true))),
            Some("off") => Ok(Meta::Timing(Some(false))),
            Some(other) => Err(format!("\\timing takes `on` or `off`, not `{other}`")),
        },
        "\\format" => {
            let format = argument.ok_or("\\format needs a format: table, csv, ndjson or parquet")?;
            format.parse().map(Meta::Format)
        }
        "\\i" => argument.map(|path| Meta::Include(path.into())).ok_or_else(|| "\\i needs a file".to_owned()),
        "\\o" => Ok(Meta::Output(argument.map(PathBuf::from))),
        "\\q" => bare(Meta::Quit),
        "\\?" | "\\h" | "\\help" => bare(Meta::Help),
        other => Err(format!("unknown command `{other}`; \\? lists the commands")),
    }
}

const LIST_SCHEMAS: &str = "SELECT catalog_name, schema_name FROM information_schema.schemata \
    WHERE schema_name <> 'information_schema' ORDER BY catalog_name, schema_name";

fn list_tables(kind: Option<&str>) -> String {
    let kind = kind.map_or_else(String::new, |kind| format!(" AND table_type = '{kind}'"));
    format!(
        "SELECT table_catalog, table_schema, table_name, table_type FROM information_schema.tables \
         WHERE table_schema NOT IN ('information_schema', 'system'){kind} ORDER BY table_catalog, table_schema, table_name"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_the_help_is_understood() {
        for line in HELP.lines().filter(|line| line.starts_with("  \\")) {
            let command = line.trim().split("  ").next().unwrap();
            let command = command
                .replace("NAME", "t")
                .replace("FORMAT", "csv")
                .replace("FILE", "f.sql")
                .replace("[on|off]", "on");
            assert!(parse(&command).is_ok(), "{command}");
        }
    }

    #[test]
    fn names_are_described_as_written() {
        assert_eq!(parse("\\d \"My Table\";"), Ok(Meta::Query("DESCRIBE \"My Table\"".into())));
        assert_eq!(parse(" \\d s.t "), Ok(Meta::Query("DESCRIBE s.t".into())));
    }

    #[test]
    fn arguments_are_read() {
        assert_eq!(parse("\\timing"), Ok(Meta::Timing(None)));
        assert_eq!(parse("\\timing off"), Ok(Meta::Timing(Some(false))));
        assert_eq!(parse("\\format ndjson"), Ok(Meta::Format(Format::Ndjson)));
        assert_eq!(parse("\\i a b.sql"), Ok(Meta::Include("a b.sql".into())));
        assert_eq!(parse("\\o"), Ok(Meta::Output(None)));
        assert_eq!(parse("\\o x.csv"), Ok(Meta::Output(Some("x.csv".into()))));
    }

    #[test]
    fn mistakes_are_named() {
        for line in ["\\x", "\\i", "\\format", "\\format xml", "\\timing maybe", "\\q now", "\\"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
