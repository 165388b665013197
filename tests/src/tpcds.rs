//! TPC-DS: data and the 99 queries as DuckDB's generator makes them, once a machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{python, tpch};

/// A directory with one directory a table, each with one Parquet file, and `queries/q01.sql` to `q99.sql`.
pub fn data(scale_factor: &str) -> PathBuf {
    tpch::made_once(&format!("tpcds-{scale_factor}"), |directory| {
        let python = python::with("tpcds-requirements.txt");
        let made = Command::new(python)
            .arg(python::script("tpcds.py"))
            .arg(scale_factor)
            .arg(directory)
            .status()
            .unwrap();
        assert!(made.success(), "tpcds.py: {made}");
    })
}

/// The names of the tables below `directory`.
pub fn tables(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory.join("tables")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The text of query 1 to 99, without the limit at its end: which of several equal rows it cuts off is open.
pub fn query(directory: &Path, number: usize) -> String {
    let path = directory.join(format!("queries/q{number:02}.sql"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let text = text.trim().trim_end_matches(';').trim_end();
    text.strip_suffix("LIMIT 100").unwrap_or(text).to_owned()
}
