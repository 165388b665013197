//! Runs statements and writes their results.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use polarway_client::{Client, QueryHandle, QueryStream};
use polarway_common::Error;

use super::output::{Output, OutputError};
use super::progress::Progress;
use super::split::first_word;
use crate::interrupt::Interrupts;
use crate::terminal;

/// How long to wait for the server's word that a statement was cancelled.
const CANCEL_WAIT: Duration = Duration::from_secs(2);

/// Why a statement did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Query(#[from] Error),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("cancelled")]
    Interrupted,
}

/// What is told beside the results.
#[derive(Debug, Clone, Copy)]
pub struct Show {
    /// The line below a result.
    pub footer: bool,
    /// Time and route in that line.
    pub timing: bool,
    /// Progress of long statements.
    pub progress: bool,
}

pub struct Session {
    client: Client,
    pub output: Output,
    pub show: Show,
    interrupts: Interrupts,
}

impl Session {
    pub fn new(client: Client, output: Output, show: Show) -> Self {
        Self { client, output, show, interrupts: Interrupts::ctrl_c() }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Completes when Ctrl-C was pressed and no statement took notice of it.
    pub async fn interrupted(&mut self) {
        self.interrupts.next().await;
    }

    /// Forgets a Ctrl-C that came after the statement it was meant for had ended.
    pub fn forget_interrupts(&mut self) {
        self.interrupts = Interrupts::ctrl_c();
    }

    /// Runs one statement to its end. Ctrl-C cancels it.
    pub async fn run(&mut self, sql: &str) -> Result<(), Failure> {
        let started = Instant::now();
        let Self { client, output, show, interrupts } = self;
        let progress = show.progress.then(Progress::start);
        let mut query = Query::plan(client, interrupts, progress, sql).await?;
        let first = query.next().await?;
        let schema = first.as_ref().map_or_else(|| query.result.schema().clone(), RecordBatch::schema);
        let tag = first.as_ref().and_then(|batch| command_tag(sql, batch));
        let has_rows = tag.is_none() && !schema.fields().is_empty();
        let mut rows = 0;
        if has_rows {
            if !output.is_file() && terminal::stdout_is_terminal() {
                query.progress = None;
            }
            let mut writer = output.begin(&schema)?;
            let mut batch = first;
            while let Some(some) = batch {
                rows += some.num_rows();
                writer.batch(&some)?;
                batch = query.next().await?;
            }
            query.progress = None;
            writer.finish()?;
        } else {
            while query.next().await?.is_some() {}
            query.progress = None;
        }
        if show.footer {
            let told =
                if has_rows { Told::Rows(rows) } else { Told::Command(tag.unwrap_or("OK".to_owned())) };
            let timing = show.timing.then(|| (started.elapsed(), query.result.route()));
            terminal::complain(&footer(&told, timing));
        }
        Ok(())
    }
}

/// A statement while it runs.
struct Query<'a> {
    client: &'a Client,
    interrupts: &'a mut Interrupts,
    progress: Option<Progress>,
    result: QueryStream,
}

impl<'a> Query<'a> {
    async fn plan(
        client: &'a Client,
        interrupts: &'a mut Interrupts,
        mut progress: Option<Progress>,
        sql: &str,
    ) -> Result<Self, Failure> {
        let result = tokio::select! {
            biased;
            () = interrupts.next() => return Err(Failure::Interrupted),
            planned = client.execute(sql) => planned?,
            never = watch(&mut progress, client, None) => match never {},
        };
        Ok(Self { client, interrupts, progress, result })
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>, Failure> {
        let handle = self.result.handle().clone();
        tokio::select! {
            biased;
            () = self.interrupts.next() => {
                cancel(self.client, &handle).await;
                Err(Failure::Interrupted)
            }
            batch = self.result.next_batch() => Ok(batch?),
            never = watch(&mut self.progress, self.client, Some(&handle)) => match never {},
        }
    }
}

/// Never completes; a statement without progress to show waits for its result alone.
async fn watch(progress: &mut Option<Progress>, client: &Client, query: Option<&QueryHandle>) -> Infallible {
    match progress {
        Some(progress) => progress.watch(client, query.map(QueryHandle::query_id)).await,
        None => std::future::pending().await,
    }
}

async fn cancel(client: &Client, query: &QueryHandle) {
    // Whatever the answer, dropping the result's stream tells the server too.
    if let Ok(Err(error)) = tokio::time::timeout(CANCEL_WAIT, client.cancel(query)).await {
        tracing::debug!(%error, query = query.query_id(), "cancel");
    }
}

/// What a command such as `SET` or `CREATE TABLE` answers: its own name, as a table of one row. It is no result to
/// print or to put into a file.
fn command_tag(sql: &str, batch: &RecordBatch) -> Option<String> {
    let schema = batch.schema();
    let is_status =
        batch.num_rows() == 1 && matches!(schema.fields().as_ref(), [one] if one.name() == "status");
    let tag = batch.columns().first().filter(|_| is_status)?.as_string_opt::<i32>()?.value(0);
    let names_itself = first_word(tag).eq_ignore_ascii_case(first_word(sql));
    names_itself.then(|| tag.to_owned())
}

/// What a statement came to.
enum Told {
    Rows(usize),
    Command(String),
}

/// `(25 rows, 3.1 ms, direct)` or `CREATE VIEW (3.1 ms)`.
fn footer(told: &Told, timing: Option<(Duration, &str)>) -> String {
    match (told, timing.map(|(elapsed, route)| (human(elapsed), route))) {
        (Told::Rows(rows), Some((elapsed, route))) => {
            format!("({rows} {}, {elapsed}, {route})\n", noun(*rows))
        }
        (Told::Rows(rows), None) => format!("({rows} {})\n", noun(*rows)),
        (Told::Command(tag), Some((elapsed, _))) => format!("{tag} ({elapsed})\n"),
        (Told::Command(tag), None) => format!("{tag}\n"),
    }
}

fn noun(rows: usize) -> &'static str {
    if rows == 1 { "row" } else { "rows" }
}

/// A duration with three digits or so: `3.1 ms`, `2.46 s`, `3 min 05 s`.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 60.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{} min {:02} s", duration.as_secs() / 60, duration.as_secs() % 60)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};

    use super::*;

    #[test]
    fn the_footer_counts_rows_and_names_the_route() {
        let timing = Some((Duration::from_micros(3100), "direct"));
        assert_eq!(footer(&Told::Rows(25), timing), "(25 rows, 3.1 ms, direct)\n");
        assert_eq!(footer(&Told::Rows(1), None), "(1 row)\n");
        assert_eq!(footer(&Told::Command("SET".into()), timing), "SET (3.1 ms)\n");
        assert_eq!(footer(&Told::Command("OK".into()), None), "OK\n");
    }

    #[test]
    fn a_commands_answer_is_told_from_a_result() {
        let batch = |column: &str, value: &str| {
            let values: ArrayRef = Arc::new(StringArray::from(vec![value]));
            RecordBatch::try_from_iter([(column, values)]).unwrap()
        };
        let tag = |sql: &str, batch: &RecordBatch| command_tag(sql, batch);
        assert_eq!(
            tag("-- x\ncreate view v as ...", &batch("status", "CREATE VIEW")),
            Some("CREATE VIEW".into())
        );
        assert_eq!(tag("SELECT status FROM t", &batch("status", "CREATE VIEW")), None);
        assert_eq!(tag("SET x = 1", &batch("other", "SET")), None);
        assert_eq!(tag("SET x = 1", &batch("status", "SET").slice(0, 0)), None);
    }

    #[test]
    fn durations_read_easily() {
        assert_eq!(human(Duration::from_millis(999)), "999.0 ms");
        assert_eq!(human(Duration::from_millis(2456)), "2.46 s");
        assert_eq!(human(Duration::from_secs(185)), "3 min 05 s");
    }
}
