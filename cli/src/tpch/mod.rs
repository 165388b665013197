//! `polarway tpch`: TPC-H data as Parquet files.

mod plan;
mod table;
mod write;

use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use polarway_common::{Error, ErrorKind, machine};
use tokio_util::sync::CancellationToken;

pub use plan::{Plan, table_directory};
pub use table::Table;
pub use write::{GenerateError, Written};

use crate::args::TpchArgs;
use crate::interrupt::Interrupts;
use crate::sql::exit;
use crate::sql::session::human;
use crate::terminal;

pub async fn run(args: TpchArgs) -> Result<u8, Error> {
    let TpchArgs { scale_factor, output, parts, tables } = args;
    let started = Instant::now();
    let plan = Plan { scale_factor, output, parts, tables };
    match generate(plan, Interrupts::any().next()).await {
        Ok(written) => {
            // A reader that has gone away is content.
            let _ = terminal::print(&summary(&written, &human(started.elapsed())));
            Ok(exit::OK)
        }
        Err(GenerateError::Interrupted) => {
            terminal::complain("interrupted; unfinished files are removed\n");
            Ok(exit::INTERRUPTED)
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes the data with as many threads as there are cores and shows progress on a terminal. When `stop` completes
/// first, the threads end before this returns.
pub async fn generate(plan: Plan, stop: impl Future<Output = ()>) -> Result<Vec<Written>, GenerateError> {
    let token = CancellationToken::new();
    let bar = progress_bar(plan.rows());
    let mut work = tokio::task::spawn_blocking({
        let (token, bar) = (token.clone(), bar.clone());
        move || write::write_all(&plan, machine::cores(), &token, |rows| bar.inc(rows))
    });
    let outcome = tokio::select! {
        outcome = &mut work => outcome,
        () = stop => {
            token.cancel();
            work.await
        }
    };
    bar.finish_and_clear();
    outcome.unwrap_or(Err(GenerateError::Thread))
}

fn progress_bar(rows: u64) -> Arc<ProgressBar> {
    // Drawn only if standard error is a terminal.
    let bar = ProgressBar::with_draw_target(Some(rows), ProgressDrawTarget::stderr());
    if let Ok(style) =
        ProgressStyle::with_template("{elapsed_precise} {wide_bar} {human_pos}/{human_len} rows")
    {
        bar.set_style(style);
    }
    Arc::new(bar)
}

/// One line a table and one for all.
pub fn summary(written: &[Written], elapsed: &str) -> String {
    let mut text = String::new();
    let mut line = |name: &str, files: &[&Written]| {
        let rows = HumanCount(files.iter().map(|file| file.rows).sum()).to_string();
        let bytes = HumanBytes(files.iter().map(|file| file.bytes).sum()).to_string();
        let noun = if files.len() == 1 { "file" } else { "files" };
        let _ = writeln!(text, "{name:<10} {rows:>15} rows  {bytes:>11}  in {} {noun}", files.len());
    };
    for table in Table::ALL {
        let files: Vec<_> = written.iter().filter(|file| file.table == table).collect();
        if !files.is_empty() {
            line(table.name(), &files);
        }
    }
    line("all", &written.iter().collect::<Vec<_>>());
    let _ = writeln!(text, "made in {elapsed}");
    text
}

impl From<GenerateError> for Error {
    fn from(error: GenerateError) -> Self {
        let kind = match &error {
            GenerateError::NotEmpty(_) => ErrorKind::AlreadyExists,
            GenerateError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                ErrorKind::PermissionDenied
            }
            GenerateError::Interrupted => ErrorKind::Cancelled,
            GenerateError::Io { .. }
            | GenerateError::Parquet { .. }
            | GenerateError::Rows { .. }
            | GenerateError::Thread => ErrorKind::Internal,
        };
        Error::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_adds_a_tables_files_up() {
        let file = |table, rows| Written { table, rows, bytes: 1024 };
        let text =
            summary(&[file(Table::Orders, 1000), file(Table::Nation, 25), file(Table::Orders, 500)], "1.0 s");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(
            lines[0].starts_with("orders")
                && lines[0].contains("1,500 rows")
                && lines[0].ends_with("2 files")
        );
        assert!(lines[1].starts_with("nation") && lines[1].ends_with("1 file"));
        assert!(lines[2].starts_with("all") && lines[2].contains("1,525 rows"));
    }
}
