//! What schedulers and executors ask of the processes that take the rows of streams.

use prost::Message;

const SLICE_MAGIC: &[u8; 4] = b"PWL1";

/// Flight action types; the body is the request, the one result's body the answer.
pub mod action {
    /// [`StreamId`](super::StreamId) to [`View`](super::View).
    pub const VIEW: &str = "polarway.StreamView";
    /// An empty body to [`Statuses`](super::Statuses): of all streams of the process.
    pub const STATUS: &str = "polarway.StreamStatus";
    /// [`StreamName`](super::StreamName) to an empty body: open a stream that is in the catalog.
    pub const OPEN: &str = "polarway.OpenStream";
    /// [`StreamId`](super::StreamId) to an empty body: end a stream that is no longer in the catalog, and remove its rows.
    pub const DROP: &str = "polarway.DropStream";
    /// [`StreamLog`](super::StreamLog) to [`LogState`](super::LogState): how much of it is there.
    pub const LOG_STATE: &str = "polarway.LogState";
    /// [`StreamLog`](super::StreamLog) to an empty body: all of it is handed over; note that it is needed no more.
    pub const LOG_SETTLED: &str = "polarway.LogSettled";
}

/// Header of a DoPut into a stream: who sends, so that nothing that is sent again doubles.
pub const PRODUCER_HEADER: &str = "polarway-producer";
/// Header of a DoPut into a stream: the durability that acknowledgements promise.
pub const ACK_HEADER: &str = "polarway-ack";

/// Header of a DoPut by which an owner of a stream from before hands over its log: the log's name, in decimal digits. The
/// descriptor's path is the stream's identity. A record is sent in parts, as bodies of messages; the last part has the
/// record's number in `app_metadata`, in decimal digits. The one answer comes when all are in the new owner's log.
pub const LOG_HEADER: &str = "polarway-log";

/// A log of a stream, of an owner before this one.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StreamLog {
    /// The stream's identity.
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(uint64, tag = "2")]
    pub log: u64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct LogState {
    /// Records that are there; absent when the whole log is.
    #[prost(uint64, optional, tag = "1")]
    pub taken: Option<u64>,
}

/// Places `from..to`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Span {
    #[prost(uint64, tag = "1")]
    pub from: u64,
    #[prost(uint64, tag = "2")]
    pub to: u64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct StreamId {
    #[prost(string, tag = "1")]
    pub id: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct StreamName {
    #[prost(string, tag = "1")]
    pub schema: String,
    #[prost(string, tag = "2")]
    pub name: String,
}

/// All rows of a stream at one moment: those in `files`, and those in the owner's memory from `hot_from` to `hot_to`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct View {
    /// URL of the store that `files` are in.
    #[prost(string, tag = "1")]
    pub store: String,
    #[prost(message, repeated, tag = "2")]
    pub files: Vec<File>,
    #[prost(uint64, tag = "3")]
    pub hot_from: u64,
    #[prost(uint64, tag = "4")]
    pub hot_to: u64,
    /// Places of rows that may be in logs of owners before, and nowhere else.
    #[prost(message, repeated, tag = "5")]
    pub missing: Vec<Span>,
}

/// A Parquet file of sealed rows.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct File {
    /// In its store.
    #[prost(string, tag = "1")]
    pub path: String,
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
    #[prost(uint64, tag = "3")]
    pub rows: u64,
    /// Earliest and latest event time, in the unit of its column; absent where there is none.
    #[prost(int64, optional, tag = "4")]
    pub first_event: Option<i64>,
    #[prost(int64, optional, tag = "5")]
    pub last_event: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Statuses {
    #[prost(message, repeated, tag = "1")]
    pub streams: Vec<Status>,
}

/// What a stream holds.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Status {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(uint64, tag = "2")]
    pub hot_rows: u64,
    #[prost(uint64, tag = "3")]
    pub hot_bytes: u64,
    #[prost(uint64, tag = "4")]
    pub log_bytes: u64,
    #[prost(uint64, tag = "5")]
    pub sealed_rows: u64,
    #[prost(uint64, tag = "6")]
    pub sealed_bytes: u64,
    #[prost(uint64, tag = "7")]
    pub files: u64,
    #[prost(string, optional, tag = "8")]
    pub feed: Option<String>,
    /// The place after the last row.
    #[prost(uint64, tag = "9")]
    pub end: u64,
    /// Rows that have come in the last `recent_ms`.
    #[prost(uint64, tag = "10")]
    pub recent_rows: u64,
    #[prost(uint64, tag = "11")]
    pub recent_ms: u64,
    /// Since the last row.
    #[prost(uint64, optional, tag = "12")]
    pub idle_ms: Option<u64>,
    /// Since 1970.
    #[prost(sint64, optional, tag = "13")]
    pub latest_event_ms: Option<i64>,
}

/// Flight ticket for rows `from..to` of a stream in its owner's memory.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SliceTicket {
    #[prost(string, tag = "1")]
    pub stream: String,
    #[prost(uint64, tag = "2")]
    pub from: u64,
    #[prost(uint64, tag = "3")]
    pub to: u64,
    /// Columns to send, as places in the stream's schema.
    #[prost(uint32, repeated, tag = "4")]
    pub columns: Vec<u32>,
    /// `datafusion.PhysicalExprNode`, encoded, over the stream's schema; empty for all rows.
    #[prost(bytes = "vec", tag = "5")]
    pub predicate: Vec<u8>,
}

impl SliceTicket {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = SLICE_MAGIC.to_vec();
        bytes.extend(self.encode_to_vec());
        bytes
    }

    /// `None` for what is no such ticket.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::decode(bytes.strip_prefix(SLICE_MAGIC)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_reads_back_and_nothing_else_does() {
        let ticket =
            SliceTicket { stream: "s".into(), from: 3, to: 9, columns: vec![2, 0], predicate: vec![1] };
        assert_eq!(SliceTicket::from_bytes(&ticket.to_bytes()), Some(ticket.clone()));
        assert_eq!(SliceTicket::from_bytes(&ticket.encode_to_vec()), None);
        assert_eq!(SliceTicket::from_bytes(b"PWL1\xff"), None);
    }
}
