//! What tables, views and schemas there are: definitions in the metadata store, read through immutable snapshots.

mod definition;
pub mod feed;
mod once;
mod own;
mod store;
mod stream;

pub use definition::{
    Definition, ManagedDefinition, TableDefinition, ViewDefinition, decode_schema, encode_schema,
};
pub use once::{Once, OnceOutcome, commit_once};
pub use own::OwnCatalog;
pub use store::{CatalogStore, Entry, Snapshot, changed_meanwhile};
pub use stream::{Ack, StreamDefinition, StreamOptions, UnknownFields};
