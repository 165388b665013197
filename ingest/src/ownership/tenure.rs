//! Whether this process may act as the owner of its streams.

use std::sync::Arc;

use parking_lot::Mutex;
use polarway_metastore::membership::Standing;
use polarway_metastore::{LeaseId, Precondition, Registration};
use tokio::sync::watch;

/// The right to take and acknowledge rows. Clones share it.
#[derive(Debug, Clone)]
pub struct Tenure(Option<Arc<Held>>);

#[derive(Debug)]
struct Held {
    registration: Registration,
    /// The lease under which this process has looked who has its streams. Nobody takes them while it lasts.
    confirmed: Mutex<Option<LeaseId>>,
}

impl Tenure {
    /// Of a process that has no other beside it.
    pub fn alone() -> Self {
        Self(None)
    }

    /// Of a member of the cluster; it is held once it has been [confirmed](Tenure::confirm).
    pub fn of(registration: Registration) -> Self {
        Self(Some(Arc::new(Held { registration, confirmed: Mutex::new(None) })))
    }

    /// Whether it is held at this moment, by the clock.
    pub fn holds(&self) -> bool {
        let Some(held) = &self.0 else { return true };
        let confirmed = *held.confirmed.lock();
        confirmed.is_some() && confirmed == self.lease() && held.registration.is_registered()
    }

    /// The lease that the process is registered under, as far as it has noticed.
    pub fn lease(&self) -> Option<LeaseId> {
        match *self.0.as_ref()?.registration.status().borrow() {
            Standing::Registered { lease, .. } => Some(lease),
            Standing::Lapsed => None,
        }
    }

    /// Says that the process has given up all streams that others had after it was registered under `lease`.
    pub fn confirm(&self, lease: LeaseId) {
        if let Some(held) = &self.0 {
            *held.confirmed.lock() = Some(lease);
        }
    }

    /// The lease that was confirmed last.
    pub fn confirmed(&self) -> Option<LeaseId> {
        *self.0.as_ref()?.confirmed.lock()
    }

    /// What has to hold for the process to be a member: none for one that is alone, or not registered.
    pub fn fence(&self) -> Option<Precondition> {
        self.0.as_ref()?.registration.fence()
    }

    /// Whether it has none beside it.
    pub fn is_alone(&self) -> bool {
        self.0.is_none()
    }

    /// Tells when the registration lapses or is held again; none for a process that is alone.
    pub fn status(&self) -> Option<watch::Receiver<Standing>> {
        Some(self.0.as_ref()?.registration.status())
    }

    /// Tells the others that no stream should come to this process any more.
    pub async fn leaving(&self) {
        if let Some(held) = &self.0
            && let Err(error) = held
                .registration
                .update(|member| member.state = polarway_metastore::membership::MemberState::Leaving)
                .await
        {
            tracing::warn!(%error, "still among those that take streams");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use polarway_common::{HostPort, ManualClock, Supervisor};
    use polarway_metastore::membership::{MemberState, Role};
    use polarway_metastore::{EmbeddedMetaStore, Member};

    use super::*;

    /// A registered process, and the clock by which its lease lapses.
    pub(crate) async fn member(supervisor: &Supervisor) -> (Tenure, Arc<ManualClock>) {
        let store = Arc::new(EmbeddedMetaStore::in_memory().unwrap());
        let member = Member {
            name: "a".to_owned(),
            incarnation: "1".to_owned(),
            role: Role::Ingest,
            zone: None,
            address: HostPort::new("a", 1),
            http: None,
            ws: None,
            slots: 0,
            version: "0.1.0".to_owned(),
            state: MemberState::Active,
            since: 0,
        };
        let clock = Arc::new(ManualClock::default());
        let ttl = Duration::from_secs(600);
        let registration = Registration::start(store, member, ttl, clock.clone(), supervisor).await.unwrap();
        (Tenure::of(registration), clock)
    }

    #[tokio::test]
    async fn it_is_held_under_the_lease_that_was_confirmed_and_while_that_lasts() {
        let supervisor = Supervisor::new();
        let (tenure, clock) = member(&supervisor).await;
        assert!(!tenure.holds() && Tenure::alone().holds());
        let lease = tenure.lease().unwrap();
        tenure.confirm(lease);
        assert!(tenure.holds() && tenure.fence().is_some());
        // As after SIGCONT: no task has run yet.
        clock.advance(Duration::from_secs(599));
        assert!(!tenure.holds() && tenure.fence().is_none());
        supervisor.shutdown(Duration::from_secs(60)).await.unwrap();
        assert!(!tenure.holds() && tenure.lease().is_none());
    }
}
