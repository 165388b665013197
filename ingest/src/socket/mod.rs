//! Rows over WebSocket: `ws://host:8081/v1/streams/{name}`.
//!
//! # Protocol
//!
//! A client opens `/v1/streams/{name}` with the optional query parameters `producer` (1 to 128 visible ASCII
//! characters) and `ack` (`received`, `wal` or `object_store`; without it the stream's own). What is refused before
//! the upgrade is refused in HTTP, with a JSON body; see [`decide`]. A server that knows users by tokens takes them in the
//! header `authorization`, and asks who it is before it tells anything about streams.
//!
//! The server's first message is the [`Hello`]. Then the client sends frames of rows, text (JSON) or binary (Arrow
//! IPC), which are opaque here. A frame may begin with a line `#<number>\n`; see [`Numbering`]. The server answers
//! with cumulative [`Ack`]s. An error is told as `{"error":{"kind","message","hint"}}`, followed by a close frame
//! with the code of its [`FaultKind`]. Frames that came before the error are still stored, and acknowledged if that
//! is possible within [`Options::grace`].
//!
//! A client that sends a close frame gets the acknowledgements of all that it sent before, then the answer.
//! Pings are answered between groups of frames; while the stream has no room nothing is read, so not even a ping.
//!
//! # How a connection works
//!
//! ```text
//!            frames              groups (merged)          messages (bounded)
//!   socket ---------> reader ----------------------> acknowledger ---------> writer -> socket
//!                       | write (waits for room)       | reached               ^
//!                       v                              v                       |
//!                      Feed                           Feed        pongs, pings, errors, close
//! ```
//!
//! The three are futures of one task, so they end together. A slow stream and a slow log end in a socket that is not
//! read. Groups that wait long for their durability do not: when they are many, some are acknowledged together.
//! Decisions are apart from effects: `handshake`, `frame`, `gather`, `acks` and `pace` are synchronous and get the
//! time as an argument; `upgrade`, `reader`, `outgoing` and `connection` perform.

mod acks;
mod admission;
mod connection;
mod end;
mod fault;
mod frame;
mod gather;
mod groups;
mod halves;
mod handshake;
mod head;
mod incoming;
mod listener;
mod message;
mod metrics;
mod options;
mod outgoing;
mod pace;
mod reader;
mod refusal;
mod sink;
mod upgrade;

pub(crate) use acks::acknowledge;
pub use fault::{Fault, FaultKind};
pub use frame::{Frame, Numbering};
pub(crate) use groups::Groups;
pub(crate) use handshake::producer_id;
pub use handshake::{Opening, decide};
pub use head::Head;
pub(crate) use incoming::now;
pub use listener::serve;
pub(crate) use message::json;
pub use message::{Ack, Hello};
pub use metrics::{Closed, SocketMetrics};
pub use options::{Options, OptionsError};
pub(crate) use reader::store;
pub use refusal::Refusal;
pub use sink::{Feed, OpenError, Streams, Written};
