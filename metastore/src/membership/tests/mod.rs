mod members;
mod registration;
mod unsure;

use std::sync::Arc;
use std::time::Duration;

use polarway_common::{HostPort, Supervisor, SystemClock};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;

use super::*;
use crate::embedded::EmbeddedMetaStore;
use crate::lease::LeaseId;
use crate::store::MetaStore;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Nothing that is seen within the patience was brought about by the end of such a lease.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// An executor, the first of its name.
pub(crate) fn member(name: &str) -> Member {
    Member {
        name: name.to_owned(),
        incarnation: "1".to_owned(),
        role: Role::Executor,
        zone: None,
        address: HostPort::new(name, 50052),
        http: None,
        ws: None,
        slots: 4,
        version: "0.1.0".to_owned(),
        state: MemberState::Active,
        since: 1_767_225_600_000,
    }
}

/// Another process of the same name.
pub(crate) fn second(name: &str) -> Member {
    Member { incarnation: "2".to_owned(), address: HostPort::new("elsewhere", 50052), ..member(name) }
}

fn embedded() -> Arc<EmbeddedMetaStore> {
    Arc::new(EmbeddedMetaStore::in_memory().unwrap())
}

pub(crate) async fn register(
    store: Arc<dyn MetaStore>,
    member: Member,
    ttl: Duration,
    supervisor: &Supervisor,
) -> Result<Registration, MembershipError> {
    Registration::start(store, member, ttl, Arc::new(SystemClock), supervisor).await
}

/// Waits for a view of these names.
pub(crate) async fn sees(members: &Members, names: &[&str]) -> Arc<View> {
    until(members, |view| view.members().map(|member| member.name.as_str()).eq(names.iter().copied())).await
}

pub(crate) async fn until(members: &Members, wanted: impl Fn(&View) -> bool) -> Arc<View> {
    let mut views = members.watch();
    let view = timeout(PATIENCE, views.wait_for(|view| wanted(view))).await;
    let view = view.unwrap_or_else(|_| panic!("there is only {:?}", members.current())).unwrap();
    Arc::clone(&view)
}

pub(crate) async fn lapses(status: &mut watch::Receiver<Standing>) {
    let lapsed = status.wait_for(|standing| *standing == Standing::Lapsed);
    timeout(PATIENCE, lapsed).await.expect("the registration does not lapse").unwrap();
}

/// Waits until the registration is held, not as `before`.
pub(crate) async fn is_held_anew(registration: &Registration, before: Standing) -> (LeaseId, u64) {
    let mut status = registration.status();
    let anew = status.wait_for(|now| *now != before && *now != Standing::Lapsed);
    let now = *timeout(PATIENCE, anew).await.expect("not registered again").unwrap();
    held(now)
}

pub(crate) fn held(standing: Standing) -> (LeaseId, u64) {
    match standing {
        Standing::Registered { lease, revision } => (lease, revision),
        Standing::Lapsed => panic!("the registration has lapsed"),
    }
}

/// A process that can die without a word, as by SIGKILL.
pub(crate) struct Process {
    runtime: Option<Runtime>,
    /// Only dropped after its tasks, so that nothing is given up.
    _registration: Registration,
}

impl Process {
    pub(crate) async fn start<F>(connect: F, member: Member, ttl: Duration) -> Self
    where
        F: Future<Output = Arc<dyn MetaStore>> + Send + 'static,
    {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let started =
            runtime.spawn(async move { register(connect.await, member, ttl, &Supervisor::new()).await });
        let registration = started.await.unwrap().unwrap();
        Self { runtime: Some(runtime), _registration: registration }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
