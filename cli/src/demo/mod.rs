//! `polarway demo`: a cluster of processes at work on TPC-H data and on a feed, gone without a trace at the end.

mod child;
mod cluster;
mod feed;
mod live;
mod queries;
mod report;

use std::path::Path;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use polarway_client::{Client, ClientOptions};
use polarway_common::{Error, ErrorKind};
use tempfile::TempDir;

use crate::args::DemoArgs;
use crate::interrupt::Interrupts;
use crate::sql::exit;
use crate::sql::session::human;
use crate::terminal;
use crate::tpch::{self, GenerateError, Plan, Table, table_directory};
use cluster::{Allowed, Cluster};
use feed::Feed;
use queries::{DemoQuery, QUERIES};
use report::Outcome;

/// Rows of a result that are shown.
const HEAD_ROWS: usize = 5;

/// Why the demo ended before its end.
enum Stop {
    /// Ctrl-C, or nobody reads standard output any more.
    Unwanted,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Failed(error.into())
    }
}

pub async fn run(args: DemoArgs) -> Result<u8, Error> {
    let directory = tempfile::Builder::new()
        .prefix("polarway-demo-")
        .tempdir()
        .map_err(|error| Error::internal(format!("cannot create a temporary directory: {error}")))?;
    let mut interrupts = Interrupts::any();
    let outcome = perform(&args, directory.path(), &mut interrupts).await;
    let place = dispose(directory, args.keep)?;
    match outcome {
        Ok(()) => {
            // A reader that has gone away is content.
            let _ = terminal::print(&format!("\nAll processes have ended. {place}\n"));
            Ok(exit::OK)
        }
        Err(Stop::Unwanted) => {
            terminal::complain(&format!("\ninterrupted; all processes have ended. {place}\n"));
            Ok(exit::INTERRUPTED)
        }
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// Removes the directory or keeps it, and says which.
fn dispose(directory: TempDir, keep: bool) -> Result<String, Error> {
    if keep {
        return Ok(format!("Data and logs are kept in {}", directory.keep().display()));
    }
    let path = directory.path().to_owned();
    directory
        .close()
        .map_err(|error| Error::internal(format!("cannot remove {}: {error}", path.display())))?;
    Ok(format!("{} is removed.", path.display()))
}

/// Everything between the creation of the directory and its removal; no process outlives it.
async fn perform(args: &DemoArgs, base: &Path, interrupts: &mut Interrupts) -> Result<(), Stop> {
    let data = base.join("data");
    make_data(args, &data, interrupts).await?;
    let mut cluster = Cluster::default();
    let played = tokio::select! {
        played = play(args, base, &data, &mut cluster) => played,
        () = interrupts.next() => Err(Stop::Unwanted),
    };
    let stopped = tokio::select! {
        stopped = cluster.stop() => stopped.map_err(Stop::from),
        () = interrupts.next() => {
            cluster.kill();
            Err(Stop::Unwanted)
        }
    };
    played.and(stopped)
}

async fn make_data(args: &DemoArgs, data: &Path, interrupts: &mut Interrupts) -> Result<(), Stop> {
    say(&format!("Making TPC-H data of scale factor {} in {} ...\n", args.scale_factor, data.display()))?;
    let plan = Plan { scale_factor: args.scale_factor, output: data.to_owned(), parts: None, tables: vec![] };
    let started = Instant::now();
    match tpch::generate(plan, interrupts.next()).await {
        Ok(written) => say(&tpch::summary(&written, &human(started.elapsed()))),
        Err(GenerateError::Interrupted) => Err(Stop::Unwanted),
        Err(error) => Err(error.into()),
    }
}

async fn play(args: &DemoArgs, base: &Path, data: &Path, cluster: &mut Cluster) -> Result<(), Stop> {
    let feed = Feed::start().await?;
    say(&format!(
        "\nStarting one scheduler, {} executors and one process that takes rows ...\n",
        args.executors
    ))?;
    let started = Instant::now();
    let allowed = Allowed { data, feed: format!("ws://{}/", feed.address) };
    let listening = cluster.start(usize::from(args.executors), base, allowed).await?;
    for (name, id) in cluster.processes() {
        say(&format!("{name:<12} process {id}\n"))?;
    }
    let executors = cluster.executors();
    say(&format!(
        "ready after {}: SQL on {}{}\n",
        human(started.elapsed()),
        listening.grpc,
        listening.http.map_or_else(String::new, |http| format!(", health and metrics on http://{http}"))
    ))?;

    let client = Client::connect(ClientOptions::to(cluster::endpoint(listening)?)).await?;
    for table in Table::ALL {
        run_quietly(&client, &register(table, data)).await?;
    }
    let mut outcomes = vec![];
    for query in &QUERIES {
        let outcome = ask(&client, query).await?;
        say(&report::query(&outcome, &executors).map_err(|error| Error::internal(error.to_string()))?)?;
        outcomes.push(outcome);
    }
    say(&report::summary(&outcomes))?;
    let mut unwanted = false;
    let played = live::play(&client, &feed, &mut |text| match say(text) {
        Ok(()) => Ok(()),
        Err(Stop::Failed(error)) => Err(error),
        Err(Stop::Unwanted) => {
            unwanted = true;
            Err(Error::new(ErrorKind::Cancelled, "nobody reads the demo any more"))
        }
    })
    .await;
    let stopped = feed.stop().await;
    if unwanted {
        return Err(Stop::Unwanted);
    }
    Ok(played.and(stopped)?)
}

fn register(table: Table, data: &Path) -> String {
    let directory = table_directory(data, table).display().to_string().replace('\'', "''");
    format!("CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{directory}/'")
}

async fn run_quietly(client: &Client, sql: &str) -> Result<(), Error> {
    let mut result = client.execute(sql).await?;
    while result.next_batch().await?.is_some() {}
    Ok(())
}

async fn ask(client: &Client, query: &DemoQuery) -> Result<Outcome, Error> {
    run_quietly(client, &format!("SET polarway.route = '{}'", query.route)).await?;
    let started = Instant::now();
    let mut result = client.execute(query.statement()).await?;
    let mut rows = 0;
    let mut head: Vec<RecordBatch> = vec![];
    while let Some(batch) = result.next_batch().await? {
        if rows < HEAD_ROWS {
            head.push(batch.slice(0, batch.num_rows().min(HEAD_ROWS - rows)));
        }
        rows += batch.num_rows();
    }
    let elapsed = started.elapsed();
    let schema = head.first().map_or_else(|| result.schema().clone(), RecordBatch::schema);
    let head = concat_batches(&schema, &head).map_err(|error| {
        Error::internal(format!("the rows of {} do not fit together: {error}", query.name))
    })?;
    let progress = client.progress(result.query_id()).await?;
    let route = result.route().to_owned();
    Ok(Outcome { name: query.name, title: query.title, route, elapsed, rows, head, progress })
}

fn say(text: &str) -> Result<(), Stop> {
    match terminal::print(text) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Stop::Unwanted),
        Err(error) => Err(Stop::Failed(Error::new(
            ErrorKind::Internal,
            format!("cannot write to standard output: {error}"),
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_a_quote_is_registered_whole() {
        assert_eq!(
            register(Table::Orders, Path::new("/tmp/it's")),
            "CREATE EXTERNAL TABLE orders STORED AS PARQUET LOCATION '/tmp/it''s/orders/'"
        );
    }
}
