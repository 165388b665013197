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

mod client;
mod endpoint;
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
mod transport;
mod traverse;

pub use client::{CancelOutcome, Client};
pub use endpoint::{DEFAULT_PORT, Endpoint};
pub use functor::Functor;
pub use handles::Handle;
pub use ingest::{IngestMode, IngestRows};
pub use options::ClientOptions;
pub use polarway_proto::job::{JobError, JobInfo, JobOutcome};
pub use polarway_proto::progress::{ExecutorShare, QueryProgress, QueryState, StageProgress};
pub use query::{QueryHandle, QueryStream};
pub use session::SessionId;
pub use traverse::{Sequence, Traverse};
