//! Cases of `watch`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Failure, Outcome, commit, delete_event, next, put, put_event};
use crate::store::{EventKind, MetaStore};
use crate::txn::{Expect, Txn};

const WRITERS: usize = 4;
const ROUNDS: usize = 25;

pub async fn a_watch_from_now_sees_what_follows(store: Arc<dyn MetaStore>) -> Outcome {
    put(&*store, "before", "1").await?;
    let mut events = store.watch("", store.revision().await?).await?;
    let first = put(&*store, "a", "1").await?;
    let second = put(&*store, "a", "2").await?;
    let third = commit(&*store, Txn::new().delete("a")).await?;
    assert_eq!(next(&mut events).await?, put_event(first, "a", "1"));
    assert_eq!(next(&mut events).await?, put_event(second, "a", "2"));
    assert_eq!(next(&mut events).await?, delete_event(third, "a"));
    Ok(())
}

pub async fn a_watch_resumes_where_it_stopped(store: Arc<dyn MetaStore>) -> Outcome {
    let mut events = store.watch("", store.revision().await?).await?;
    put(&*store, "a", "1").await?;
    let seen = next(&mut events).await?.revision;
    drop(events);
    let second = put(&*store, "b", "2").await?;
    let third = commit(&*store, Txn::new().put("c", "3").delete("a")).await?;
    let mut events = store.watch("", seen).await?;
    assert_eq!(next(&mut events).await?, put_event(second, "b", "2"));
    assert_eq!(next(&mut events).await?, put_event(third, "c", "3"));
    assert_eq!(next(&mut events).await?, delete_event(third, "a"));
    let fourth = put(&*store, "d", "4").await?;
    assert_eq!(next(&mut events).await?, put_event(fourth, "d", "4"));
    Ok(())
}

pub async fn a_watch_sees_its_prefix_only(store: Arc<dyn MetaStore>) -> Outcome {
    let mut events = store.watch("a/", store.revision().await?).await?;
    let mut last = 0;
    for key in ["a", "a0", "b", "a/"] {
        last = put(&*store, key, "1").await?;
    }
    let second = commit(&*store, Txn::new().put("z", "2").put("a/x", "2").delete("a")).await?;
    assert_eq!(next(&mut events).await?, put_event(last, "a/", "1"));
    assert_eq!(next(&mut events).await?, put_event(second, "a/x", "2"));
    let third = put(&*store, "a/y", "3").await?;
    assert_eq!(next(&mut events).await?, put_event(third, "a/y", "3"));
    Ok(())
}

pub async fn events_come_in_order_without_gaps(store: Arc<dyn MetaStore>) -> Outcome {
    let mut last = store.revision().await?;
    let mut events = store.watch("", last).await?;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let value = round.to_string();
                    let txn = Txn::new()
                        .put(format!("{writer}/a"), value.clone())
                        .put(format!("{writer}/b"), value);
                    commit(&*store, txn).await?;
                }
                Ok::<_, Failure>(())
            })
        })
        .collect();
    let mut rounds = [0; WRITERS];
    for _ in 0..WRITERS * ROUNDS {
        let (a, b) = (next(&mut events).await?, next(&mut events).await?);
        assert!(a.revision > last && a.revision == b.revision, "{a:?} {b:?} after {last}");
        last = a.revision;
        let writer: usize = a.key.trim_end_matches("/a").parse()?;
        let value = rounds[writer].to_string();
        assert_eq!(a, put_event(last, &format!("{writer}/a"), &value));
        assert_eq!(b, put_event(last, &format!("{writer}/b"), &value));
        rounds[writer] += 1;
    }
    assert_eq!(last, store.revision().await?);
    for writer in writers {
        writer.await??;
    }
    Ok(())
}

pub async fn a_list_and_its_watch_make_a_replica(store: Arc<dyn MetaStore>) -> Outcome {
    let empty = store.revision().await?;
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for round in 0..WRITERS * ROUNDS {
                let key = format!("k{}", round % 7);
                let txn = Txn::new();
                let txn = if round % 3 == 0 { txn.delete(key) } else { txn.put(key, round.to_string()) };
                commit(&*store, txn).await?;
            }
            put(&*store, "last", "").await
        }
    });
    while store.revision().await? < empty + 10 {
        tokio::task::yield_now().await;
    }
    let snapshot = store.list("").await?;
    let mut events = store.watch("", snapshot.revision).await?;
    let mut replica: BTreeMap<_, _> =
        snapshot.entries.into_iter().map(|(key, versioned)| (key, versioned.value)).collect();
    while !replica.contains_key("last") {
        let event = next(&mut events).await?;
        match event.kind {
            EventKind::Put(value) => {
                replica.insert(event.key, value);
            }
            EventKind::Delete => {
                assert!(replica.remove(&event.key).is_some(), "a key was deleted that was not there");
            }
        }
    }
    writer.await??;
    let entries: BTreeMap<_, _> =
        store.list("").await?.entries.into_iter().map(|(key, versioned)| (key, versioned.value)).collect();
    assert_eq!(replica, entries);
    Ok(())
}

pub async fn a_conflict_makes_no_event(store: Arc<dyn MetaStore>) -> Outcome {
    let mut events = store.watch("", store.revision().await?).await?;
    store.txn(Txn::new().expect("a", Expect::Exists).put("a", "1")).await?;
    commit(&*store, Txn::new().delete("a")).await?;
    let revision = put(&*store, "b", "1").await?;
    assert_eq!(next(&mut events).await?, put_event(revision, "b", "1"));
    Ok(())
}

pub async fn watches_are_independent(store: Arc<dyn MetaStore>) -> Outcome {
    let start = store.revision().await?;
    let mut first = store.watch("a", start).await?;
    let unread = store.watch("", start).await?;
    let mut second = store.watch("a", start).await?;
    let one = put(&*store, "a", "1").await?;
    assert_eq!(next(&mut second).await?, put_event(one, "a", "1"));
    drop((second, unread));
    let two = put(&*store, "a", "2").await?;
    assert_eq!(next(&mut first).await?, put_event(one, "a", "1"));
    assert_eq!(next(&mut first).await?, put_event(two, "a", "2"));
    Ok(())
}
