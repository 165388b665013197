//! Being a member for as long as a process lives.

use std::sync::Arc;
use std::time::Duration;

use polarway_common::{Clock, Error, Supervisor};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::member::{Member, MemberState};
use super::registration::{Registration, Standing};
use crate::store::MetaStore;

/// How long a process waits before it tries again to register.
const RETRY: Duration = Duration::from_secs(1);
/// What the end of a registration may take after it was given up.
const LAST_STEPS: Duration = Duration::from_secs(2);

/// How a process is a member. See [`Presence::keep`].
#[derive(Debug)]
pub struct Presence {
    pub store: Arc<dyn MetaStore>,
    pub member: Member,
    /// How long it counts as there without a sign of life.
    pub ttl: Duration,
    pub clock: Arc<dyn Clock>,
    /// From then on it is [`MemberState::Leaving`].
    pub draining: CancellationToken,
}

impl Presence {
    /// Registers, again and again while the store is away, and stays registered until `stop`; then it is gone at once.
    /// `tell` learns whenever it is registered and when it is not any more.
    ///
    /// # Errors
    /// Another process has the name, or the member cannot be stored: it cannot take part.
    pub async fn keep(self, stop: CancellationToken, tell: impl Fn(bool)) -> Result<(), Error> {
        let supervisor = Supervisor::new();
        let outcome = tokio::select! {
            outcome = self.stay(&supervisor, &tell) => outcome,
            () = stop.cancelled() => Ok(()),
        };
        tell(false);
        // Whatever registration there is goes with its supervisor; where the store does not answer, with its lease.
        if let Err(error) = supervisor.shutdown(LAST_STEPS).await {
            tracing::info!(%error, "the cluster will notice by the end of a lease that this process is gone");
        }
        outcome
    }

    async fn stay(&self, supervisor: &Supervisor, tell: &impl Fn(bool)) -> Result<(), Error> {
        let registration = self.register(supervisor).await?;
        let mut standing = registration.status();
        let mut leaving = false;
        loop {
            let registered = matches!(*standing.borrow_and_update(), Standing::Registered { .. });
            tell(registered);
            tokio::select! {
                changed = standing.changed() => {
                    if changed.is_err() {
                        // It only ends with the supervisor, which is stopped when nobody waits for this any more.
                        std::future::pending::<()>().await;
                    }
                }
                () = self.draining.cancelled(), if !leaving => {
                    leaving = true;
                    let leave = registration.update(|member| member.state = MemberState::Leaving).await;
                    if let Err(error) = leave {
                        tracing::warn!(%error, "the cluster does not know yet that this process leaves");
                    }
                }
            }
        }
    }

    async fn register(&self, supervisor: &Supervisor) -> Result<Registration, Error> {
        let mut told = false;
        loop {
            let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
            match Registration::start(store, self.member.clone(), self.ttl, clock, supervisor).await {
                Ok(registration) => return Ok(registration),
                Err(error) if error.is_retryable() => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "not a member of the cluster yet; trying again");
                    }
                    sleep(RETRY).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use polarway_common::SystemClock;

    use super::*;
    use crate::embedded::EmbeddedMetaStore;
    use crate::membership::{Members, Role};

    #[tokio::test]
    async fn row_12_a_process_is_there_then_leaving_and_then_gone() {
        let directory = tempfile::tempdir().unwrap();
        let store: Arc<dyn MetaStore> =
            Arc::new(EmbeddedMetaStore::open(directory.path().join("meta.redb")).await.unwrap());
        let supervisor = Supervisor::new();
        let members = Members::follow(Arc::clone(&store), &supervisor).await.unwrap();
        let member = Member {
            name: "e".into(),
            incarnation: "1".into(),
            role: Role::Executor,
            zone: None,
            address: "10.0.0.1:1".parse().unwrap(),
            http: None,
            ws: None,
            slots: 1,
            version: "0.1.0".into(),
            state: MemberState::Active,
            since: 0,
        };
        let (draining, stop) = (CancellationToken::new(), CancellationToken::new());
        let ttl = Duration::from_secs(60);
        let presence =
            Presence { store, member, ttl, clock: Arc::new(SystemClock), draining: draining.clone() };
        let registered = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&registered);
        let keeping =
            tokio::spawn(presence.keep(stop.clone(), move |held| told.store(held, Ordering::Relaxed)));
        let mut view = members.watch();
        let state = |view: &Arc<crate::membership::View>| view.get("e").map(|member| member.state);
        view.wait_for(|view| state(view) == Some(MemberState::Active)).await.unwrap();
        draining.cancel();
        view.wait_for(|view| state(view) == Some(MemberState::Leaving)).await.unwrap();
        assert!(registered.load(Ordering::Relaxed));
        stop.cancel();
        keeping.await.unwrap().unwrap();
        view.wait_for(|view| state(view).is_none()).await.unwrap();
        assert!(!registered.load(Ordering::Relaxed));
    }
}
