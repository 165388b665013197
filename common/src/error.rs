//! The one error type that crosses Polarway's public edges.
//!
//! Components keep their own typed errors; a boundary (front door, executor service, shell) decides what they
//! mean for a user by turning them into an [`Error`]: a kind that prescribes what to do, a message that names the
//! cause, and where they are known the place in the SQL text, a hint, and a delay after which a retry makes sense.
//! [`Error`] is serialisable so that it travels from executor to client without loss.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What went wrong, from the view of somebody who must act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The SQL text does not parse.
    Syntax,
    /// The SQL text parses and cannot be planned (wrong arguments, ambiguous name, unsupported shape).
    Plan,
    /// A named table or view does not exist.
    TableNotFound,
    /// A named column does not exist.
    ColumnNotFound,
    /// A named schema, catalog, function or setting does not exist.
    NotFound,
    /// The object to be created is there already.
    AlreadyExists,
    /// A value does not have, or cannot be cast to, the type that is needed.
    TypeMismatch,
    /// The query ran into a value it cannot compute with (division by zero, overflow).
    Execution,
    /// A setting's name or value is not valid.
    InvalidSetting,
    /// No file or object stands at a path.
    FileNotFound,
    /// The operating system or the object store refuses access.
    PermissionDenied,
    /// Configuration does not allow this path, URL or host.
    PathNotAllowed,
    /// A file is damaged or cut short.
    CorruptFile,
    /// A file's columns do not fit its table's.
    SchemaMismatch,
    /// The query needs more memory than it may have.
    OutOfMemory,
    /// The server has as much work as it accepts; retry after the given delay.
    Overloaded,
    /// The query ran past its deadline.
    DeadlineExceeded,
    /// The query was cancelled.
    Cancelled,
    /// The statement is valid SQL that Polarway does not offer.
    Unsupported,
    /// An executor died or became unreachable; the work may be submitted again.
    ExecutorLost,
    /// No executor is there to take the work.
    NoExecutors,
    /// The server is shutting down and takes no new work.
    Draining,
    /// The object store or metadata store does not answer or asks to slow down.
    StoreUnavailable,
    /// Rows of a stream that the query was planned for have left memory; planned anew it reads them where they are now.
    SnapshotTooOld,
    /// A ticket is forged, expired or meant for another cluster.
    InvalidTicket,
    /// The caller did not say who it is, or nobody is known by the token it sent.
    Unauthenticated,
    /// The caller is known and its role does not suffice.
    NotAllowed,
    /// The configuration is not valid.
    Configuration,
    /// A defect in Polarway or in a library beneath it.
    Internal,
}

impl ErrorKind {
    /// Every kind, for tests and documentation.
    pub const ALL: [ErrorKind; 29] = [
        ErrorKind::Syntax,
        ErrorKind::Plan,
        ErrorKind::TableNotFound,
        ErrorKind::ColumnNotFound,
        ErrorKind::NotFound,
        ErrorKind::AlreadyExists,
        ErrorKind::TypeMismatch,
        ErrorKind::Execution,
        ErrorKind::InvalidSetting,
        ErrorKind::FileNotFound,
        ErrorKind::PermissionDenied,
        ErrorKind::PathNotAllowed,
        ErrorKind::CorruptFile,
        ErrorKind::SchemaMismatch,
        ErrorKind::OutOfMemory,
        ErrorKind::Overloaded,
        ErrorKind::DeadlineExceeded,
        ErrorKind::Cancelled,
        ErrorKind::Unsupported,
        ErrorKind::ExecutorLost,
        ErrorKind::NoExecutors,
        ErrorKind::Draining,
        ErrorKind::StoreUnavailable,
        ErrorKind::SnapshotTooOld,
        ErrorKind::InvalidTicket,
        ErrorKind::Unauthenticated,
        ErrorKind::NotAllowed,
        ErrorKind::Configuration,
        ErrorKind::Internal,
    ];

    /// Stable upper-case name, used as the `reason` on the wire and in documentation.
    pub fn reason(self) -> &'static str {
        match self {
            ErrorKind::Syntax => "SYNTAX",
            ErrorKind::Plan => "PLAN",
            ErrorKind::TableNotFound => "TABLE_NOT_FOUND",
            ErrorKind::ColumnNotFound => "COLUMN_NOT_FOUND",
            ErrorKind::NotFound => "NOT_FOUND",
            ErrorKind::AlreadyExists => "ALREADY_EXISTS",
            ErrorKind::TypeMismatch => "TYPE_MISMATCH",
            ErrorKind::Execution => "EXECUTION",
            ErrorKind::InvalidSetting => "INVALID_SETTING",
            ErrorKind::FileNotFound => "FILE_NOT_FOUND",
            ErrorKind::PermissionDenied => "PERMISSION_DENIED",
            ErrorKind::PathNotAllowed => "PATH_NOT_ALLOWED",
            ErrorKind::CorruptFile => "CORRUPT_FILE",
            ErrorKind::SchemaMismatch => "SCHEMA_MISMATCH",
            ErrorKind::OutOfMemory => "OUT_OF_MEMORY",
            ErrorKind::Overloaded => "OVERLOADED",
            ErrorKind::DeadlineExceeded => "DEADLINE_EXCEEDED",
            ErrorKind::Cancelled => "CANCELLED",
            ErrorKind::Unsupported => "UNSUPPORTED",
            ErrorKind::ExecutorLost => "EXECUTOR_LOST",
            ErrorKind::NoExecutors => "NO_EXECUTORS",
            ErrorKind::Draining => "DRAINING",
            ErrorKind::StoreUnavailable => "STORE_UNAVAILABLE",
            ErrorKind::SnapshotTooOld => "SNAPSHOT_TOO_OLD",
            ErrorKind::InvalidTicket => "INVALID_TICKET",
            ErrorKind::Unauthenticated => "UNAUTHENTICATED",
            ErrorKind::NotAllowed => "NOT_ALLOWED",
            ErrorKind::Configuration => "CONFIGURATION",
            ErrorKind::Internal => "INTERNAL",
        }
    }

    /// The kind whose [`ErrorKind::reason`] is `reason`.
    pub fn from_reason(reason: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.reason() == reason)
    }

    /// What to do about an error of this kind, where nothing more exact is known.
    pub fn hint(self) -> &'static str {
        match self {
            ErrorKind::Syntax => "correct the statement; statements are sent one by one",
            ErrorKind::Plan => "check names and arguments; DESCRIBE shows a table's columns",
            ErrorKind::TableNotFound => "SHOW TABLES lists what there is",
            ErrorKind::ColumnNotFound => "DESCRIBE shows a table's columns; double quotes keep a name's case",
            ErrorKind::NotFound => "check the name",
            ErrorKind::AlreadyExists => "use CREATE OR REPLACE or IF NOT EXISTS",
            ErrorKind::TypeMismatch => "cast explicitly; TRY_CAST gives NULL for values that do not fit",
            ErrorKind::Execution => {
                "filter the values that the expression cannot take, or guard them, for example with CASE"
            }
            ErrorKind::InvalidSetting => "SHOW ALL lists settings and their values",
            ErrorKind::FileNotFound => {
                "check the path; relative ones count from the server's working directory, and files may have gone since the table was created"
            }
            ErrorKind::PermissionDenied => "check the rights and credentials that the server runs with",
            ErrorKind::PathNotAllowed => {
                "an operator can add its root to `storage.allowed`, on the scheduler and on every executor"
            }
            ErrorKind::CorruptFile => "check that the file has the table's format, and write it again",
            ErrorKind::SchemaMismatch => "create the table anew, or write the file with the table's columns",
            ErrorKind::OutOfMemory => {
                "raise `query.memory_limit` or polarway.memory_limit, run fewer queries at once, or aggregate before sorting and joining"
            }
            ErrorKind::Overloaded => "retry after the given delay",
            ErrorKind::DeadlineExceeded => "raise polarway.timeout, or ask for less",
            ErrorKind::Cancelled => "run the statement again if its end was not intended",
            ErrorKind::Unsupported => "the SQL reference (docs/sql.md) says what is offered",
            ErrorKind::ExecutorLost => "run the statement again",
            ErrorKind::NoExecutors => "start executors with `polarway executor`, and retry",
            ErrorKind::Draining => "retry, or ask another server",
            ErrorKind::StoreUnavailable => "retry; check the store's endpoint",
            ErrorKind::SnapshotTooOld => {
                "run the query again; `ingest.grace` and `ingest.hot_limit` say how long sealed rows stay for slow ones"
            }
            ErrorKind::InvalidTicket => "ask for the statement's flight info again",
            ErrorKind::Unauthenticated => {
                "send a token that the server knows, as `authorization: Bearer <token>`; an operator gives them out"
            }
            ErrorKind::NotAllowed => "ask an operator for a token of a higher role",
            ErrorKind::Configuration => "correct the key that the message names",
            ErrorKind::Internal => {
                "this is a defect; report it with the statement and the server's log around it"
            }
        }
    }

    /// Whether the same request can succeed when it is sent again unchanged.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            ErrorKind::Overloaded
                | ErrorKind::ExecutorLost
                | ErrorKind::NoExecutors
                | ErrorKind::Draining
                | ErrorKind::StoreUnavailable
                | ErrorKind::SnapshotTooOld
        )
    }
}

/// A place in a SQL text; both numbers count from one, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub line: u64,
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// An error as a user sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    pub kind: ErrorKind,
    /// One sentence that names the cause.
    pub message: String,
    /// What to do about it; on its way to a client an error without one gets [`ErrorKind::hint`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, place: None, retry_after: None }
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn with_place(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    pub fn is_retryable(&self) -> bool {
        self.kind.is_retryable()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(place) = self.place {
            write!(f, " (at {place})")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nHint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The innermost message, which names the fact ("Connection refused") and not the layers above it.
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_is_distinct_and_found_again() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_reason(kind.reason()), Some(kind));
        }
    }

    #[test]
    fn every_kind_says_what_to_do_in_words_of_its_own() {
        let hints: HashSet<&str> = ErrorKind::ALL.into_iter().map(ErrorKind::hint).collect();
        assert_eq!(hints.len(), ErrorKind::ALL.len());
        assert!(hints.iter().all(|hint| hint.len() > 10 && !hint.ends_with('.')));
    }

    #[test]
    fn an_error_survives_serialisation() {
        let error = Error::new(ErrorKind::Overloaded, "queue is full")
            .with_hint("retry later")
            .with_place(Place { line: 2, column: 7 })
            .with_retry_after(Duration::from_millis(250));
        let text = serde_json::to_string(&error).unwrap();
        assert_eq!(serde_json::from_str::<Error>(&text).unwrap(), error);
    }
}
