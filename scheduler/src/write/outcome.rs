//! What a statement that gives no rows of its own tells.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use polarway_common::Error;
use polarway_storage::writes::StagedFile;
use serde::{Deserialize, Serialize};

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Rows.
    pub count: u64,
    pub files: u64,
    /// Of the files.
    pub bytes: u64,
    /// The write, whose files may still have to be published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<String>,
}

impl Written {
    /// What stands in these files.
    pub fn of<'a>(files: impl IntoIterator<Item = &'a StagedFile>) -> Self {
        files.into_iter().fold(Self::default(), |all, file| Self {
            count: all.count + file.rows,
            files: all.files + 1,
            bytes: all.bytes + file.bytes,
            write: None,
        })
    }
}

/// What a statement did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its tag.
    Told(String),
    Written(Written),
}

impl Outcome {
    /// As it is kept until it is fetched, or until the statement comes again.
    pub fn to_text(&self) -> Result<String, Error> {
        match self {
            Self::Told(text) => Ok(text.clone()),
            Self::Written(written) => serde_json::to_string(written)
                .map_err(|error| Error::internal(format!("an outcome cannot be kept: {error}"))),
        }
    }

    /// Tags are no JSON.
    pub fn from_text(text: &str) -> Self {
        serde_json::from_str(text).map_or_else(|_| Self::Told(text.to_owned()), Self::Written)
    }

    /// Rows that were written; of other statements, none.
    pub fn rows(&self) -> u64 {
        match self {
            Self::Told(_) => 0,
            Self::Written(written) => written.count,
        }
    }

    pub fn schema(&self) -> SchemaRef {
        match self {
            Self::Told(_) => told_schema(),
            Self::Written(_) => written_schema(),
        }
    }

    pub fn batch(&self) -> Result<RecordBatch, Error> {
        let number = |value: u64| Arc::new(UInt64Array::from(vec![value])) as ArrayRef;
        let columns: Vec<ArrayRef> = match self {
            Self::Told(text) => vec![Arc::new(StringArray::from(vec![text.as_str()]))],
            Self::Written(Written { count, files, bytes, .. }) => {
                vec![number(*count), number(*files), number(*bytes)]
            }
        };
        RecordBatch::try_new(self.schema(), columns).map_err(|error| Error::internal(error.to_string()))
    }
}

fn told_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("status", DataType::Utf8, false)]))
}

/// The columns of what was written.
pub fn written_schema() -> SchemaRef {
    let number = |name: &str| Field::new(name, DataType::UInt64, false);
    Arc::new(Schema::new(vec![number("count"), number("files"), number("bytes")]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_survive_being_kept() {
        let written = Written { count: 3, files: 1, bytes: 40, write: Some("w".into()) };
        for outcome in [Outcome::Told("DROP TABLE (nothing to do)".into()), Outcome::Written(written)] {
            assert_eq!(Outcome::from_text(&outcome.to_text().unwrap()), outcome);
            assert_eq!(outcome.batch().unwrap().schema(), outcome.schema());
        }
        assert_eq!(Outcome::Told("SET".into()).rows(), 0);
    }
}
