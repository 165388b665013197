//! Statements that write rows: CREATE TABLE, INSERT, COPY, and rows that clients send.
//!
//! Their query runs like any other, on either route, with a node above it that writes files nobody sees yet. When it has
//! ended well, one transaction decides that the write has taken place: it names the files of a table of our own in its
//! manifest, or notes that files are to be published. The same transaction notes the statement's idempotency key, so that a
//! statement that comes again is not carried out again; and it asks that the write is still this process's.

mod commit;
mod ingest;
mod outcome;
mod publish;
mod rows;
mod run;
mod sweep;
mod target;

use std::sync::Arc;

use polarway_engine::runtime::EngineRuntime;
use polarway_metastore::membership::Members;
use polarway_storage::catalog::CatalogStore;
use polarway_storage::tables::Tables;
use polarway_storage::writes::Writes;

use crate::handles::Handles;

pub use ingest::Ingest;
pub use outcome::{Outcome, Written};
pub use sweep::sweep;
pub use target::{How, TableTarget, nullable};

/// What writes of this process share.
#[derive(Debug, Clone)]
pub struct Writing {
    pub writes: Writes,
    /// None where there is no place for tables.
    pub tables: Option<Tables>,
    pub runtime: EngineRuntime,
    pub members: Members,
    pub catalog: Arc<CatalogStore>,
    pub handles: Handles,
}
