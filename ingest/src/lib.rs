//! Streams: rows that arrive one by one, are held in memory, and can be queried at once.

pub mod decode;
pub mod hot;
pub mod seal;
pub mod stream;
pub mod wal;
