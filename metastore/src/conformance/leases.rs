//! Cases of leases.
//!
//! A machine that stands still may end any lease, so that cases which wait for nothing take long ones, and the others
//! look at the clock before they judge.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Failure, Outcome, PATIENCE, commit, delete_event, keys_of, next, put, put_event, value_of};
use crate::error::MetaStoreError;
use crate::lease::{LONGEST_TTL, Lease, LeaseId};
use crate::store::MetaStore;
use crate::txn::{Expect, Txn, TxnOutcome};

/// Does not end within a case.
const LONG: Duration = Duration::from_secs(600);
/// Of which a case waits for the end; a store may make it longer.
const SHORT: Duration = Duration::from_secs(1);

async fn granted(store: &dyn MetaStore, ttl: Duration) -> Result<LeaseId, Failure> {
    Ok(store.grant(ttl).await?.id)
}

async fn put_leased(store: &dyn MetaStore, key: &str, lease: LeaseId) -> Result<u64, Failure> {
    commit(store, Txn::new().put_leased(key, "leased", lease)).await
}

fn is_ended<T>(result: Result<T, MetaStoreError>, ended: LeaseId) -> Outcome {
    match result {
        Err(MetaStoreError::LeaseNotFound { lease }) if lease == ended => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Err("a lease that has ended was taken for one that runs".into()),
    }
}

/// Commits what is made of a short lease, which on a slow machine ends before that; then it is another one.
async fn commit_short(
    store: &dyn MetaStore,
    txn: impl Fn(LeaseId) -> Txn,
) -> Result<(Lease, u64, Instant), Failure> {
    loop {
        let asked = Instant::now();
        let lease = store.grant(SHORT).await?;
        match store.txn(txn(lease.id)).await {
            Ok(outcome) => return Ok((lease, outcome.committed().ok_or("a conflict")?, asked)),
            Err(MetaStoreError::LeaseNotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn until_absent(store: &dyn MetaStore, key: &str) -> Outcome {
    let started = Instant::now();
    while store.get(key).await?.is_some() {
        assert!(started.elapsed() < PATIENCE, "`{key}` is still there");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

pub async fn a_leased_key_is_a_key_like_any_other(store: Arc<dyn MetaStore>) -> Outcome {
    let lease = granted(&*store, LONG).await?;
    let revision = commit(&*store, Txn::new().put_leased("a", "1", lease).put("b", "2")).await?;
    assert_eq!(value_of(&*store, "a").await?.as_deref(), Some("1"));
    assert_eq!(store.get("a").await?.map(|it| it.revision), Some(revision));
    assert_eq!(keys_of(&*store, "").await?, ["a", "b"]);
    let txn = Txn::new().expect("a", Expect::Revision(revision)).put_leased("a", "2", lease);
    assert!(commit(&*store, txn).await? > revision);
    Ok(())
}

pub async fn a_lease_that_is_kept_alive_keeps_its_keys(store: Arc<dyn MetaStore>) -> Outcome {
    let started = Instant::now();
    'again: loop {
        assert!(started.elapsed() < PATIENCE, "the machine is too slow for a lease");
        let begun = Instant::now();
        let lease = store.grant(SHORT).await?;
        let mut sent = begun;
        let late = |sent: Instant| sent.elapsed() > lease.ttl * 3 / 4;
        let written = put_leased(&*store, "a", lease.id).await;
        if late(sent) {
            continue;
        }
        written?;
        while begun.elapsed() < lease.ttl * 3 {
            sleep(lease.ttl / 8).await;
            let sending = Instant::now();
            let kept = store.keep_alive(lease.id).await;
            if late(sent) {
                continue 'again;
            }
            kept?;
            sent = sending;
            let found = store.get("a").await?;
            if late(sent) {
                continue 'again;
            }
            assert!(found.is_some(), "a key went although its lease was kept alive");
        }
        return Ok(());
    }
}

pub async fn a_lease_that_is_not_kept_alive_ends(store: Arc<dyn MetaStore>) -> Outcome {
    put(&*store, "b", "stays").await?;
    let (lease, _, asked) = commit_short(&*store, |lease| Txn::new().put_leased("a", "1", lease)).await?;
    until_absent(&*store, "a").await?;
    assert!(asked.elapsed() >= lease.ttl, "it ended after {:?} of {:?}", asked.elapsed(), lease.ttl);
    assert_eq!(keys_of(&*store, "").await?, ["b"]);
    Ok(())
}

pub async fn a_lease_that_ended_does_not_come_back(store: Arc<dyn MetaStore>) -> Outcome {
    let revoked = granted(&*store, LONG).await?;
    let (expired, ..) = commit_short(&*store, |lease| Txn::new().put_leased("a", "1", lease)).await?;
    until_absent(&*store, "a").await?;
    store.revoke(revoked).await?;
    for lease in [expired.id, revoked] {
        is_ended(store.keep_alive(lease).await, lease)?;
        let revision = store.revision().await?;
        is_ended(store.txn(Txn::new().put("b", "").put_leased("a", "", lease)).await, lease)?;
        assert_eq!(store.revision().await?, revision);
        assert!(keys_of(&*store, "").await?.is_empty());
        store.revoke(lease).await?;
    }
    Ok(())
}

pub async fn a_revoked_lease_takes_its_keys_along(store: Arc<dyn MetaStore>) -> Outcome {
    let (lease, other) = (granted(&*store, LONG).await?, granted(&*store, LONG).await?);
    assert_ne!(lease, other);
    put_leased(&*store, "a", lease).await?;
    put_leased(&*store, "b", other).await?;
    let before = put(&*store, "c", "1").await?;
    store.revoke(lease).await?;
    let snapshot = store.list("").await?;
    assert!(snapshot.revision > before);
    assert!(snapshot.entries.iter().map(|(key, _)| key.as_str()).eq(["b", "c"]));
    store.keep_alive(other).await?;
    // Twice is as once.
    store.revoke(lease).await?;
    assert_eq!(store.revision().await?, snapshot.revision);
    Ok(())
}

pub async fn a_watch_sees_the_end_of_a_lease(store: Arc<dyn MetaStore>) -> Outcome {
    let mut events = store.watch("", store.revision().await?).await?;
    for ttl in [LONG, SHORT] {
        let txn = |lease| Txn::new().put_leased("b", "1", lease).put_leased("a", "2", lease).put("c", "3");
        let long = granted(&*store, LONG).await?;
        let revision = match ttl {
            LONG => commit(&*store, txn(long)).await?,
            _ => commit_short(&*store, txn).await?.1,
        };
        assert_eq!(next(&mut events).await?, put_event(revision, "b", "1"));
        assert_eq!(next(&mut events).await?, put_event(revision, "a", "2"));
        assert_eq!(next(&mut events).await?, put_event(revision, "c", "3"));
        if ttl == LONG {
            store.revoke(long).await?;
        }
        // Nobody asks the store for anything meanwhile.
        let first = next(&mut events).await?;
        assert!(first.revision > revision);
        assert_eq!(first, delete_event(first.revision, "a"));
        assert_eq!(next(&mut events).await?, delete_event(first.revision, "b"));
        assert_eq!(store.revision().await?, first.revision);
    }
    let last = put(&*store, "d", "4").await?;
    assert_eq!(next(&mut events).await?, put_event(last, "d", "4"));
    Ok(())
}

pub async fn a_key_goes_with_the_lease_of_its_last_write(store: Arc<dyn MetaStore>) -> Outcome {
    let (one, two) = (granted(&*store, LONG).await?, granted(&*store, LONG).await?);
    for key in ["moved", "freed", "kept"] {
        put_leased(&*store, key, one).await?;
    }
    put_leased(&*store, "moved", two).await?;
    put(&*store, "freed", "1").await?;
    put_leased(&*store, "kept", one).await?;
    store.revoke(one).await?;
    assert_eq!(keys_of(&*store, "").await?, ["freed", "moved"]);
    store.revoke(two).await?;
    assert_eq!(keys_of(&*store, "").await?, ["freed"]);
    Ok(())
}

pub async fn what_was_deleted_is_not_deleted_again(store: Arc<dyn MetaStore>) -> Outcome {
    let lease = granted(&*store, LONG).await?;
    put_leased(&*store, "a", lease).await?;
    commit(&*store, Txn::new().delete("a")).await?;
    let revision = put(&*store, "a", "2").await?;
    store.revoke(lease).await?;
    assert_eq!(store.get("a").await?.map(|it| it.revision), Some(revision));
    assert_eq!(store.revision().await?, revision);
    Ok(())
}

pub async fn a_lease_that_never_was_carries_nothing(store: Arc<dyn MetaStore>) -> Outcome {
    let lease = granted(&*store, LONG).await?;
    put(&*store, "a", "1").await?;
    let revision = store.revision().await?;
    for unknown in [0, 1, lease.get() + 1, i64::MAX.unsigned_abs(), u64::MAX].map(LeaseId::new) {
        is_ended(store.keep_alive(unknown).await, unknown)?;
        is_ended(store.txn(Txn::new().put("b", "1").put_leased("a", "2", unknown)).await, unknown)?;
        // Among others it is the one that is named.
        let txn = Txn::new().put_leased("b", "1", lease).put_leased("a", "2", unknown);
        is_ended(store.txn(txn).await, unknown)?;
        store.revoke(unknown).await?;
    }
    assert_eq!(store.revision().await?, revision);
    assert_eq!(value_of(&*store, "a").await?.as_deref(), Some("1"));
    Ok(())
}

pub async fn a_conflict_comes_before_a_lease(store: Arc<dyn MetaStore>) -> Outcome {
    let lease = granted(&*store, LONG).await?;
    store.revoke(lease).await?;
    let txn = Txn::new().expect("b", Expect::Exists).put_leased("a", "1", lease);
    assert_eq!(store.txn(txn).await?, TxnOutcome::Conflict { key: "b".to_owned() });
    Ok(())
}

pub async fn a_key_of_a_lease_fences_its_holder(store: Arc<dyn MetaStore>) -> Outcome {
    let (_, mine, _) = commit_short(&*store, |lease| Txn::new().put_leased("owner", "me", lease)).await?;
    until_absent(&*store, "owner").await?;
    let other = granted(&*store, LONG).await?;
    let theirs = put_leased(&*store, "owner", other).await?;
    let write = |owner| Txn::new().expect("owner", Expect::Revision(owner)).put("result", owner.to_string());
    assert_eq!(store.txn(write(mine)).await?, TxnOutcome::Conflict { key: "owner".to_owned() });
    assert_eq!(store.get("result").await?, None);
    commit(&*store, write(theirs)).await?;
    Ok(())
}

pub async fn leases_are_granted_within_bounds(store: Arc<dyn MetaStore>) -> Outcome {
    assert_eq!(store.grant(LONG).await?.ttl, LONG);
    assert_eq!(store.grant(Duration::MAX).await?.ttl, LONGEST_TTL);
    assert!(store.grant(Duration::from_millis(1_500)).await?.ttl >= Duration::from_millis(1_500));
    assert!(store.grant(Duration::ZERO).await?.ttl > Duration::ZERO);
    Ok(())
}
