//! Errors that a client is told before its connection is closed.

use thiserror::Error;

/// What went wrong after the upgrade, from the view of a client that must act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// A frame's header line, its number, or the WebSocket framing is wrong.
    Protocol,
    /// The stream cannot take this kind of frame.
    Unsupported,
    /// A text frame is not UTF-8.
    InvalidText,
    /// The client's token is not known any more as it was.
    Unauthenticated,
    /// The client may not do this.
    NotAllowed,
    /// The client has used up what it may send.
    Quota,
    /// Nothing came for [`Options::idle_timeout`](super::Options::idle_timeout).
    Idle,
    /// A frame is above [`Options::max_frame_bytes`](super::Options::max_frame_bytes).
    FrameTooLarge,
    /// A defect on the server's side.
    Internal,
    /// The server is shutting down.
    Draining,
    /// Another process has the stream by now.
    Moved,
    /// The write-ahead log is at its limit.
    LogFull,
    /// The disk below the log is full.
    DiskFull,
    /// The stream takes no rows now, for another reason.
    Unavailable,
}

impl FaultKind {
    /// Every kind, for tests and documentation.
    pub const ALL: [FaultKind; 14] = [
        FaultKind::Protocol,
        FaultKind::Unsupported,
        FaultKind::InvalidText,
        FaultKind::Unauthenticated,
        FaultKind::NotAllowed,
        FaultKind::Quota,
        FaultKind::Idle,
        FaultKind::FrameTooLarge,
        FaultKind::Internal,
        FaultKind::Draining,
        FaultKind::Moved,
        FaultKind::LogFull,
        FaultKind::DiskFull,
        FaultKind::Unavailable,
    ];

    /// The `kind` in the JSON message.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Protocol => "protocol",
            FaultKind::Unsupported => "unsupported",
            FaultKind::InvalidText => "invalid_text",
            FaultKind::Unauthenticated => "unauthenticated",
            FaultKind::NotAllowed => "not_allowed",
            FaultKind::Quota => "quota",
            FaultKind::Idle => "idle",
            FaultKind::FrameTooLarge => "frame_too_large",
            FaultKind::Internal => "internal",
            FaultKind::Draining => "draining",
            FaultKind::Moved => "moved",
            FaultKind::LogFull => "log_full",
            FaultKind::DiskFull => "disk_full",
            FaultKind::Unavailable => "unavailable",
        }
    }

    /// The code of the close frame (RFC 6455, section 7.4, and the IANA registry for 1012 and 1013).
    pub fn close_code(self) -> u16 {
        match self {
            FaultKind::Protocol => 1002,
            FaultKind::Unsupported => 1003,
            FaultKind::InvalidText => 1007,
            FaultKind::Unauthenticated | FaultKind::NotAllowed | FaultKind::Quota | FaultKind::Idle => 1008,
            FaultKind::FrameTooLarge => 1009,
            FaultKind::Internal => 1011,
            FaultKind::Draining | FaultKind::Moved => 1012,
            FaultKind::LogFull | FaultKind::DiskFull | FaultKind::Unavailable => 1013,
        }
    }

    /// What to do about it, where nothing more exact is known.
    pub fn hint(self) -> &'static str {
        match self {
            FaultKind::Protocol => {
                "begin frames with `#<number>\\n`, with growing numbers, only if `producer` is given"
            }
            FaultKind::Unsupported => "send JSON in text frames or Arrow IPC in binary frames",
            FaultKind::InvalidText => "send text as UTF-8, and Arrow IPC in binary frames",
            FaultKind::Unauthenticated => "connect again with a token that the server knows",
            FaultKind::NotAllowed => "ask the operator for the right to write to this stream",
            FaultKind::Quota => "send less, or ask the operator for a higher quota",
            FaultKind::Idle => "answer pings, and connect again",
            FaultKind::FrameTooLarge => "send fewer rows in a frame",
            FaultKind::Internal => "connect again, and send what was not acknowledged",
            FaultKind::Draining => "connect again after a moment, and send what was not acknowledged",
            FaultKind::Moved => "connect to any process that takes rows, and go on after `last`",
            FaultKind::LogFull => "connect again later; the log empties as rows reach the object store",
            FaultKind::DiskFull => "an operator must free disk space; connect again later",
            FaultKind::Unavailable => "connect again later, and send what was not acknowledged",
        }
    }
}

/// An error that ends a connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Fault {
    pub kind: FaultKind,
    /// One sentence that names the cause.
    pub message: String,
    /// What to do about it; the client gets [`FaultKind::hint`] if there is none.
    pub hint: Option<String>,
}

impl Fault {
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The hint that the client gets.
    pub fn hint(&self) -> &str {
        self.hint.as_deref().unwrap_or(self.kind.hint())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn kinds_have_names_and_hints_of_their_own_and_codes_that_may_be_sent() {
        let names: HashSet<&str> = FaultKind::ALL.into_iter().map(FaultKind::name).collect();
        let hints: HashSet<&str> = FaultKind::ALL.into_iter().map(FaultKind::hint).collect();
        assert_eq!((names.len(), hints.len()), (FaultKind::ALL.len(), FaultKind::ALL.len()));
        let sendable = [1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013];
        assert!(FaultKind::ALL.into_iter().all(|kind| sendable.contains(&kind.close_code())));
    }

    #[test]
    fn a_hint_of_its_own_wins() {
        let fault = Fault::new(FaultKind::Quota, "over");
        assert_eq!(fault.hint(), FaultKind::Quota.hint());
        assert_eq!(fault.with_hint("wait until noon").hint(), "wait until noon");
    }
}
