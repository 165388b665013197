//! A client for Polarway's Flight SQL service.
//!
//! [`Client::connect`] opens a session, [`Client::execute`] plans a statement and gives a [`QueryStream`] of record
//! batches. Results that lie on several servers are read from them in parallel; memory stays bounded because every
//! reader waits for its consumer. Errors keep the kind, place and hint the server gave them.
//!
//! ```no_run
//! use polarway_client::{Client, ClientOptions};
//!
//! # async fn run() -> Result<(), polarway_common::Error> {
//! let client = Client::connect(ClientOptions::to("127.0.0.1:50051".parse()?)).await?;
//! let mut rows = client.execute("SELECT 1").await?;
//! while let Some(batch) = rows.next_batch().await? {
//!     assert_eq!(batch.num_columns(), 1);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! An address that begins with `https://` is one with TLS: the server has to prove its name, to the system's authorities or to
//! those in the file that [`ClientOptions::tls_ca`] names.
//!
//! A [`Frame`] composes a statement step by step, and quotes the names and values in it:
//!
//! ```no_run
//! use polarway_client::{Client, col, lit};
//!
//! # async fn run(client: Client) -> Result<(), polarway_common::Error> {
//! let ticks = client.read_parquet("data/ticks/").filter(col("symbol").eq("BTC"));
//! let days = ticks.group_by([col("day")]).agg([("ticks", lit(1).count()), ("high", col("price").max())]);
//! println!("{}", days.to_sql()?);
//! let batches = days.sort([col("day")]).collect().await?;
//! let written = ticks.write_parquet("out/btc/", &["day"]).await?;
//! # Ok(())
//! # }
//! ```

mod client;
mod credentials;
mod dialler;
mod endpoint;
mod frames;
mod functor;
mod handles;
mod ingest;
mod jobs;
mod options;
mod pool;
mod query;
mod reader;
mod servers;
mod session;
mod statement;
mod token;
mod trace;
mod transport;
mod traverse;

pub use client::{CancelOutcome, Client};
pub use endpoint::{DEFAULT_PORT, Endpoint};
pub use frames::{Column, Expr, Frame, Grouped, JoinKind, Named, On, SortKey, Written, col, lit, null, raw};
pub use functor::Functor;
pub use handles::Handle;
pub use ingest::{IngestMode, IngestRows};
pub use options::ClientOptions;
pub use polarway_proto::job::{JobError, JobInfo, JobOutcome};
pub use polarway_proto::progress::{ExecutorShare, QueryProgress, QueryState, StageProgress};
pub use query::{QueryHandle, QueryStream};
pub use session::SessionId;
pub use token::Token;
pub use trace::TraceContext;
pub use traverse::{Sequence, Traverse};
