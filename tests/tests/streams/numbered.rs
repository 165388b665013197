//! Rows that producers number from one on, so that a missing or doubled one shows in counts and sums.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use polarway_tests::Session;

/// Statement for the table; `options` as in `seal_rows = 500`.
pub fn table(options: &str) -> String {
    format!("CREATE STREAM numbered (p BIGINT NOT NULL, id BIGINT NOT NULL) WITH ({options})")
}

/// Frame `number` of producer `p`, with so many rows, one a line.
pub fn frame(p: u64, number: u64, rows: u64) -> String {
    let ids = (number - 1) * rows + 1..=number * rows;
    ids.map(|id| format!("{{\"p\": {p}, \"id\": {id}}}\n")).collect()
}

/// How many rows there are of each producer; they must be its first ones, each once.
pub async fn counts(session: &Session) -> BTreeMap<u64, u64> {
    let sql = "SELECT p, count(*), count(DISTINCT id), min(id), max(id), sum(id) FROM numbered GROUP BY p";
    let mut counts = BTreeMap::new();
    for cells in session.ok(sql).await.cells() {
        let cells: Vec<u64> = cells.iter().map(|cell| cell.parse().unwrap()).collect();
        let [p, rows, ids, least, most, sum] = cells[..] else { panic!("{cells:?}") };
        assert_eq!((ids, least, most, sum), (rows, 1, rows, rows * (rows + 1) / 2), "producer {p}");
        counts.insert(p, rows);
    }
    counts
}

/// Whether a query of the table would read files now.
pub async fn sealed(session: &Session, table: &str) -> bool {
    session.ok(&format!("EXPLAIN SELECT * FROM {table}")).await.text().contains(".parquet")
}

/// Parquet files below a directory.
pub fn parquet_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(parquet_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            found.push(path);
        }
    }
    found.sort();
    found
}
