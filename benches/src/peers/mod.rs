//! Programs that are measured against us, and the line protocol that the harness drives them by.
//!
//! A peer prints [`Answer::Ready`] once, then reads one JSON [`Ask`] a line from standard input and prints one
//! JSON [`Answer`] a line, until its input ends. It times its own work, so the pipe is in no figure. Only [`plain`] speaks
//! no such protocol: it takes rows over WebSocket.

pub mod ballista;
pub mod context;
pub mod datafusion;
pub mod plain;

use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::failure::Result;
use crate::load::{Load, Sample};

/// What the harness asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// Makes a Parquet file, or a directory of them, known as `name`.
    Table { name: String, path: String },
    /// Runs `sql` once and reads its whole answer.
    Query { sql: String, patience_seconds: f64 },
    /// Lets `clients` send `sql` back to back for `seconds`.
    Load { sql: String, clients: usize, seconds: f64, patience_seconds: f64 },
    /// Reads whole files into memory, without SQL: `how` is `each` (a loop over the files) or `scan` (as one).
    Read { paths: Vec<String>, how: String },
}

/// What a peer answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    Ready { engine: String, version: String },
    Done,
    Sample(Sample),
    Load(Load),
    Error { message: String },
}

/// Prints one answer and flushes it.
///
/// # Errors
/// Standard output is closed.
pub fn print(answer: &Answer) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(answer)?)?;
    Ok(stdout.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_what_the_python_peers_speak() {
        let ask = Ask::Load { sql: "SELECT 1".into(), clients: 2, seconds: 1.5, patience_seconds: 60.0 };
        let text = r#"{"ask":"load","sql":"SELECT 1","clients":2,"seconds":1.5,"patience_seconds":60.0}"#;
        assert_eq!(serde_json::to_string(&ask).unwrap(), text);
        let text = r#"{"answer":"sample","millis":1.25,"rows":25}"#;
        assert_eq!(
            serde_json::from_str::<Answer>(text).unwrap(),
            Answer::Sample(Sample { millis: 1.25, rows: 25 })
        );
        let text = r#"{"answer":"load","seconds":1.0,"samples_ms":[1.0],"rows":25,"failures":[{"message":"x","count":2}]}"#;
        assert!(
            matches!(serde_json::from_str::<Answer>(text).unwrap(), Answer::Load(load) if load.failures[0].count == 2)
        );
    }
}
