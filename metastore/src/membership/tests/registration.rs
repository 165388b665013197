use std::sync::Mutex;
use std::time::{Instant, SystemTime};

use polarway_common::{Clock, Error, ErrorKind};

use polarway_identity::Credential;

use super::*;
use crate::store::Versioned;
use crate::txn::{Precondition, Txn, TxnOutcome};

const SHORT: Duration = Duration::from_millis(300);

/// The system's clock, which jumps as it does for a process that stood still.
#[derive(Debug, Default)]
struct Jumping(Mutex<Duration>);

impl Clock for Jumping {
    fn now(&self) -> Instant {
        Instant::now() + *self.0.lock().unwrap()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now() + *self.0.lock().unwrap()
    }
}

async fn stored(store: &dyn MetaStore, name: &str) -> Option<(Member, u64)> {
    let key = format!("member/{name}");
    let Versioned { value, revision } = store.get(&key).await.unwrap()?;
    Some((Member::decode(&key, &value).unwrap(), revision))
}

/// A transaction that must not take place once the registration has lapsed.
async fn attempt(store: &dyn MetaStore, fence: Option<Precondition>) -> TxnOutcome {
    let txn = Txn { preconditions: vec![fence.expect("not registered")], ..Txn::new().put("work", "done") };
    store.txn(txn).await.unwrap()
}

fn is_refused(outcome: TxnOutcome) {
    assert_eq!(outcome, TxnOutcome::Conflict { key: "member/a".into() });
}

#[tokio::test]
async fn row_12_a_lease_that_was_ended_is_replaced_and_its_fence_holds_no_longer() {
    let (store, supervisor) = (embedded(), Supervisor::new());
    let registration = register(Arc::clone(&store) as _, member("a"), LONG, &supervisor).await.unwrap();
    let before = *registration.status().borrow();
    let fence = registration.fence();
    assert!(attempt(&*store, fence.clone()).await.committed().is_some());

    store.revoke(held(before).0).await.unwrap();
    let (lease, revision) = is_held_anew(&registration, before).await;
    assert_ne!(lease, held(before).0);
    assert!(registration.is_registered());
    assert_eq!(stored(&*store, "a").await, Some((member("a"), revision)));
    is_refused(attempt(&*store, fence).await);
    assert!(attempt(&*store, registration.fence()).await.committed().is_some());
    supervisor.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn row_12_a_process_that_stood_still_knows_it_at_once_and_registers_again() {
    let (store, supervisor) = (embedded(), Supervisor::new());
    let (clock, ttl) = (Arc::new(Jumping::default()), Duration::from_secs(3));
    let registration =
        Registration::start(Arc::clone(&store) as _, member("a"), ttl, Arc::clone(&clock) as _, &supervisor);
    let registration = registration.await.unwrap();
    let before = *registration.status().borrow();
    let fence = registration.fence();
    *clock.0.lock().unwrap() += ttl;
    // No task has run since.
    assert!(!registration.is_registered());
    assert_eq!((registration.fence(), *registration.status().borrow()), (None, before));

    let (_, revision) = is_held_anew(&registration, before).await;
    assert!(registration.is_registered());
    assert_eq!(stored(&*store, "a").await, Some((member("a"), revision)));
    is_refused(attempt(&*store, fence).await);
}

#[tokio::test]
async fn row_12_a_second_process_gets_the_name_when_the_first_goes() {
    let (store, supervisor) = (embedded(), Supervisor::new());
    let members = Members::follow(Arc::clone(&store) as _, &supervisor).await.unwrap();
    let first = register(Arc::clone(&store) as _, member("a"), LONG, &supervisor).await.unwrap();
    // Its key begins with the other's.
    let _neighbour = register(Arc::clone(&store) as _, member("a2"), LONG, &supervisor).await.unwrap();
    let waiting = tokio::spawn({
        let (store, supervisor) = (Arc::clone(&store), supervisor.clone());
        async move { register(store, second("a"), LONG, &supervisor).await }
    });
    let view = sees(&members, &["a", "a2"]).await;
    assert_eq!(view.get("a"), Some(&member("a")));
    assert!(!waiting.is_finished());
    first.leave().await;
    let registration = timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
    assert!(registration.is_registered());
    until(&members, |view| view.get("a") == Some(&second("a"))).await;
}

#[tokio::test]
async fn row_12_a_second_process_gets_the_name_of_one_that_died() {
    const TTL: Duration = Duration::from_secs(1);
    let (store, supervisor) = (embedded(), Supervisor::new());
    let connected = Arc::clone(&store) as Arc<dyn MetaStore>;
    let mut first = Process::start(async { connected }, member("a"), TTL).await;
    first.kill();
    let registration = register(Arc::clone(&store) as _, second("a"), TTL, &supervisor).await.unwrap();
    assert!(registration.is_registered());
    assert_eq!(stored(&*store, "a").await.unwrap().0, second("a"));
}

#[tokio::test]
async fn row_12_a_second_process_is_told_who_has_the_name() {
    let (store, supervisor) = (embedded(), Supervisor::new());
    let first = register(Arc::clone(&store) as _, member("a"), LONG, &supervisor).await.unwrap();
    let error = register(Arc::clone(&store) as _, second("a"), SHORT, &supervisor).await.unwrap_err();
    assert_eq!(error.to_string(), "the name `a` is taken by the process at a:50052, incarnation `1`");
    let error = Error::from(error);
    assert_eq!((error.kind, error.is_retryable()), (ErrorKind::Configuration, false));
    assert!(first.is_registered());

    store.txn(Txn::new().put("member/b", "?")).await.unwrap();
    let error = register(Arc::clone(&store) as _, member("b"), SHORT, &supervisor).await.unwrap_err();
    assert!(
        matches!(&error, MembershipError::Taken { holder, .. } if holder.contains("member/b")),
        "{error}"
    );
}

#[tokio::test]
async fn row_12_whose_name_was_taken_away_waits_for_it() {
    let (store, supervisor) = (embedded(), Supervisor::new());
    let registration = register(Arc::clone(&store) as _, member("a"), LONG, &supervisor).await.unwrap();
    let before = *registration.status().borrow();
    store.txn(Txn::new().put("member/a", second("a").encode().unwrap())).await.unwrap();
    lapses(&mut registration.status()).await;
    assert_eq!((registration.is_registered(), registration.fence()), (false, None));

    // What is said meanwhile is said later.
    let error = registration.update(|member| member.state = MemberState::Leaving).await.unwrap_err();
    assert!(matches!(error, MembershipError::Lapsed { .. }) && error.is_retryable(), "{error}");
    let error = registration.update(|member| member.incarnation = "7".into()).await.unwrap_err();
    assert!(matches!(error, MembershipError::Renamed { .. }), "{error}");
    assert_eq!(stored(&*store, "a").await.unwrap().0, second("a"));

    store.txn(Txn::new().delete("member/a")).await.unwrap();
    let (_, revision) = is_held_anew(&registration, before).await;
    let leaving = Member { state: MemberState::Leaving, ..member("a") };
    assert_eq!(stored(&*store, "a").await, Some((leaving, revision)));
}

#[tokio::test]
async fn an_update_keeps_the_lease_and_moves_the_fence() {
    let (store, supervisor) = (embedded(), Supervisor::new());
    let registration = register(Arc::clone(&store) as _, member("a"), LONG, &supervisor).await.unwrap();
    let (lease, first) = held(*registration.status().borrow());
    let fence = registration.fence();
    let revision = registration.update(|member| member.slots = 8).await.unwrap();
    assert!(revision > first);
    assert_eq!(held(*registration.status().borrow()), (lease, revision));
    let after = Member { slots: 8, ..member("a") };
    assert_eq!(stored(&*store, "a").await, Some((after.clone(), revision)));
    is_refused(attempt(&*store, fence).await);
    assert!(attempt(&*store, registration.fence()).await.committed().is_some());

    assert_eq!(registration.update(|member| member.slots = 8).await.unwrap(), revision);
    let error = registration.update(|member| member.name = "b".into()).await.unwrap_err();
    assert_eq!(error.to_string(), "a member cannot change its name or incarnation: `a@1` would become `b@1`");
    assert_eq!(stored(&*store, "a").await, Some((after, revision)));
    // It was no other lease that the entry was written under.
    let before = *registration.status().borrow();
    store.revoke(lease).await.unwrap();
    is_held_anew(&registration, before).await;
}

#[tokio::test]
async fn an_entry_of_the_same_process_is_taken_over() {
    let (store, supervisor) = (embedded(), Supervisor::new());
    let members = Members::follow(Arc::clone(&store) as _, &supervisor).await.unwrap();
    let old = store.grant(LONG).await.unwrap().id;
    let before = Txn::new().put_leased("member/a", member("a").encode().unwrap(), old);
    store.txn(before).await.unwrap();
    let after = Member { slots: 8, ..member("a") };
    let registration = register(Arc::clone(&store) as _, after.clone(), LONG, &supervisor).await.unwrap();
    let (lease, revision) = held(*registration.status().borrow());
    assert_ne!(lease, old);
    store.revoke(old).await.unwrap();
    assert_eq!(stored(&*store, "a").await, Some((after.clone(), revision)));
    until(&members, |view| view.get("a") == Some(&after)).await;
}

#[tokio::test]
async fn a_stopped_supervisor_gives_the_registration_up() {
    let (store, supervisor) = (embedded(), Supervisor::new());
    let registration = register(Arc::clone(&store) as _, member("a"), LONG, &supervisor).await.unwrap();
    let waiting = tokio::spawn({
        let (store, supervisor) = (Arc::clone(&store), supervisor.clone());
        async move { register(store, second("a"), LONG, &supervisor).await }
    });
    supervisor.shutdown(PATIENCE).await.unwrap();
    assert_eq!(stored(&*store, "a").await, None);
    assert_eq!((registration.is_registered(), registration.fence()), (false, None));
    assert_eq!(*registration.status().borrow(), Standing::Lapsed);
    let error = registration.update(|member| member.slots = 8).await.unwrap_err();
    assert!(matches!(error, MembershipError::Stopping { .. }), "{error}");
    timeout(PATIENCE, registration.leave()).await.unwrap();

    let error = timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, MembershipError::Stopping { .. }), "{error}");
    assert_eq!(stored(&*store, "a").await, None);
}

#[tokio::test]
async fn a_store_that_fails_at_the_start_is_told() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let nobody =
        crate::remote::RemoteMetaStore::connect("http://127.0.0.1:1", Credential::default()).unwrap();
    let brief = crate::patience::Patience { deadline: SHORT, retry_for: Duration::ZERO };
    let nobody = Arc::new(nobody.with_patience(brief));
    let supervisor = Supervisor::new();
    let error = Registration::start(Arc::clone(&nobody) as _, member("a"), LONG, clock, &supervisor);
    let error = error.await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let error = Members::follow(nobody, &supervisor).await.unwrap_err();
    assert_eq!(Error::from(error).kind, ErrorKind::StoreUnavailable);
}
