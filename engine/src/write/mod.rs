//! Plans that write: a node above a query's plan puts the rows of each of its partitions into files and gives, in place of
//! the rows, what files there are now. Nobody sees them yet: whoever started the write decides that, once all of its tasks
//! have ended well. Files are encoded by DataFusion's own sinks.

mod exec;
mod sink;
mod spec;
mod store;

pub use exec::{WriteExec, report, reported};
pub use sink::write;
pub use spec::{FileFormat, Visibility, WriteSpec};
