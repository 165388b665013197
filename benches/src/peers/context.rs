//! The line protocol over a DataFusion session, whether it plans for its own process or for a Ballista cluster.

use std::time::Duration;

use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{Answer, Ask, print};
use crate::failure::{Failure, Result};
use crate::load::{self, Client};

/// Plans the SQL text anew for every request, as a program does that embeds DataFusion.
#[derive(Clone)]
pub struct Session(SessionContext);

impl Client for Session {
    async fn query(&mut self, sql: &str) -> Result<u64> {
        let batches = self.0.sql(sql).await?.execute_stream().await?;
        Ok(batches.try_fold(0_u64, |rows, batch| async move { Ok(rows + batch.num_rows() as u64) }).await?)
    }
}

/// Serves the line protocol until standard input ends.
///
/// # Errors
/// The harness sent no valid request, or closed our output.
pub async fn serve(context: SessionContext, engine: &str, version: &str) -> Result<()> {
    print(&Answer::Ready { engine: engine.to_owned(), version: version.to_owned() })?;
    let mut session = Session(context);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = answer(&mut session, serde_json::from_str(&line)?).await;
        print(
            &answer.unwrap_or_else(|failure| Answer::Error { message: load::short(&failure.to_string()) }),
        )?;
    }
    Ok(())
}

async fn answer(session: &mut Session, ask: Ask) -> Result<Answer> {
    match ask {
        Ask::Table { name, path } => {
            session.query(&create_table(&name, &path)).await?;
            Ok(Answer::Done)
        }
        Ask::Query { sql, patience_seconds } => {
            let patience = Duration::from_secs_f64(patience_seconds);
            Ok(Answer::Sample(load::timed(session, &sql, patience).await?))
        }
        Ask::Load { sql, clients, seconds, patience_seconds } => {
            let clients = vec![session.clone(); clients];
            let window = Duration::from_secs_f64(seconds);
            let patience = Duration::from_secs_f64(patience_seconds);
            Ok(Answer::Load(load::closed_loop(clients, &sql, window, patience).await))
        }
        Ask::Read { .. } => Err(Failure::new("this peer reads files by SQL only")),
    }
}

/// The statement that makes Parquet at `path` a table, in DataFusion's dialect, which is also ours.
pub fn create_table(name: &str, path: &str) -> String {
    format!("CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION '{}'", path.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data;

    #[tokio::test]
    async fn a_session_answers_the_protocol() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("one row's.parquet");
        data::write_one_row(&path).unwrap();
        let mut session = Session(SessionContext::new());
        let path = path.to_str().unwrap().to_owned();
        let made = answer(&mut session, Ask::Table { name: "one".into(), path }).await.unwrap();
        assert_eq!(made, Answer::Done);
        let sql = "SELECT count(*), sum(value) FROM one".to_owned();
        let once =
            answer(&mut session, Ask::Query { sql: sql.clone(), patience_seconds: 60.0 }).await.unwrap();
        assert!(matches!(once, Answer::Sample(sample) if sample.rows == 1), "{once:?}");
        let ask = Ask::Load { sql, clients: 3, seconds: 0.05, patience_seconds: 60.0 };
        let Answer::Load(load) = answer(&mut session, ask).await.unwrap() else { panic!("no load") };
        assert!(load.samples_ms.len() >= 3 && load.failures.is_empty(), "{load:?}");
        let wrong = Ask::Query { sql: "SELECT nothing".into(), patience_seconds: 60.0 };
        assert!(answer(&mut session, wrong).await.unwrap_err().to_string().contains("nothing"));
    }
}
