//! Cases of `get`, `list` and `revision`.

use std::sync::Arc;

use super::{Outcome, commit, keys_of, put, value_of};
use crate::store::MetaStore;
use crate::txn::Txn;

pub async fn an_empty_store_has_no_entries(store: Arc<dyn MetaStore>) -> Outcome {
    let revision = store.revision().await?;
    assert_eq!(store.get("a").await?, None);
    let snapshot = store.list("").await?;
    assert_eq!((snapshot.revision, snapshot.entries.len()), (revision, 0));
    Ok(())
}

pub async fn what_was_put_is_read_back(store: Arc<dyn MetaStore>) -> Outcome {
    let binary: Vec<u8> = (0..=255).collect();
    let revision = commit(&*store, Txn::new().put("a", binary.clone()).put("empty", "")).await?;
    let versioned = store.get("a").await?.ok_or("absent")?;
    assert_eq!((versioned.value.as_ref(), versioned.revision), (binary.as_slice(), revision));
    assert_eq!(value_of(&*store, "empty").await?.as_deref(), Some(""));
    Ok(())
}

pub async fn an_overwritten_value_has_the_later_revision(store: Arc<dyn MetaStore>) -> Outcome {
    let first = put(&*store, "a", "1").await?;
    let other = put(&*store, "b", "1").await?;
    let second = put(&*store, "a", "1").await?;
    assert!(first < other && other < second);
    assert_eq!(store.get("a").await?.map(|it| it.revision), Some(second));
    assert_eq!(store.get("b").await?.map(|it| it.revision), Some(other));
    Ok(())
}

pub async fn a_deleted_key_is_absent(store: Arc<dyn MetaStore>) -> Outcome {
    put(&*store, "a", "1").await?;
    put(&*store, "b", "1").await?;
    commit(&*store, Txn::new().delete("a")).await?;
    assert_eq!(store.get("a").await?, None);
    assert_eq!(keys_of(&*store, "").await?, ["b"]);
    Ok(())
}

pub async fn a_list_is_in_the_order_of_keys(store: Arc<dyn MetaStore>) -> Outcome {
    let keys = ["b", "a/2", "é", "a", "Z", "a/10", "a-", "~"];
    for key in keys {
        put(&*store, key, key).await?;
    }
    let mut sorted = keys;
    sorted.sort_unstable();
    let snapshot = store.list("").await?;
    assert_eq!(snapshot.revision, store.revision().await?);
    assert!(snapshot.entries.iter().map(|(key, _)| key.as_str()).eq(sorted));
    for (key, versioned) in snapshot.entries {
        assert_eq!(store.get(&key).await?, Some(versioned));
    }
    Ok(())
}

pub async fn a_prefix_matches_its_keys_and_no_others(store: Arc<dyn MetaStore>) -> Outcome {
    for key in ["a", "a/", "a/b", "a/bc", "a0", "b", "\u{10ffff}", "\u{10ffff}x", "%"] {
        put(&*store, key, "").await?;
    }
    assert_eq!(keys_of(&*store, "a/").await?, ["a/", "a/b", "a/bc"]);
    assert_eq!(keys_of(&*store, "a/b").await?, ["a/b", "a/bc"]);
    assert_eq!(keys_of(&*store, "a").await?, ["a", "a/", "a/b", "a/bc", "a0"]);
    assert_eq!(keys_of(&*store, "\u{10ffff}").await?, ["\u{10ffff}", "\u{10ffff}x"]);
    assert_eq!(keys_of(&*store, "%").await?, ["%"]);
    assert!(keys_of(&*store, "a/bcd").await?.is_empty());
    assert_eq!(keys_of(&*store, "").await?.len(), 9);
    Ok(())
}

pub async fn large_values_are_kept(store: Arc<dyn MetaStore>) -> Outcome {
    let large: Vec<u8> = (0..1u32 << 20).map(|index| (index % 251) as u8).collect();
    commit(&*store, Txn::new().put("large", large.clone())).await?;
    put(&*store, "small", "1").await?;
    assert!(store.get("large").await?.is_some_and(|it| it.value == large));
    assert_eq!(store.list("l").await?.entries.len(), 1);
    Ok(())
}
