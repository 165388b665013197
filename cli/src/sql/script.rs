//! Runs the statements and commands of a text, in order, up to the first that fails.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use tokio::io::{AsyncBufReadExt, Stdin};

use super::exit;
use super::meta::{self, Meta};
use super::output::OutputError;
use super::render::render;
use super::session::{Failure, Session};
use super::split::{Splitter, Statement};
use crate::terminal;

/// Files that include files go no deeper.
const MAX_DEPTH: usize = 16;

/// Why a run ended before its text did. What had to be said about it has been said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `\q`, or nobody reads standard output any more.
    Quit,
    /// With this exit code.
    Failed(u8),
}

/// Where lines come from.
pub enum Lines {
    Text(std::vec::IntoIter<String>),
    File(io::Lines<BufReader<File>>),
    Stdin(tokio::io::Lines<tokio::io::BufReader<Stdin>>),
}

impl Lines {
    pub fn of_text(text: &str) -> Self {
        Lines::Text(text.lines().map(str::to_owned).collect::<Vec<_>>().into_iter())
    }

    pub fn of_file(path: &Path) -> io::Result<Self> {
        Ok(Lines::File(BufReader::new(File::open(path)?).lines()))
    }

    pub fn of_stdin() -> Self {
        Lines::Stdin(tokio::io::BufReader::new(tokio::io::stdin()).lines())
    }

    async fn next(&mut self) -> io::Result<Option<String>> {
        match self {
            Lines::Text(lines) => Ok(lines.next()),
            Lines::File(lines) => lines.next().transpose(),
            Lines::Stdin(lines) => lines.next_line().await,
        }
    }
}

/// Runs `lines`. `source` names them in error messages.
pub async fn run(session: &mut Session, lines: Lines, source: Option<&str>) -> Result<(), End> {
    run_nested(session, lines, source, 0).await
}

async fn run_nested(
    session: &mut Session,
    mut lines: Lines,
    source: Option<&str>,
    depth: usize,
) -> Result<(), End> {
    let mut splitter = Splitter::default();
    loop {
        let line = tokio::select! {
            biased;
            () = session.interrupted() => return Err(End::Failed(exit::INTERRUPTED)),
            line = lines.next() => line,
        };
        let line = line.map_err(|error| {
            terminal::complain(&format!("error: cannot read {}: {error}\n", source.unwrap_or("the input")));
            End::Failed(exit::USAGE)
        })?;
        let Some(line) = line else { break };
        if splitter.is_between_statements() && meta::is_meta(&line) {
            run_meta(session, &line, source, depth).await?;
            // Keeps the line count right.
            splitter.push_line("");
            continue;
        }
        splitter.push_line(&line);
        while let Some(statement) = splitter.next_statement() {
            run_statement(session, &statement, source).await?;
        }
    }
    match splitter.finish() {
        Some(statement) => run_statement(session, &statement, source).await,
        None => Ok(()),
    }
}

async fn run_statement(
    session: &mut Session,
    statement: &Statement,
    source: Option<&str>,
) -> Result<(), End> {
    session.run(&statement.text).await.map_err(|failure| report(&failure, statement, source))
}

/// Tells the user about a failure and what it means for the run.
fn report(failure: &Failure, statement: &Statement, source: Option<&str>) -> End {
    match failure {
        Failure::Query(error) => {
            terminal::complain(&render(error, statement, source));
            End::Failed(exit::QUERY)
        }
        Failure::Output(error) if error.is_broken_pipe() => End::Quit,
        Failure::Output(error) => {
            terminal::complain(&format!("error: {error}\n"));
            End::Failed(if matches!(error, OutputError::ParquetNeedsFile) {
                exit::USAGE
            } else {
                exit::QUERY
            })
        }
        Failure::Interrupted => {
            terminal::complain("cancelled\n");
            End::Failed(exit::INTERRUPTED)
        }
    }
}

async fn run_meta(session: &mut Session, line: &str, source: Option<&str>, depth: usize) -> Result<(), End> {
    let command = meta::parse(line).map_err(|mistake| {
        terminal::complain(&format!("error: {mistake}\n"));
        End::Failed(exit::USAGE)
    })?;
    match command {
        Meta::Query(text) => run_statement(session, &Statement { text, line: 1 }, source).await?,
        Meta::Timing(on) => {
            session.show.timing = on.unwrap_or(!session.show.timing);
            session.show.footer |= session.show.timing;
            terminal::complain(if session.show.timing { "timing is on\n" } else { "timing is off\n" });
        }
        Meta::Format(format) => session.output.format = format,
        Meta::Output(file) => session.output.redirect(file),
        Meta::Include(path) => include(session, &path, depth).await?,
        Meta::Help => terminal::complain(&format!("{}\n", meta::HELP)),
        Meta::Quit => return Err(End::Quit),
    }
    Ok(())
}

async fn include(session: &mut Session, path: &Path, depth: usize) -> Result<(), End> {
    let name = path.display().to_string();
    if depth == MAX_DEPTH {
        terminal::complain(&format!(
            "error: {name} is included {MAX_DEPTH} files deep; does it include itself?\n"
        ));
        return Err(End::Failed(exit::USAGE));
    }
    let lines = Lines::of_file(path).map_err(|error| {
        terminal::complain(&format!("error: cannot read {name}: {error}\n"));
        End::Failed(exit::USAGE)
    })?;
    Box::pin(run_nested(session, lines, Some(&name), depth + 1)).await
}
