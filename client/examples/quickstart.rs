//! Connects, asks with a parameter, and reads the rows as they come.
//!
//! ```sh
//! POLARWAY_ENDPOINT=localhost:50051 cargo run -p polarway-client --example quickstart
//! ```

#![allow(clippy::print_stdout)]

use std::env;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::error::ArrowError;
use arrow::util::pretty::pretty_format_batches;
use polarway_client::{Client, ClientOptions};
use polarway_common::Error;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let endpoint = env::var("POLARWAY_ENDPOINT").unwrap_or_else(|_| "localhost:50051".to_owned());
    let client = Client::connect(ClientOptions::to(endpoint.parse()?)).await?;
    let rows = run(&client).await?;
    println!("{rows} rows");
    Ok(())
}

/// Gives how many rows there were.
pub async fn run(client: &Client) -> Result<usize, Error> {
    let least: ArrayRef = Arc::new(Int64Array::from(vec![990]));
    let parameters = RecordBatch::try_from_iter([("least", least)]).map_err(of_arrow)?;
    let sql = "SELECT value, value * value AS square FROM generate_series(1, 1000) WHERE value > $least";
    let mut stream = client.execute_with(sql, &parameters).await?;
    println!("query {} by the route {}", stream.query_id(), stream.route());
    let mut rows = 0;
    // One batch at a time: memory stays bounded, however many rows there are.
    while let Some(batch) = stream.next_batch().await? {
        rows += batch.num_rows();
        println!("{}", pretty_format_batches(&[batch]).map_err(of_arrow)?);
    }
    Ok(rows)
}

fn of_arrow(error: ArrowError) -> Error {
    Error::internal(error.to_string())
}
