//! Streams whose rows the server fetches: it dials a feed over WebSocket, subscribes, and goes on for ever.
//!
//! ```text
//!   feed --> socket --> Mapper --> FeedBatch --> FeedSink
//!              ^           | acknowledged, refused, rows
//!              |           v
//!           driver <--- Session: dial, subscribe, ping, hang up, gaps
//! ```
//!
//! One task a feed ([`PullFeed::run`]). What to do when is decided by a [`Session`], which gets the time and the
//! chance as arguments and knows no network. While the sink waits the socket is not read; a batch that the sink does
//! not take is offered again until it does. Every loss of connection, every jump of the declared sequence, every
//! refusal and every silence becomes a [`Gap`].
//!
//! Only URLs that a [`FeedPolicy`] allows are dialled, redirects are not followed, and secrets are read by name when
//! they are sent.

mod batch;
mod deliver;
mod dial;
mod driver;
mod feed;
mod gap;
mod gather;
mod heard;
mod link;
mod map;
mod options;
mod perform;
mod policy;
mod prepare;
mod secrets;
mod session;
mod status;
mod tls;

use polarway_storage::catalog::feed as spec;

pub use batch::{FeedBatch, FeedSink, RefusedRow, SinkError};
pub use feed::{Ended, PullError, PullFeed};
pub use gap::{Gap, GapKind, gap_batch, gap_schema};
pub use map::{MapError, Mapped, Mapper};
pub use options::PullOptions;
pub use policy::{FeedPolicy, PolicyError};
pub use secrets::{NoSecrets, SecretError, SecretFiles, Secrets};
pub use session::{
    Backoff, Command, Event, Hangup, Jitter, Now, RandomJitter, Sequences, Session, SessionOptions,
};
pub use status::{FeedStatus, StatusSnapshot};
