//! Cases of `txn`.

use std::sync::Arc;

use super::{Outcome, commit, keys_of, put, value_of};
use crate::error::MetaStoreError;
use crate::store::MetaStore;
use crate::txn::{Expect, Txn, TxnOutcome};

pub async fn every_change_gets_a_later_revision(store: Arc<dyn MetaStore>) -> Outcome {
    let mut last = store.revision().await?;
    for _ in 0..5 {
        let revision = put(&*store, "a", "1").await?;
        assert!(revision > last);
        assert_eq!(store.revision().await?, revision);
        last = revision;
    }
    assert!(commit(&*store, Txn::new().delete("a")).await? > last);
    Ok(())
}

pub async fn all_writes_of_a_transaction_share_its_revision(store: Arc<dyn MetaStore>) -> Outcome {
    put(&*store, "gone", "1").await?;
    let revision = commit(&*store, Txn::new().put("a", "1").delete("gone").put("b", "2")).await?;
    let snapshot = store.list("").await?;
    assert_eq!(snapshot.revision, revision);
    let revisions: Vec<_> = snapshot.entries.iter().map(|(key, it)| (key.as_str(), it.revision)).collect();
    assert_eq!(revisions, [("a", revision), ("b", revision)]);
    Ok(())
}

pub async fn a_transaction_that_changes_nothing_keeps_the_revision(store: Arc<dyn MetaStore>) -> Outcome {
    let empty = store.revision().await?;
    assert_eq!(commit(&*store, Txn::new()).await?, empty);
    let revision = put(&*store, "a", "1").await?;
    assert_eq!(commit(&*store, Txn::new()).await?, revision);
    assert_eq!(commit(&*store, Txn::new().expect("a", Expect::Exists)).await?, revision);
    assert_eq!(commit(&*store, Txn::new().delete("never there")).await?, revision);
    let refused = store.txn(Txn::new().expect("b", Expect::Exists)).await?;
    assert_eq!(refused, TxnOutcome::Conflict { key: "b".to_owned() });
    assert_eq!(store.revision().await?, revision);
    Ok(())
}

pub async fn expectations_hold_or_conflict(store: Arc<dyn MetaStore>) -> Outcome {
    let old = put(&*store, "a", "1").await?;
    let revision = put(&*store, "a", "2").await?;
    let cases = [
        ("a", Expect::Exists, true),
        ("a", Expect::Absent, false),
        ("a", Expect::Revision(revision), true),
        ("a", Expect::Revision(old), false),
        ("a", Expect::Revision(0), false),
        ("b", Expect::Exists, false),
        ("b", Expect::Absent, true),
        ("b", Expect::Revision(revision), false),
        ("b", Expect::Revision(0), false),
        ("a", Expect::Revision(u64::MAX), false),
        ("b", Expect::Revision(u64::MAX), false),
    ];
    for (key, expect, holds) in cases {
        let outcome = store.txn(Txn::new().expect(key, expect)).await?;
        assert_eq!(outcome.committed().is_some(), holds, "{key} {expect:?}");
    }
    Ok(())
}

pub async fn a_conflict_writes_nothing_and_names_its_key(store: Arc<dyn MetaStore>) -> Outcome {
    put(&*store, "a", "1").await?;
    let revision = store.revision().await?;
    let txn = Txn::new()
        .expect("a", Expect::Exists)
        .expect("b", Expect::Exists)
        .expect("c", Expect::Exists)
        .put("a", "2")
        .put("d", "2");
    assert_eq!(store.txn(txn).await?, TxnOutcome::Conflict { key: "b".to_owned() });
    assert_eq!(value_of(&*store, "a").await?.as_deref(), Some("1"));
    assert_eq!(keys_of(&*store, "").await?, ["a"]);
    assert_eq!(store.revision().await?, revision);
    Ok(())
}

pub async fn a_recreated_key_is_not_the_old_one(store: Arc<dyn MetaStore>) -> Outcome {
    let old = put(&*store, "a", "1").await?;
    commit(&*store, Txn::new().delete("a")).await?;
    let new = put(&*store, "a", "1").await?;
    let outcome = store.txn(Txn::new().expect("a", Expect::Revision(old)).put("a", "2")).await?;
    assert_eq!(outcome, TxnOutcome::Conflict { key: "a".to_owned() });
    commit(&*store, Txn::new().expect("a", Expect::Revision(new)).put("a", "2")).await?;
    Ok(())
}

pub async fn meaningless_transactions_are_refused(store: Arc<dyn MetaStore>) -> Outcome {
    let before = store.revision().await?;
    let twice = store.txn(Txn::new().put("a", "1").put("b", "1").delete("a")).await;
    assert!(matches!(twice, Err(MetaStoreError::DuplicateKey { key }) if key == "a"));
    for txn in [Txn::new().put("", "1"), Txn::new().delete(""), Txn::new().expect("", Expect::Absent)] {
        assert!(matches!(store.txn(txn).await, Err(MetaStoreError::EmptyKey)));
    }
    assert_eq!(store.revision().await?, before);
    Ok(())
}
