//! Where data lives: which paths may be reached, the object stores behind them, and the catalog's definitions.

pub mod catalog;
pub mod directory;
pub mod fingerprint;
pub mod guard;
mod http;
mod listing;
mod local;
pub mod policy;
pub mod registry;
mod root;
pub mod shuffle;
mod stores;
pub mod streams;
pub mod tables;
mod traced;
pub mod writes;

pub use root::StoreRoot;
pub use stores::plain_store;
