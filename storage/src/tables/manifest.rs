//! Which files a table has.

use serde::{Deserialize, Serialize};

/// The files of a table. Stored as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableManifest {
    /// Grows by one with every commit.
    pub version: u64,
    pub files: Vec<DataFile>,
}

/// A Parquet file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Below the table's directory.
    pub path: String,
    pub rows: u64,
    pub bytes: u64,
}

impl TableManifest {
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// The next version, with `files` beside those that there are, or in their place.
    #[must_use]
    pub fn next(&self, files: Vec<DataFile>, replace: bool) -> Self {
        let kept = if replace { vec![] } else { self.files.clone() };
        let files = kept.into_iter().chain(files).filter(|file| file.rows > 0).collect();
        Self { version: self.version + 1, files }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_added_or_take_the_place_of_others() {
        let file = |path: &str, rows| DataFile { path: path.into(), rows, bytes: 10 * rows };
        let first = TableManifest::default().next(vec![file("a", 1), file("empty", 0)], false);
        let second = first.next(vec![file("b", 2)], false);
        assert_eq!(
            (
                second.version,
                second.rows(),
                second.files[0].bytes + second.files[1].bytes,
                second.files.len()
            ),
            (2, 3, 30, 2)
        );
        assert_eq!(second.next(vec![file("c", 4)], true).rows(), 4);
    }
}
