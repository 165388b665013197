//! What a stream that dials a feed is told: where, what to say, and which part of an answer fills which column.
//!
//! Plain data. [`FeedSpec::parse`] reads it from the options of `CREATE STREAM … WITH (…)`, and [`check`] holds the
//! options against each other and against the stream's columns.
//!
//! | Option | Value | Default |
//! |---|---|---|
//! | `url` | `ws://…` or `wss://…`, without a user | needed |
//! | `headers` | object: name to a text or `{"secret": "NAME"}` | none |
//! | `subscribe` | one message, or an array of messages; strings are sent as they are; `{"secret": "NAME"}` anywhere | none |
//! | `subscribe_ack` | conditions, or an array of conditions that all have to come | subscribed when sent |
//! | `subscribe_error` | conditions, or an array of which one is enough | none |
//! | `subscribe_timeout` | for all acknowledgements, from the connection on | `10s` |
//! | `filter` | conditions; other messages are skipped | all pass |
//! | `rows` | pointer to an array of rows, or to one row | the message |
//! | `mapping` | object: column to a pointer, or `{"pointer", "of": "row" or "message", "unit": "s", "ms", "us" or "ns", "text": true}`, or `{"value"}` | fields of the columns' names |
//! | `ping_interval` | between WebSocket pings; `0s` is off | `15s` |
//! | `heartbeat` | a message that is sent as it is | none |
//! | `heartbeat_interval` | between heartbeats | `20s` |
//! | `dead_after` | without any byte; `0s` is off | `45s` |
//! | `silent_after` | without any row; `0s` is off | `5m` |
//! | `backoff_min`, `backoff_max` | first and longest step; each delay is in the upper half of its step | `250ms`, `1m` |
//! | `healthy_after` | subscribed for so long, the steps begin anew | `10s` |
//! | `sequence` | pointer, or `{"pointer", "of"}`, to an integer that grows by one | none |
//! | `sequence_by` | the same, to the key that it is counted by | one for the feed |
//! | `ca` | name of a PEM file that the operator provides | the system's authorities |
//!
//! Conditions are an object: pointer to a value, to a list of which one has to stand there, or to
//! `{"exists": true}`. Pointers of the message are not followed into an array of rows.

mod check;
mod condition;
mod mapping;
mod message;
mod parse;
mod pointer;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use polarway_common::HumanDuration;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use check::MAX_ACKS;
pub use condition::{Conditions, Expected, Scalar};
pub use mapping::{ColumnRule, EpochUnit, Of, Place, Source};
pub use message::{HeaderText, is_plain_name, secret_name};
pub use parse::NAMES;
pub use pointer::{Pointer, PointerError};

/// A feed to be dialled. Durations of zero switch off what they time, where that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedSpec {
    pub url: String,
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderText>,
    /// Messages sent in order when the connection is there; a string is sent as it is, all else as JSON.
    #[serde(default)]
    pub subscribe: Vec<Value>,
    /// Each of these has to come once before the feed counts as subscribed.
    #[serde(default)]
    pub subscribe_ack: Vec<Conditions>,
    /// One of these means that the subscription was refused.
    #[serde(default)]
    pub subscribe_error: Vec<Conditions>,
    pub subscribe_timeout: HumanDuration,
    /// Messages that do not match are counted and skipped.
    #[serde(default)]
    pub filter: Conditions,
    /// An array of rows, or one object.
    #[serde(default)]
    pub rows: Pointer,
    /// For a column without a rule its own name in the row.
    #[serde(default)]
    pub mapping: BTreeMap<String, ColumnRule>,
    pub ping_interval: HumanDuration,
    /// A message of the application that keeps the connection, sent as it is.
    #[serde(default)]
    pub heartbeat: Option<String>,
    pub heartbeat_interval: HumanDuration,
    /// No byte for so long, not even a pong: the peer is dead.
    pub dead_after: HumanDuration,
    /// A live connection that gave no row for so long is a silent feed.
    pub silent_after: HumanDuration,
    pub backoff_min: HumanDuration,
    pub backoff_max: HumanDuration,
    /// A subscribed connection has to live so long before the delays begin anew.
    pub healthy_after: HumanDuration,
    /// An integer that grows by one. Of the row it goes on over connections; of the message it begins anew with each.
    #[serde(default)]
    pub sequence: Option<Place>,
    /// Sequences are counted for each value of this.
    #[serde(default)]
    pub sequence_by: Option<Place>,
    /// Name of a file of certificates to trust in place of the system's.
    #[serde(default)]
    pub ca: Option<String>,
}

impl FeedSpec {
    /// A feed of one row a message, with the defaults of all options.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            headers: BTreeMap::new(),
            subscribe: Vec::new(),
            subscribe_ack: Vec::new(),
            subscribe_error: Vec::new(),
            subscribe_timeout: HumanDuration::from_secs(10),
            filter: Conditions::default(),
            rows: Pointer::default(),
            mapping: BTreeMap::new(),
            ping_interval: HumanDuration::from_secs(15),
            heartbeat: None,
            heartbeat_interval: HumanDuration::from_secs(20),
            dead_after: HumanDuration::from_secs(45),
            silent_after: HumanDuration::from_secs(300),
            backoff_min: HumanDuration::from_millis(250),
            backoff_max: HumanDuration::from_secs(60),
            healthy_after: HumanDuration::from_secs(10),
            sequence: None,
            sequence_by: None,
            ca: None,
        }
    }

    /// The rule of a column.
    #[must_use]
    pub fn rule(&self, column: &str) -> ColumnRule {
        self.mapping
            .get(column)
            .cloned()
            .unwrap_or_else(|| ColumnRule::of(Source::Row(Pointer::to_field(column))))
    }
}
