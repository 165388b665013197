//! Answers in HTTP to requests that are not upgraded.

use std::time::Duration;

use polarway_common::{Error, ErrorKind};
use tokio_tungstenite::tungstenite::http::uri::PathAndQuery;
use tokio_tungstenite::tungstenite::http::{StatusCode, Uri};

use super::head::HeadError;
use super::message;
use super::sink::OpenError;

/// An HTTP answer with a JSON body like those of the socket: `{"error":{"kind","message","hint"}}`, and
/// `parameter` where one is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    /// Headers beside those of the body.
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Refusal {
    pub fn new(status: StatusCode, kind: &str, message: &str, hint: &str) -> Self {
        Self { status, headers: Vec::new(), body: message::error(kind, message, hint, None) }
    }

    /// 400 because of a query parameter, a header, or the `name` in the path.
    pub fn parameter(parameter: &str, message: &str, hint: &str) -> Self {
        let body = message::error("bad_parameter", message, hint, Some(parameter));
        Self { status: StatusCode::BAD_REQUEST, headers: Vec::new(), body }
    }

    /// 503; the client may try again after `retry_after`.
    pub fn unavailable(kind: &str, message: &str, retry_after: Duration) -> Self {
        // Rounded up, or a client told 0 would come back at once.
        let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, message, "connect again after the given time")
            .with_header("Retry-After", seconds.to_string())
    }

    pub(super) fn draining(retry_after: Duration) -> Self {
        Self::unavailable("draining", "the server is shutting down", retry_after)
    }

    pub(super) fn too_many(retry_after: Duration) -> Self {
        Self::unavailable(
            "too_many_connections",
            "the server has as many connections as it accepts",
            retry_after,
        )
    }

    pub(super) fn too_slow() -> Self {
        let hint = "send the whole request at once";
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the handshake took too long", hint)
    }

    /// The answer to a request without a head; none if nobody is there to be answered.
    pub(super) fn of_head(error: HeadError) -> Option<Self> {
        let status = match error {
            HeadError::Malformed => StatusCode::BAD_REQUEST,
            HeadError::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            HeadError::Gone => return None,
        };
        let hint = "open a WebSocket (ws://) at /v1/streams/{name}";
        Some(Self::new(status, "bad_request", &error.to_string(), hint))
    }

    /// The answer to somebody who may not write, or whom nobody knows.
    pub(super) fn of_caller(error: &Error) -> Self {
        let hint = error.hint.as_deref().unwrap_or_else(|| error.kind.hint());
        match error.kind {
            ErrorKind::Unauthenticated => {
                Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", &error.message, hint)
                    .with_header("WWW-Authenticate", "Bearer")
            }
            _ => Self::new(StatusCode::FORBIDDEN, "not_allowed", &error.message, hint),
        }
    }

    pub(super) fn of_open(
        error: &OpenError,
        name: &str,
        target: &Uri,
        scheme: &str,
        draining_retry_after: Duration,
    ) -> Self {
        let text = error.to_string();
        match error {
            OpenError::Unknown => {
                let message = format!("there is no stream `{name}`");
                Self::new(StatusCode::NOT_FOUND, "unknown_stream", &message, "CREATE STREAM makes one")
            }
            OpenError::Elsewhere { address } => {
                let path = target.path_and_query().map_or_else(|| target.path(), PathAndQuery::as_str);
                let location = format!("{scheme}://{address}{path}");
                let hint = format!("connect to {location}");
                Self::new(StatusCode::TEMPORARY_REDIRECT, "elsewhere", &text, &hint)
                    .with_header("Location", location)
            }
            OpenError::NotAllowed(_) => {
                let hint = "ask the operator for the right to write to this stream";
                Self::new(StatusCode::FORBIDDEN, "not_allowed", &text, hint)
            }
            OpenError::Unavailable { retry_after, .. } => {
                Self::unavailable("unavailable", &text, *retry_after)
            }
            OpenError::Draining => Self::draining(draining_retry_after),
            OpenError::Internal(_) => {
                let hint = "this is a defect; report it with the server's log around it";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", &text, hint)
            }
        }
    }

    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The answer as sent; the connection is closed after it.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {}\r\n", self.status);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let length = self.body.len();
        text.push_str(&format!(
            "Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{}",
            self.body
        ));
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_http() {
        let refusal = Refusal::unavailable("draining", "bye", Duration::from_millis(1500));
        let text = String::from_utf8(refusal.to_bytes()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let lines: Vec<&str> = head.split("\r\n").collect();
        assert_eq!(lines[..2], ["HTTP/1.1 503 Service Unavailable", "Retry-After: 2"]);
        assert!(lines.contains(&format!("Content-Length: {}", body.len()).as_str()), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["kind"], "draining");
    }

    #[test]
    fn a_stream_of_another_server_is_shown_the_way() {
        let target: Uri = "/v1/streams/a%20b?producer=p&ack=wal".parse().unwrap();
        let error = OpenError::Elsewhere { address: "ingest-1:8081".into() };
        let refusal = Refusal::of_open(&error, "a b", &target, "ws", Duration::ZERO);
        assert_eq!(refusal.status, StatusCode::TEMPORARY_REDIRECT);
        let location = "ws://ingest-1:8081/v1/streams/a%20b?producer=p&ack=wal";
        assert_eq!(refusal.headers, [("Location", location.to_owned())]);
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        let refusal = Refusal::parameter("ack", "no", "yes");
        assert!(refusal.body.contains(r#""parameter":"ack""#), "{}", refusal.body);
    }
}
