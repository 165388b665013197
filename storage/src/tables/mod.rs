//! Tables whose files are ours: statements make them and add to them. A manifest names the files; each version of it is an
//! object that is never changed, and the metadata store says which one holds. So a reader sees all of a write or nothing
//! of it, whatever else lies in the table's directory.

mod manifest;
mod store;

pub use manifest::{DataFile, TableManifest};
pub(crate) use store::end;
pub use store::{Change, Current, Tables};
