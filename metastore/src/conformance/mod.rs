//! What every [`MetaStore`] must do, as tests.
//!
//! [`conformance_tests!`](crate::conformance_tests) turns the cases into tests of one implementation. Each case
//! takes a fresh, empty store and fails by a failed assertion or by an error. [`resumption`] has cases that need to
//! do something to the store, or to the way to it, that only its own tests know how to do.

pub mod contention;
pub mod holders;
pub mod leases;
pub mod reads;
pub mod resumption;
pub mod txns;
pub mod watches;

use std::time::Duration;

use futures::StreamExt;

use crate::store::{Event, EventKind, MetaStore, WatchStream};
use crate::txn::{Txn, TxnOutcome};

/// How a case ends.
pub type Outcome = Result<(), Failure>;

/// Why a case failed, if not by an assertion.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Long enough for any event to arrive on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Defines one test a case. The argument is a path to `async fn() -> (Arc<dyn MetaStore>, impl Any)`, which makes an
/// empty store and what has to live as long.
#[macro_export]
macro_rules! conformance_tests {
    ($new_store:path) => {
        $crate::conformance_tests!(@cases $new_store,
            reads::an_empty_store_has_no_entries,
            reads::what_was_put_is_read_back,
            reads::an_overwritten_value_has_the_later_revision,
            reads::a_deleted_key_is_absent,
            reads::a_list_is_in_the_order_of_keys,
            reads::a_prefix_matches_its_keys_and_no_others,
            reads::large_values_are_kept,
            txns::every_change_gets_a_later_revision,
            txns::all_writes_of_a_transaction_share_its_revision,
            txns::a_transaction_that_changes_nothing_keeps_the_revision,
            txns::expectations_hold_or_conflict,
            txns::a_conflict_writes_nothing_and_names_its_key,
            txns::a_recreated_key_is_not_the_old_one,
            txns::meaningless_transactions_are_refused,
            contention::increments_add_up,
            contention::one_of_many_creators_wins,
            contention::readers_never_see_half_a_transaction,
            contention::what_is_tried_again_counts_once,
            watches::a_watch_from_now_sees_what_follows,
            watches::a_watch_resumes_where_it_stopped,
            watches::a_watch_sees_its_prefix_only,
            watches::events_come_in_order_without_gaps,
            watches::a_list_and_its_watch_make_a_replica,
            watches::a_conflict_makes_no_event,
            watches::watches_are_independent,
            leases::a_leased_key_is_a_key_like_any_other,
            leases::a_lease_that_is_kept_alive_keeps_its_keys,
            leases::a_lease_that_is_not_kept_alive_ends,
            leases::a_lease_that_ended_does_not_come_back,
            leases::a_revoked_lease_takes_its_keys_along,
            leases::a_watch_sees_the_end_of_a_lease,
            leases::a_key_goes_with_the_lease_of_its_last_write,
            leases::what_was_deleted_is_not_deleted_again,
            leases::a_lease_that_never_was_carries_nothing,
            leases::a_conflict_comes_before_a_lease,
            leases::a_key_of_a_lease_fences_its_holder,
            leases::leases_are_granted_within_bounds,
            holders::a_holder_keeps_its_lease_until_it_releases_it,
            holders::a_holder_whose_lease_was_ended_is_told,
            holders::one_of_many_candidates_holds_at_a_time,
        );
    };
    (@cases $new_store:path, $($module:ident :: $case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() -> $crate::conformance::Outcome {
                let (store, _alive) = $new_store().await;
                $crate::conformance::$module::$case(store).await
            }
        )*
    };
}

async fn commit(store: &dyn MetaStore, txn: Txn) -> Result<u64, Failure> {
    match store.txn(txn).await? {
        TxnOutcome::Committed { revision } => Ok(revision),
        TxnOutcome::Conflict { key } => Err(format!("unexpected conflict on `{key}`").into()),
    }
}

async fn put(store: &dyn MetaStore, key: &str, value: &str) -> Result<u64, Failure> {
    commit(store, Txn::new().put(key, value.to_owned())).await
}

async fn value_of(store: &dyn MetaStore, key: &str) -> Result<Option<String>, Failure> {
    let versioned = store.get(key).await?;
    Ok(versioned.map(|it| String::from_utf8_lossy(&it.value).into_owned()))
}

async fn keys_of(store: &dyn MetaStore, prefix: &str) -> Result<Vec<String>, Failure> {
    Ok(store.list(prefix).await?.entries.into_iter().map(|(key, _)| key).collect())
}

async fn next(events: &mut WatchStream) -> Result<Event, Failure> {
    let item = tokio::time::timeout(PATIENCE, events.next()).await.map_err(|_| "no event arrived")?;
    Ok(item.ok_or("the watch ended")??)
}

fn put_event(revision: u64, key: &str, value: &str) -> Event {
    Event { revision, key: key.to_owned(), kind: EventKind::Put(value.to_owned().into()) }
}

fn delete_event(revision: u64, key: &str) -> Event {
    Event { revision, key: key.to_owned(), kind: EventKind::Delete }
}
