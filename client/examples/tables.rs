//! Rows of this process become a table; what verbs make of it becomes Parquet files, and the result of a job.
//!
//! The directory or URL that is given is one that the servers may write to.
//!
//! ```sh
//! POLARWAY_ENDPOINT=localhost:50051 cargo run -p polarway-client --example tables -- s3://lake/ticks/
//! ```

#![allow(clippy::print_stdout)]

use std::env;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow::error::ArrowError;
use arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;
use polarway_client::{Client, ClientOptions, IngestMode, Written, col, lit};
use polarway_common::{Error, ErrorKind};

const TABLE: &str = "example_ticks";
/// How long the outcome of a job is kept.
const KEEP: Duration = Duration::from_secs(3600);

#[tokio::main]
async fn main() -> Result<(), Error> {
    let endpoint = env::var("POLARWAY_ENDPOINT").unwrap_or_else(|_| "localhost:50051".to_owned());
    let Some(output) = env::args().nth(1) else {
        return Err(Error::new(ErrorKind::Configuration, "no directory to write to was given"));
    };
    let client = Client::connect(ClientOptions::to(endpoint.parse()?)).await?;
    let (written, rows) = run(&client, &output).await?;
    println!("{} rows in {} files; the job gave {rows} rows", written.rows, written.files);
    Ok(())
}

/// Gives what was written, and how many rows the job gave.
pub async fn run(client: &Client, output: &str) -> Result<(Written, usize), Error> {
    let rows = client.ingest(TABLE, None, IngestMode::Replace, ticks().map_err(of_arrow)?).await?;
    println!("{rows} rows in the table {TABLE}");

    let dear = client.table(TABLE).filter(col("price").gt(10) & col("symbol").is_in(["BTC", "ETH"]));
    let written = dear.write_parquet(output, &["day"]).await?;

    let days = client.read_parquet(output).group_by([col("day"), col("symbol")]);
    let days = days.agg([("ticks", lit(1).count()), ("high", col("price").max())]);
    let days = days.sort([col("day").asc(), col("symbol").asc()]);
    println!("{}", days.to_sql()?);

    // It goes on whatever becomes of this process; whoever has the id can ask for it.
    let job = client.submit(&days.to_sql()?, None, KEEP).await?;
    let batches: Vec<RecordBatch> = client.job_rows(&job).await?.try_collect().await?;
    let state = client.job(&job).await?.state;
    println!("the job {job} is {state:?}");
    println!("{}", pretty_format_batches(&batches).map_err(of_arrow)?);
    Ok((written, batches.iter().map(RecordBatch::num_rows).sum()))
}

/// Three symbols, on two days, at a hundred prices from 0 on.
fn ticks() -> Result<RecordBatch, ArrowError> {
    let numbers = 0..600_u32;
    let symbols = numbers.clone().map(|number| ["BTC", "ETH", "it's"][number as usize % 3]);
    let days = numbers.clone().map(|number| if number % 2 == 0 { "2026-11-29" } else { "2026-11-30" });
    let prices = numbers.map(|number| f64::from(number / 6));
    let symbol: ArrayRef = Arc::new(StringArray::from_iter_values(symbols));
    let day: ArrayRef = Arc::new(StringArray::from_iter_values(days));
    let price: ArrayRef = Arc::new(Float64Array::from_iter_values(prices));
    RecordBatch::try_from_iter([("symbol", symbol), ("day", day), ("price", price)])
}

fn of_arrow(error: ArrowError) -> Error {
    Error::internal(error.to_string())
}
