//! File formats by the names that statements and file names use.

use polarway_common::{Error, ErrorKind};

/// A format: its DataFusion name and the extensions its files have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    pub name: &'static str,
    pub extensions: &'static [&'static str],
}

const FORMATS: [Format; 4] = [
    Format { name: "parquet", extensions: &["parquet", "parq"] },
    Format { name: "csv", extensions: &["csv"] },
    Format { name: "json", extensions: &["json", "ndjson", "jsonl"] },
    Format { name: "arrow", extensions: &["arrow", "ipc", "feather", "arrows"] },
];

const COMPRESSIONS: [(&str, &str); 4] = [("gz", "GZIP"), ("bz2", "BZIP2"), ("xz", "XZ"), ("zst", "ZSTD")];

/// The format that `STORED AS name` means.
pub fn by_name(name: &str) -> Result<Format, Error> {
    let lower = name.to_lowercase();
    let found = FORMATS
        .into_iter()
        .find(|format| format.name == lower || format.extensions.contains(&lower.as_str()));
    found.ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, format!("there is no file format `{name}`"))
            .with_hint("use STORED AS PARQUET, CSV, NDJSON or ARROW")
    })
}

/// The format that a file's name tells, its full extension and its compression.
pub fn by_file_name(name: &str) -> Option<(Format, String, Option<&'static str>)> {
    let (stem, last) = name.rsplit_once('.')?;
    let last = last.to_lowercase();
    let find = |ext: &str| FORMATS.into_iter().find(|format| format.extensions.contains(&ext));
    if let Some(format) = find(&last) {
        return Some((format, last, None));
    }
    let (_, compression) = COMPRESSIONS.into_iter().find(|(ext, _)| *ext == last)?;
    let inner = stem.rsplit_once('.')?.1.to_lowercase();
    find(&inner).map(|format| (format, format!("{inner}.{last}"), Some(compression)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_04_formats_are_known_by_statement_and_by_file_name() {
        assert_eq!(by_name("NDJSON").unwrap().name, "json");
        assert_eq!(by_name("Parquet").unwrap().name, "parquet");
        assert!(by_name("xlsx").is_err());
        assert_eq!(by_file_name("a.b.parquet").unwrap().0.name, "parquet");
        let (format, extension, compression) = by_file_name("x.CSV.gz").unwrap();
        assert_eq!((format.name, extension.as_str(), compression), ("csv", "csv.gz", Some("GZIP")));
        for name in ["README", "x.gz", "csv", "parquet", "json.gz"] {
            assert!(by_file_name(name).is_none(), "{name}");
        }
    }
}
