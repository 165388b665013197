//! Files that tests make, written by DataFusion in the test's process, and those that they find.

use std::path::{Path, PathBuf};

use datafusion::prelude::SessionContext;

/// Writes the rows of `query` to `path`; `clauses` are those of COPY (`STORED AS …`, `PARTITIONED BY …`,
/// `OPTIONS (…)`).
pub async fn write(path: &Path, query: &str, clauses: &str) {
    let context = SessionContext::new();
    let sql = format!("COPY ({query}) TO '{}' {clauses}", path.display());
    let frame = context.sql(&sql).await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
    frame.collect().await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
}

/// Writes one Parquet file.
pub async fn parquet(path: &Path, query: &str) {
    write(path, query, "STORED AS PARQUET").await;
}

/// All files below a directory, which need not be there.
pub fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
}
