//! Where frames begin: tables, files, statements and handles.

use polarway_common::Error;
use polarway_proto::handle::HANDLE_SCHEMA;

use super::frame::Frame;
use super::plan::Plan;
use super::sql_text;
use super::steps::refused;
use crate::{Client, Handle};

const PARQUET: &str = "Parquet";
const CSV: &str = "CSV";
const JSON: &str = "JSON";
const ARROW: &str = "Arrow";

const ENDINGS: [(&str, &[&str]); 4] = [
    (PARQUET, &[".parquet", ".parq"]),
    (CSV, &[".csv"]),
    (JSON, &[".json", ".ndjson", ".jsonl"]),
    (ARROW, &[".arrow", ".ipc", ".feather", ".arrows"]),
];
const COMPRESSIONS: [&str; 4] = [".gz", ".bz2", ".xz", ".zst"];

/// Frames of what is on the cluster. Nothing is asked for before they are run. A path is one that the server can read: a file,
/// a directory (with a slash at its end), a URL, or a pattern with `*`, `?` and `[…]`.
impl Client {
    /// A table, view or stream by its name as it is, or `schema.name`; case counts.
    pub fn table(&self, name: &str) -> Frame {
        Frame::new(self, Ok(Plan::table(sql_text::table(name), None)))
    }

    /// A query that is written in SQL. The text is taken as it is.
    pub fn sql(&self, query: &str) -> Frame {
        Frame::new(self, Ok(Plan::statement(query)))
    }

    /// What a handle stands for. The frame does not renew its lease.
    pub fn frame(&self, handle: &Handle) -> Frame {
        let columns = handle.columns.iter().map(|(name, _)| name.clone()).collect();
        let table = format!("{HANDLE_SCHEMA}.{}", sql_text::identifier(&handle.id));
        Frame::new(self, Ok(Plan::table(table, Some(columns))))
    }

    /// Parquet files.
    pub fn read_parquet(&self, path: &str) -> Frame {
        Frame::new(self, file(path, PARQUET))
    }

    /// CSV files with a header and commas; any others need CREATE EXTERNAL TABLE.
    pub fn read_csv(&self, path: &str) -> Frame {
        Frame::new(self, file(path, CSV))
    }

    /// JSON files, one object a line.
    pub fn read_json(&self, path: &str) -> Frame {
        Frame::new(self, file(path, JSON))
    }

    /// Arrow IPC files.
    pub fn read_arrow(&self, path: &str) -> Frame {
        Frame::new(self, file(path, ARROW))
    }

    /// Files of the format that the path's ending tells.
    pub(super) fn read_any(&self, path: &str) -> Frame {
        Frame::new(self, Ok(any_file(path)))
    }
}

fn any_file(path: &str) -> Plan {
    Plan::table(sql_text::text(path), None)
}

fn file(path: &str, wanted: &str) -> Result<Plan, Error> {
    match format_of(path) {
        Some(told) if told != wanted => {
            let message = format!("`{path}` is {told} by its ending, and not {wanted}");
            Err(refused(message).with_hint(format!("read it as {told}, or rename it")))
        }
        _ => Ok(any_file(path)),
    }
}

fn format_of(mut path: &str) -> Option<&'static str> {
    for compression in COMPRESSIONS {
        path = path.strip_suffix(compression).unwrap_or(path);
    }
    let mut formats = ENDINGS.iter();
    let found = formats.find(|(_, endings)| endings.iter().any(|ending| path.ends_with(*ending)));
    found.map(|(format, _)| *format)
}

#[cfg(test)]
mod tests {
    use polarway_common::ErrorKind;

    use super::*;

    #[test]
    fn row_45_endings_tell_formats() {
        for (path, format) in [
            ("a.parquet", Some(PARQUET)),
            ("s3://bucket/it's/*.csv.gz", Some(CSV)),
            ("a.ndjson", Some(JSON)),
            ("a.feather", Some(ARROW)),
            ("data/", None),
        ] {
            assert_eq!(format_of(path), format, "{path}");
        }
        assert_eq!(file("it's/", CSV).ok().unwrap().to_sql(), "SELECT * FROM 'it''s/'");
        let error = file("a.csv", PARQUET).err().unwrap();
        assert_eq!((error.kind, error.hint.is_some()), (ErrorKind::Plan, true));
    }
}
