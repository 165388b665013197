//! Identities of queries and of what they write.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use uuid::Uuid;

/// A text that is not an identity of the expected sort.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    #[error("`{0}` is not a query id; one looks like \"q-0190163d8694739b93b1a8f4d1d0c5a2\"")]
    Query(String),
    #[error("`{0}` is not the id of an attempt; one looks like \"q-0190163d8694739b93b1a8f4d1d0c5a2-a1\"")]
    Attempt(String),
}

/// Identity of one submitted query. Ids sort by the time of their creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(Uuid);

impl QueryId {
    /// A fresh id, unique over all schedulers.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    pub fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl From<Uuid> for QueryId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "q-{}", self.0.simple())
    }
}

impl FromStr for QueryId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.strip_prefix("q-")
            .filter(|hex| hex.len() == 32)
            .and_then(|hex| Uuid::try_parse(hex).ok())
            .map(Self)
            .ok_or_else(|| IdError::Query(text.to_owned()))
    }
}

/// One attempt at running a query, which is a job to the executors. Written `RUN-aNUMBER`; attempts never share files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    /// The query's run: all its attempts belong to it.
    pub run: String,
    /// Counted from one.
    pub number: u32,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-a{}", self.run, self.number)
    }
}

impl FromStr for Attempt {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.rsplit_once("-a")
            .filter(|(run, number)| !run.is_empty() && !number.starts_with(['0', '+']))
            .and_then(|(run, number)| Some(Self { run: run.to_owned(), number: number.parse().ok()? }))
            .ok_or_else(|| IdError::Attempt(text.to_owned()))
    }
}

/// Which task of which attempt wrote an output, as the one number that a shuffle location has room for. An output of
/// the attempt that reads it goes by the task alone; attempts after the first may read outputs of earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Writer {
    /// `None`: the attempt that reads it.
    pub attempt: Option<u32>,
    pub task: u32,
}

impl From<u64> for Writer {
    fn from(file_id: u64) -> Self {
        let attempt = (file_id >> 32) as u32;
        Self { attempt: (attempt > 0).then_some(attempt), task: file_id as u32 }
    }
}

impl From<Writer> for u64 {
    fn from(writer: Writer) -> Self {
        u64::from(writer.attempt.unwrap_or(0)) << 32 | u64::from(writer.task)
    }
}

macro_rules! serde_as_text {
    ($id:ty) => {
        impl Serialize for $id {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

serde_as_text!(QueryId);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn query_ids_are_distinct_and_sort_by_creation() {
        let ids: Vec<_> = (0..100).map(|_| QueryId::new()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn what_is_no_id_is_refused_by_name() {
        for text in
            ["", "q-", "q-xyz", "0190163d8694739b93b1a8f4d1d0c5a2", "q-0190163d-8694-739b-93b1-a8f4d1d0c5a2"]
        {
            assert_eq!(text.parse::<QueryId>(), Err(IdError::Query(text.to_owned())));
        }
        for text in ["", "q-1", "-a1", "q-a", "q-a0", "q-a01", "q-a+1", "q-a-1"] {
            assert_eq!(text.parse::<Attempt>(), Err(IdError::Attempt(text.to_owned())));
        }
    }

    #[test]
    fn a_file_id_of_this_attempt_is_the_task() {
        assert_eq!(u64::from(Writer { attempt: None, task: 7 }), 7);
        assert_eq!(Writer::from(7), Writer { attempt: None, task: 7 });
    }

    proptest! {
        #[test]
        fn every_attempt_reads_back(run in "[a-z0-9-]{1,12}", number in 1u32..) {
            let attempt = Attempt { run, number };
            prop_assert_eq!(attempt.to_string().parse(), Ok(attempt));
        }

        #[test]
        fn every_writer_reads_back(attempt in prop::option::of(1u32..), task: u32) {
            let writer = Writer { attempt, task };
            prop_assert_eq!(Writer::from(u64::from(writer)), writer);
        }

        #[test]
        fn every_query_id_reads_back(bits: u128) {
            let id = QueryId::from(Uuid::from_u128(bits));
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            let text = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<QueryId>(&text).unwrap(), id);
        }
    }
}
