//! What an acknowledgement promises.

use serde::{Deserialize, Serialize};

/// How far rows have come; later ones include earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// In memory: queries see them, and a crash loses them.
    Received,
    /// In the write-ahead log, on disk.
    Wal,
    /// In a file of the object store.
    ObjectStore,
}

impl Durability {
    pub const ALL: [Durability; 3] = [Durability::Received, Durability::Wal, Durability::ObjectStore];

    /// The name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Durability::Received => "received",
            Durability::Wal => "wal",
            Durability::ObjectStore => "object_store",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|durability| durability.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_durability_is_found_by_its_name_which_is_also_its_json() {
        for durability in Durability::ALL {
            assert_eq!(Durability::from_name(durability.name()), Some(durability));
            assert_eq!(serde_json::to_value(durability).unwrap(), durability.name());
        }
        assert_eq!(Durability::from_name("disk"), None);
    }
}
