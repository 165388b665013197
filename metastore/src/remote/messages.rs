//! What is sent, in Protocol Buffers. Numbers of fields keep their meaning; new fields get new numbers.

use bytes::Bytes;
use prost::{Message, Oneof};

use super::failure::Failure;

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetRequest {
    #[prost(string, tag = "1")]
    pub(super) key: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetAnswer {
    #[prost(message, optional, tag = "1")]
    pub(super) failure: Option<Failure>,
    #[prost(message, optional, tag = "2")]
    pub(super) entry: Option<Entry>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ListRequest {
    #[prost(string, tag = "1")]
    pub(super) prefix: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ListAnswer {
    #[prost(message, optional, tag = "1")]
    pub(super) failure: Option<Failure>,
    #[prost(uint64, tag = "2")]
    pub(super) revision: u64,
    #[prost(message, repeated, tag = "3")]
    pub(super) entries: Vec<Entry>,
}

/// A key's value. The answer to a get leaves out the key.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
    #[prost(uint64, tag = "3")]
    pub(super) revision: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RevisionRequest {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RevisionAnswer {
    #[prost(message, optional, tag = "1")]
    pub(super) failure: Option<Failure>,
    #[prost(uint64, tag = "2")]
    pub(super) revision: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) preconditions: Vec<Condition>,
    #[prost(message, repeated, tag = "2")]
    pub(super) writes: Vec<Change>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Condition {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(oneof = "Expected", tags = "2, 3")]
    pub(super) expected: Option<Expected>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Expected {
    /// Whether the key has a value.
    #[prost(bool, tag = "2")]
    Presence(bool),
    #[prost(uint64, tag = "3")]
    Revision(u64),
}

/// A write, or an event.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Change {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(oneof = "Effect", tags = "2, 3, 5")]
    pub(super) effect: Option<Effect>,
    /// Of an event.
    #[prost(uint64, tag = "4")]
    pub(super) revision: u64,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Effect {
    #[prost(bytes = "bytes", tag = "2")]
    Put(Bytes),
    /// Said outright, so that what a later version may write is not taken for it.
    #[prost(message, tag = "3")]
    Delete(Nothing),
    /// Of a write.
    #[prost(message, tag = "5")]
    PutLeased(Leased),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Leased {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) value: Bytes,
    #[prost(uint64, tag = "2")]
    pub(super) lease: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TxnAnswer {
    #[prost(oneof = "Outcome", tags = "1, 2, 3")]
    pub(super) outcome: Option<Outcome>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Outcome {
    #[prost(message, tag = "1")]
    Failure(Failure),
    #[prost(uint64, tag = "2")]
    Committed(u64),
    #[prost(string, tag = "3")]
    Conflict(String),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WatchRequest {
    #[prost(string, tag = "1")]
    pub(super) prefix: String,
    #[prost(uint64, tag = "2")]
    pub(super) after_revision: u64,
}

/// One step of a watch.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WatchAnswer {
    #[prost(oneof = "Step", tags = "1, 2, 3, 4")]
    pub(super) step: Option<Step>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Step {
    /// The last one.
    #[prost(message, tag = "1")]
    Failure(Failure),
    /// The first one of a watch that the store has accepted.
    #[prost(message, tag = "2")]
    Opened(Nothing),
    #[prost(message, tag = "3")]
    Event(Change),
    /// The last one if the store was closed, which tells that end from a stream that was cut off.
    #[prost(message, tag = "4")]
    Closed(Nothing),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GrantRequest {
    #[prost(uint64, tag = "1")]
    pub(super) ttl_millis: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GrantAnswer {
    #[prost(message, optional, tag = "1")]
    pub(super) failure: Option<Failure>,
    #[prost(uint64, tag = "2")]
    pub(super) lease: u64,
    #[prost(uint64, tag = "3")]
    pub(super) ttl_millis: u64,
}

/// To keep a lease alive, or to end it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LeaseRequest {
    #[prost(uint64, tag = "1")]
    pub(super) lease: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LeaseAnswer {
    #[prost(message, optional, tag = "1")]
    pub(super) failure: Option<Failure>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Nothing {}
