//! The interactive prompt.

use std::path::{Path, PathBuf};

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Behavior, Completer, Config, Editor, Helper, Highlighter, Hinter};

use super::exit;
use super::meta;
use super::script::{self, End, Lines};
use super::session::Session;
use super::split::Splitter;
use crate::terminal;

const PROMPT: &str = "polarway> ";

/// Lets a statement go on over lines until its semicolon.
#[derive(Completer, Helper, Highlighter, Hinter)]
struct SqlHelper;

impl Validator for SqlHelper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let complete = is_complete(context.input());
        Ok(if complete { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

fn is_complete(input: &str) -> bool {
    if meta::is_meta(input) {
        return true;
    }
    let mut splitter = Splitter::default();
    input.lines().for_each(|line| splitter.push_line(line));
    while splitter.next_statement().is_some() {}
    splitter.is_between_statements()
}

/// Reads and runs inputs until the user quits; returns the exit code.
pub async fn run(session: &mut Session, history: Option<PathBuf>) -> u8 {
    let mut editor = match editor(history.as_deref()) {
        Ok(editor) => editor,
        Err(error) => {
            terminal::complain(&format!("error: cannot use this terminal: {error}\n"));
            return exit::USAGE;
        }
    };
    loop {
        // The editor blocks; results and the connection are served by other threads meanwhile.
        let input = tokio::task::block_in_place(|| editor.readline(PROMPT));
        let input = match input {
            Ok(input) => input,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return exit::OK,
            Err(error) => {
                terminal::complain(&format!("error: cannot read from this terminal: {error}\n"));
                return exit::USAGE;
            }
        };
        if input.trim().is_empty() {
            continue;
        }
        remember(&mut editor, &input, history.as_deref());
        session.forget_interrupts();
        if script::run(session, Lines::of_text(&input), None).await == Err(End::Quit) {
            return exit::OK;
        }
    }
}

fn editor(history: Option<&Path>) -> rustyline::Result<Editor<SqlHelper, FileHistory>> {
    let config = Config::builder().history_ignore_space(true).behavior(Behavior::PreferTerm).build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(SqlHelper));
    if let Some(path) = history {
        // There is none before the first session.
        let _ = editor.load_history(path);
    }
    Ok(editor)
}

fn remember(editor: &mut Editor<SqlHelper, FileHistory>, input: &str, history: Option<&Path>) {
    // A history that cannot be kept takes nothing from the session.
    let _ = editor.add_history_entry(input.trim_end());
    if let Some(path) = history
        && let Err(error) = editor.append_history(path)
    {
        tracing::debug!(%error, path = %path.display(), "history");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_complete_at_its_semicolon_or_as_a_command() {
        for complete in ["SELECT 1;", "\\d", "", "  ", "-- note", "SELECT 1; SELECT\n2;", "SELECT ';';"] {
            assert!(is_complete(complete), "{complete}");
        }
        for open in ["SELECT 1", "SELECT ';'", "SELECT 1; SELECT 2", "/* ;", "SELECT $$ ;"] {
            assert!(!is_complete(open), "{open}");
        }
    }
}
