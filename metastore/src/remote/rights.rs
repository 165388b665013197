//! Which keys another process may read and write.

use crate::error::{MetaStoreError, Result};
use crate::txn::Txn;

/// Parts of the key space, each as the text that its keys start with. To cover whole names a prefix ends at a
/// separator; the empty prefix covers all keys. Nothing is allowed by default, and to write is not to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    pub read: Vec<String>,
    pub write: Vec<String>,
}

impl Rights {
    /// The right to everything.
    pub fn all() -> Self {
        Self { read: vec![String::new()], write: vec![String::new()] }
    }

    pub(super) fn check_get(&self, key: &str) -> Result<()> {
        match covers(&self.read, key) {
            true => Ok(()),
            false => Err(refused(format!("no right to read `{key}`"))),
        }
    }

    /// Of a list or a watch. All keys that start with `prefix` are covered only if the prefix itself is.
    pub(super) fn check_prefix(&self, prefix: &str) -> Result<()> {
        match covers(&self.read, prefix) {
            true => Ok(()),
            false => Err(refused(format!("no right to read all keys that start with `{prefix}`"))),
        }
    }

    pub(super) fn check_txn(&self, txn: &Txn) -> Result<()> {
        if let Some(write) = txn.writes.iter().find(|write| !covers(&self.write, write.key())) {
            return Err(refused(format!("no right to write `{}`", write.key())));
        }
        let seen = |key: &str| covers(&self.read, key) || covers(&self.write, key);
        match txn.preconditions.iter().find(|precondition| !seen(&precondition.key)) {
            Some(precondition) => {
                Err(refused(format!("no right to set a condition on `{}`", precondition.key)))
            }
            None => Ok(()),
        }
    }
}

fn covers(prefixes: &[String], key: &str) -> bool {
    prefixes.iter().any(|prefix| key.starts_with(prefix.as_str()))
}

fn refused(detail: String) -> MetaStoreError {
    MetaStoreError::NotAllowed { detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::Expect;

    fn rights() -> Rights {
        Rights {
            read: vec!["catalog/".into()],
            write: vec!["stream/owner/".into(), "stream/manifest/".into()],
        }
    }

    #[test]
    fn reads_stay_within_their_prefixes() {
        for (key, allowed) in [
            ("catalog/version", true),
            ("catalog/", true),
            ("catalog", false),
            ("catalogue/x", false),
            ("cluster/secret", false),
            ("stream/owner/1", false),
            ("", false),
        ] {
            assert_eq!(rights().check_get(key).is_ok(), allowed, "{key}");
            assert_eq!(rights().check_prefix(key).is_ok(), allowed, "{key}");
        }
    }

    #[test]
    fn a_transaction_is_refused_for_any_of_its_keys() {
        let claim = Txn::new().expect("stream/owner/1", Expect::Absent).put("stream/owner/1", "me");
        let cases = [
            (claim.clone(), true),
            (claim.clone().expect("catalog/schema/a", Expect::Exists), true),
            (claim.clone().expect("cluster/secret", Expect::Exists), false),
            (claim.clone().put("catalog/version", ""), false),
            (claim.delete("catalog/version"), false),
            (Txn::new(), true),
        ];
        for (txn, allowed) in cases {
            assert_eq!(rights().check_txn(&txn).is_ok(), allowed, "{txn:?}");
        }
    }

    #[test]
    fn nothing_is_allowed_unless_it_is_given() {
        assert!(Rights::default().check_get("a").is_err());
        assert!(Rights::default().check_prefix("").is_err());
        assert!(Rights::default().check_txn(&Txn::new().delete("a")).is_err());
        assert!(Rights::all().check_prefix("").is_ok());
        assert!(Rights::all().check_txn(&Txn::new().delete("a")).is_ok());
    }
}
