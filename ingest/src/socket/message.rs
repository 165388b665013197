//! The JSON messages that the server sends.

use serde::{Deserialize, Serialize};

use super::fault::Fault;
use crate::durability::Durability;

/// The server's first message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The stream's full name.
    pub stream: String,
    pub producer: Option<String>,
    /// The last number of this producer that the stream holds durably; 0 if there is none.
    pub last: u64,
}

/// A cumulative acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// All frames up to this number have reached `durability`.
    pub ack: u64,
    pub durability: Durability,
    /// Rows stored in the frames that this message newly acknowledges.
    pub rows: u64,
    /// Rows refused in them.
    pub bad: u64,
    /// For `polarway.read_after` of a query that has to see these rows; none for rows that are in memory alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// What is told before a connection is closed or refused.
#[derive(Serialize)]
struct Told<'a> {
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    kind: &'a str,
    message: &'a str,
    hint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
}

/// The message that tells a fault.
pub(super) fn fault(fault: &Fault) -> String {
    error(fault.kind.name(), &fault.message, fault.hint(), None)
}

/// An error as JSON; `parameter` names the one that is wrong.
pub(super) fn error(kind: &str, message: &str, hint: &str, parameter: Option<&str>) -> String {
    json(&Told { error: ErrorBody { kind, message, hint, parameter } })
}

pub fn json(message: &impl Serialize) -> String {
    // Plain structs with string keys cannot fail to serialise.
    serde_json::to_string(message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::fault::FaultKind;
    use super::*;

    #[test]
    fn messages_look_as_documented() {
        let hello = Hello { stream: "public.ticks".into(), producer: Some("p1".into()), last: 16 };
        assert_eq!(json(&hello), r#"{"stream":"public.ticks","producer":"p1","last":16}"#);
        let hello = Hello { producer: None, last: 0, ..hello };
        assert_eq!(json(&hello), r#"{"stream":"public.ticks","producer":null,"last":0}"#);
        let ack = Ack { ack: 17, durability: Durability::Received, rows: 1234, bad: 2, token: None };
        assert_eq!(json(&ack), r#"{"ack":17,"durability":"received","rows":1234,"bad":2}"#);
        let ack = Ack { durability: Durability::Wal, token: Some("s:9".into()), ..ack };
        assert_eq!(json(&ack), r#"{"ack":17,"durability":"wal","rows":1234,"bad":2,"token":"s:9"}"#);
        let told = fault(&Fault::new(FaultKind::LogFull, "the \"log\" is full").with_hint("wait"));
        assert_eq!(told, r#"{"error":{"kind":"log_full","message":"the \"log\" is full","hint":"wait"}}"#);
    }
}
