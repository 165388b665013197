use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use polarway_metastore::{Key, KeyPrefix, MetaStoreError, Txn};

use super::super::index::{Forgotten, commit, discredit, forget_run, lookup, of_attempt, of_run};
use super::super::testing::{Forgetful, end_run, id, meta_with};
use super::super::{Commit, Entry, OutputId, ShuffleError};

fn entry(seq: u32) -> Entry {
    Entry {
        object: format!("q/w/{seq:08}.pack"),
        offset: 10,
        length: 20,
        crc: u32::MAX,
        memo: seq.is_multiple_of(2).then_some([0xab; 16]),
        bytes: 30,
    }
}

#[test]
fn the_stored_text_does_not_change() {
    let text = r#"{"object":"q/w/00000002.pack","offset":10,"length":20,"crc":4294967295,"memo":"abababababababababababababababab","bytes":30}"#;
    assert_eq!(serde_json::to_string(&entry(2)).unwrap(), text);
    assert_eq!(serde_json::from_str::<Entry>(text).unwrap(), entry(2));
    let without = text
        .replace(r#""memo":"abababababababababababababababab","#, "")
        .replace("02", "01")
        .replace("[2]", "[1]");
    assert_eq!(serde_json::to_string(&entry(1)).unwrap(), without);
    assert_eq!(serde_json::from_str::<Entry>(&without).unwrap(), entry(1));
    for memo in ["abab", "+bababababababababababababababab", "xbababababababababababababababab"] {
        let wrong = text.replace("abababababababababababababababab", memo);
        assert!(serde_json::from_str::<Entry>(&wrong).is_err(), "{memo}");
    }
}

#[tokio::test]
async fn committed_outputs_are_found_by_id_attempt_and_run() {
    let meta = meta_with(&["q", "r"]).await;
    let second = OutputId { attempt: 2, ..id("q", 1) };
    let entries =
        [(id("q", 1), entry(1)), (id("r", 1), entry(2)), (second.clone(), entry(3)), (id("q", 1), entry(4))];
    assert_eq!(commit(meta.as_ref(), &entries).await.unwrap(), Commit::Committed);
    assert_eq!(lookup(meta.as_ref(), &id("q", 1)).await.unwrap().unwrap().entry, entry(4), "the last counts");
    assert_eq!(lookup(meta.as_ref(), &id("q", 2)).await.unwrap(), None);
    let ids = |found: Vec<(OutputId, _)>| found.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(ids(of_attempt(meta.as_ref(), "q", 1).await.unwrap()), [id("q", 1)]);
    assert_eq!(ids(of_attempt(meta.as_ref(), "q", 2).await.unwrap()), std::slice::from_ref(&second));
    assert_eq!(ids(of_run(meta.as_ref(), "q").await.unwrap()), [id("q", 1), second]);
    assert_eq!(commit(meta.as_ref(), &[]).await.unwrap(), Commit::Committed);
}

#[tokio::test]
async fn what_is_forgotten_tells_its_objects_unless_an_output_has_several() {
    let meta = meta_with(&["q"]).await;
    let of = |seq: u32, offset: u64, bytes: u64| Entry { offset, bytes, ..entry(seq) };
    let packed = [(id("q", 1), of(1, 50, 30)), (id("q", 2), of(1, 70, 20)), (id("q", 3), of(2, 0, 0))];
    commit(meta.as_ref(), &packed).await.unwrap();
    let forgotten = forget_run(meta.as_ref(), "q").await.unwrap();
    let names = BTreeSet::from([entry(1).object, entry(2).object]);
    assert_eq!(forgotten, Forgotten { entries: 3, objects: Some(names) });
    let again = forget_run(meta.as_ref(), "q").await.unwrap();
    assert_eq!(again, Forgotten { entries: 0, objects: Some(BTreeSet::new()) });
    // The record of an output of several objects is behind less than all of it.
    commit(meta.as_ref(), &[(id("q", 1), of(1, 50, 30)), (id("q", 2), of(3, 10, 30))]).await.unwrap();
    assert_eq!(forget_run(meta.as_ref(), "q").await.unwrap(), Forgotten { entries: 2, objects: None });
}

#[tokio::test]
async fn nothing_is_committed_for_a_run_that_is_over() {
    let meta = meta_with(&["q", "r"]).await;
    commit(meta.as_ref(), &[(id("q", 1), entry(1))]).await.unwrap();
    end_run(meta.as_ref(), "q").await;
    let entries: Vec<_> = (0..300).map(|task| (id("q", task), entry(task))).collect();
    assert_eq!(commit(meta.as_ref(), &entries).await.unwrap(), Commit::RunOver);
    assert_eq!(of_run(meta.as_ref(), "q").await.unwrap().len(), 1);
    let of_both = [(id("q", 2), entry(2)), (id("r", 3), entry(3))];
    assert_eq!(commit(meta.as_ref(), &of_both).await.unwrap(), Commit::RunOver);
    assert_eq!(forget_run(meta.as_ref(), "r").await.unwrap().entries, 1);
    assert_eq!(forget_run(meta.as_ref(), "q").await.unwrap().entries, 1);
    assert!(meta.list(&KeyPrefix::Shuffle.encode()).await.unwrap().entries.is_empty());
}

#[tokio::test]
async fn many_outputs_go_in_transactions_that_any_store_takes() {
    let inner = meta_with(&["q", "q2"]).await;
    let meta = Forgetful::over(inner, 2);
    let entries: Vec<_> = (0..250).map(|task| (id("q", task), entry(task))).collect();
    assert_eq!(commit(&meta, &entries).await.unwrap(), Commit::Committed);
    // The first is told twice that its outcome is not known.
    assert_eq!(std::mem::take(&mut *meta.sizes.lock()), [100, 100, 100, 100, 50]);
    commit(&meta, &[(id("q2", 0), entry(0))]).await.unwrap();
    assert_eq!(of_run(&meta, "q").await.unwrap().len(), 250);
    meta.sizes.lock().clear();
    assert_eq!(forget_run(&meta, "q").await.unwrap().entries, 250);
    assert_eq!(*meta.sizes.lock(), [100, 100, 50]);
    assert!(of_run(&meta, "q").await.unwrap().is_empty());
    assert_eq!(of_run(&meta, "q2").await.unwrap().len(), 1);
    meta.forgets.store(100, Ordering::SeqCst);
    let given_up = commit(&meta, &entries).await;
    assert!(
        matches!(given_up, Err(ShuffleError::Meta(MetaStoreError::OutcomeUnknown { .. }))),
        "{given_up:?}"
    );
}

#[tokio::test]
async fn only_the_entry_that_proved_wrong_is_discredited() {
    let meta = meta_with(&["q"]).await;
    commit(meta.as_ref(), &[(id("q", 1), entry(1))]).await.unwrap();
    let first = lookup(meta.as_ref(), &id("q", 1)).await.unwrap().unwrap();
    commit(meta.as_ref(), &[(id("q", 1), entry(2))]).await.unwrap();
    assert!(!discredit(meta.as_ref(), &id("q", 1), first.revision).await.unwrap());
    let second = lookup(meta.as_ref(), &id("q", 1)).await.unwrap().unwrap();
    assert_eq!(second.entry, entry(2));
    assert!(discredit(meta.as_ref(), &id("q", 1), second.revision).await.unwrap());
    assert!(!discredit(meta.as_ref(), &id("q", 1), second.revision).await.unwrap());
    assert_eq!(lookup(meta.as_ref(), &id("q", 1)).await.unwrap(), None);
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_hides_no_other() {
    let meta = meta_with(&["q"]).await;
    commit(meta.as_ref(), &[(id("q", 1), entry(1))]).await.unwrap();
    meta.txn(Txn::new().put(id("q", 2).key(), "{}")).await.unwrap();
    assert_eq!(of_run(meta.as_ref(), "q").await.unwrap().len(), 1);
    assert!(matches!(lookup(meta.as_ref(), &id("q", 2)).await, Err(ShuffleError::Entry { .. })));
    assert_eq!(Key::decode(&id("q", 2).key()).unwrap().encode(), id("q", 2).key());
}
