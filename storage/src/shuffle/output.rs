//! What a task gives to the next stage.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use polarway_metastore::Key;

/// Which task of which attempt of a query wrote it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputId {
    /// The query, see [`crate::shuffle::is_plain`].
    pub run: String,
    /// Counts from one.
    pub attempt: u32,
    pub stage: u32,
    pub task: u32,
}

impl OutputId {
    /// The key of its entry in the metadata store.
    pub fn key(&self) -> String {
        let Self { run, attempt, stage, task } = self.clone();
        Key::ShuffleOutput { run, attempt, stage, task }.encode()
    }

    /// The output whose entry has this key, if it is the key of one.
    pub fn parse(key: &str) -> Option<Self> {
        match Key::decode(key) {
            Ok(Key::ShuffleOutput { run, attempt, stage, task }) => Some(Self { run, attempt, stage, task }),
            _ => None,
        }
    }
}

impl fmt::Display for OutputId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-a{}/{}/{}", self.run, self.attempt, self.stage, self.task)
    }
}

/// What a file of an output has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// The rows.
    Data,
    /// Where in the data each partition is.
    Index,
}

/// Which of an output's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName {
    /// The partition that it has. `None`: it has all of them.
    pub partition: Option<u32>,
    pub kind: FileKind,
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            FileKind::Data => "data",
            FileKind::Index => "index",
        };
        match self.partition {
            Some(partition) => write!(f, "{kind} of partition {partition}"),
            None => write!(f, "{kind} of all partitions"),
        }
    }
}

/// A local file of an output. It is complete and does not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFile {
    pub name: FileName,
    pub path: PathBuf,
    /// In bytes.
    pub length: u64,
    /// Ascending offsets in the file, in bytes, where ranges that are read alone begin or end.
    pub cuts: Vec<u64>,
}

/// A finished output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub id: OutputId,
    /// What was computed, independent of the attempt; `None` if that is not known.
    pub memo: Option<[u8; 16]>,
    /// What the task reported. Nothing here looks into it.
    pub summary: Bytes,
    pub files: Vec<OutputFile>,
}

impl Output {
    /// The length of all files, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.length).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_again_by_its_key() {
        let id = OutputId { run: "q-01_a".into(), attempt: 2, stage: 3, task: 40 };
        assert_eq!(id.key(), "shuffle/q-01_a/2/3/40");
        assert_eq!(OutputId::parse(&id.key()), Some(id.clone()));
        assert_eq!(OutputId::parse("job/q-01_a"), None);
        assert_eq!(OutputId::parse("shuffle/q-01_a/2/3"), None);
        assert_eq!(id.to_string(), "q-01_a-a2/3/40");
    }
}
