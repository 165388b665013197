//! The demo's second part: SQL over a feed while it runs.

use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, UInt64Type};
use polarway_client::Client;
use polarway_common::Error;

use super::feed::Feed;
use super::report;
use crate::sql::session::human;

/// How often it is looked at the feed, and how long that is waited for.
const LOOKS: u32 = 8;
const PAUSE: Duration = Duration::from_secs(1);

const COUNT: &str = "SELECT count(*) AS rows, count(DISTINCT id) AS distinct_ids, \
                     cast(date_part('epoch', now() - max(at)) * 1e6 AS BIGINT) AS behind FROM trades";
const HELD: &str = "SELECT hot_rows, sealed_rows, files FROM system.streams WHERE stream_name = 'trades'";
const RECENT: &str = "SELECT symbol, count(*) AS trades, round(min(price), 2) AS low, round(max(price), 2) AS high, \
                      round(sum(price * quantity) / sum(quantity), 2) AS vwap\n\
                      FROM trades WHERE at > now() - interval '2 seconds' GROUP BY symbol ORDER BY symbol";

/// One look at the stream.
struct Look {
    rows: u64,
    distinct: u64,
    /// From the newest trade's own time to the query's.
    behind: Duration,
    took: Duration,
    hot: u64,
    sealed: u64,
    files: u64,
}

/// Makes a stream of the feed, asks it while it runs, and drops it.
pub async fn play(
    client: &Client,
    feed: &Feed,
    say: &mut dyn FnMut(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    let statement = feed.statement();
    say(&format!(
        "\nA feed of trades, fetched by a process that takes rows and nothing else:\n\n{statement};\n\n"
    ))?;
    all(client, &statement).await?;
    say("   sent   in the table    in memory   in files      count took   newest row\n")?;
    for _ in 0..LOOKS {
        tokio::time::sleep(PAUSE).await;
        let sent = feed.sent();
        let look = look(client).await?;
        if look.rows != look.distinct {
            return Err(Error::internal(format!("{} rows have {} ids", look.rows, look.distinct)));
        }
        say(&format!(
            "{sent:>8}  {:>12}  {:>11}  {:>9} in {:<2} {:>9}   {} old\n",
            look.rows,
            look.hot,
            look.sealed,
            look.files,
            human(look.took),
            human(look.behind)
        ))?;
    }
    let started = Instant::now();
    let recent = all(client, RECENT).await?;
    say(&format!("\n{RECENT};\n{}{}\n", report::table(&recent)?, human(started.elapsed())))?;
    all(client, "DROP STREAM trades").await.map(drop)
}

async fn look(client: &Client) -> Result<Look, Error> {
    let started = Instant::now();
    let counted = all(client, COUNT).await?;
    let took = started.elapsed();
    let held = all(client, HELD).await?;
    let number = |batch: &RecordBatch, column: usize| -> Option<u64> {
        let values = batch.columns().get(column)?;
        if values.is_empty() || values.is_null(0) {
            return None;
        }
        match values.as_primitive_opt::<UInt64Type>() {
            Some(values) => Some(values.value(0)),
            None => u64::try_from(values.as_primitive_opt::<Int64Type>()?.value(0)).ok(),
        }
    };
    let of = |batch: &RecordBatch, column| number(batch, column).unwrap_or_default();
    Ok(Look {
        rows: of(&counted, 0),
        distinct: of(&counted, 1),
        behind: Duration::from_micros(of(&counted, 2)),
        took,
        hot: of(&held, 0),
        sealed: of(&held, 1),
        files: of(&held, 2),
    })
}

/// All rows of a statement.
async fn all(client: &Client, sql: &str) -> Result<RecordBatch, Error> {
    let mut result = client.execute(sql).await?;
    let mut batches = vec![];
    while let Some(batch) = result.next_batch().await? {
        batches.push(batch);
    }
    concat_batches(result.schema(), &batches).map_err(|error| Error::internal(error.to_string()))
}
