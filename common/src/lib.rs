//! What every Polarway component stands on: the user-visible error, configuration, identities, the clock,
//! task supervision, signals, what the log shows and what is traced.
//!
//! Nothing here knows about SQL, DataFusion or the network; a crate that needs only one of these pays for little
//! more than tokio and serde.

pub mod address;
pub mod caller;
pub mod clock;
pub mod config;
pub mod error;
pub mod ids;
pub mod listening;
pub mod log_filter;
pub mod machine;
pub mod namespace;
pub mod nearest;
// Servers run on Unix; clients, which share this crate, run elsewhere too.
#[cfg(unix)]
pub mod signal;
pub mod supervise;
pub mod trace;
pub mod units;

pub use address::HostPort;
pub use caller::{Caller, Role};
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::Config;
pub use error::{Error, ErrorKind, Place, Result};
pub use ids::{Attempt, QueryId, Writer};
pub use listening::{Listening, bind};
pub use namespace::Namespace;
pub use nearest::nearest;
pub use supervise::{Supervisor, TaskKind};
pub use units::{ByteSize, HumanDuration};
