//! Many files at once, of which some may be missing or damaged: errors are values beside those of the others.
//!
//! ```sh
//! POLARWAY_ENDPOINT=localhost:50051 cargo run -p polarway-client --example batch_processing -- a.parquet b.csv
//! ```

#![allow(clippy::print_stdout)]

use std::env;
use std::time::Duration;

use arrow::array::RecordBatch;
use polarway_client::{Client, ClientOptions, Sequence, Traverse};
use polarway_common::{Error, ErrorKind};

/// How long the files' handles last.
const TTL: Duration = Duration::from_secs(60);
/// How much is under way at once.
const LIMIT: usize = 8;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let endpoint = env::var("POLARWAY_ENDPOINT").unwrap_or_else(|_| "localhost:50051".to_owned());
    let paths: Vec<String> = env::args().skip(1).collect();
    if paths.is_empty() {
        return Err(Error::new(ErrorKind::Configuration, "no file was given"));
    }
    let client = Client::connect(ClientOptions::to(endpoint.parse()?)).await?;
    let (read, failed) = run(&client, &paths).await?;
    println!("{read} files were read, {failed} were not");
    Ok(())
}

/// Gives how many files could be read, and how many could not.
pub async fn run(client: &Client, paths: &[String]) -> Result<(usize, usize), Error> {
    let read = client.batch_read(paths, TTL, LIMIT).await;
    let (handles, errors) = read.partition_results();
    for error in &errors {
        println!("{}: {}", error.kind.reason(), error.message);
    }
    let heads = handles.iter().map(|handle| client.frame(handle).limit(5));
    // From here on one error is the error of all.
    let heads = client.batch_collect(heads, LIMIT).await.sequence()?;
    for (handle, head) in handles.iter().zip(&heads) {
        let columns: Vec<&str> = handle.columns.iter().map(|(name, _)| name.as_str()).collect();
        let rows: usize = head.iter().map(RecordBatch::num_rows).sum();
        println!("{}: the first {rows} rows of {}", handle.id, columns.join(", "));
    }
    let (succeeded, failed) = (handles.len(), errors.len());
    let closing = handles.traverse_async(LIMIT, |handle| {
        let client = client.clone();
        async move { client.close_handle(&handle.id).await }
    });
    closing.await?;
    Ok((succeeded, failed))
}
