//! Performs what is decided: the one driver of a process's streams.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use polarway_common::{Clock, Error, Supervisor, TaskKind};
use polarway_engine::live::NodeChannels;
use polarway_identity::Credential;
use polarway_metastore::Members;
use polarway_metastore::membership::{MemberState, Role, View};
use polarway_storage::streams::{Owner, Owners};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::heirs::Heirs;
use super::tenure::Tenure;
use crate::host::{Host, Known, groups};

/// After something failed; twice as long for each failure that follows.
const RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(5);
const RETRY_LOGS: Duration = Duration::from_secs(1);

/// What a [`Keeper`] needs.
pub struct KeeperOptions {
    pub host: Arc<Host>,
    pub tenure: Tenure,
    pub members: Members,
    pub owners: Owners,
    /// How long a process that is gone has to come back before its streams are taken over.
    pub grace: Duration,
    /// What this process shows to those that take over its logs.
    pub credential: Credential,
    pub clock: Arc<dyn Clock>,
}

/// See the module's page.
pub struct Keeper {
    options: KeeperOptions,
    heirs: Heirs,
    /// Told when there may be a log to hand over.
    logs: Arc<Notify>,
}

impl Keeper {
    /// Keeps the streams of a process until `supervisor` stops. When this returns, rows are taken if the process is
    /// registered.
    ///
    /// # Errors
    /// When it cannot be seen who has which stream.
    pub async fn start(options: KeeperOptions, supervisor: &Supervisor) -> Result<(), Error> {
        let heirs = Heirs::new(options.host.node().name.clone(), options.grace);
        let logs = Arc::new(Notify::new());
        let (host, told, stop) = (Arc::clone(&options.host), Arc::clone(&logs), supervisor.token());
        let nodes = Arc::new(NodeChannels::new(options.credential.clone()));
        supervisor.spawn("old logs", TaskKind::Background, async move {
            hand_over(&host, &nodes, &told, &stop).await;
            Ok(())
        });
        let keeper = Self { options, heirs, logs };
        keeper.confirm().await?;
        let stop = supervisor.token();
        supervisor.spawn("ownership of streams", TaskKind::Critical, async move {
            keeper.run(&stop).await;
            Ok(())
        });
        Ok(())
    }

    async fn run(mut self, stop: &CancellationToken) {
        let (mut members, mut owners) = (self.options.members.watch(), self.options.owners.watch());
        let mut status = self.options.tenure.status();
        let mut pause = RETRY;
        while !stop.is_cancelled() {
            // Marked as seen before they are looked at: what changes meanwhile is looked at again.
            members.mark_unchanged();
            owners.mark_unchanged();
            if let Some(status) = &mut status {
                status.mark_unchanged();
            }
            let wait = match self.step().await {
                Ok(next) => {
                    pause = RETRY;
                    next.map(|next| next.saturating_duration_since(self.options.clock.now()))
                }
                Err(error) => {
                    tracing::warn!(%error, "streams could not be given up or taken; again");
                    let wait = pause;
                    pause = (pause * 2).min(LONGEST_RETRY);
                    Some(wait)
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = changed(&mut members) => {}
                () = changed(&mut owners) => {}
                () = async { match &mut status {
                    Some(status) => changed(status).await,
                    None => std::future::pending().await,
                } } => {}
                () = async { match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                } } => {}
            }
        }
    }

    /// Does what there is to do now, and tells when there may be more.
    async fn step(&mut self) -> Result<Option<Instant>, Error> {
        self.confirm().await?;
        let owners = self.options.owners.current();
        self.give_up(&owners).await;
        let now = self.options.clock.now();
        let view = self.options.members.current();
        let all: BTreeSet<String> = view.members().map(|member| member.name.clone()).collect();
        let gone = self.heirs.note(now, owners.values().map(|owner| owner.node.as_str()), &all);
        let unopened = self.unopened(&owners);
        if !gone && unopened.is_empty() {
            return Ok(None);
        }
        if !self.options.tenure.holds() {
            // Nothing may tell when it is held again: one that lapsed by the clock alone, because the answer to a renewal
            // was late, never changed its standing.
            return Ok(Some(now + RETRY));
        }
        let known = self.options.host.known().await?;
        let mut failure = None;
        for stream in known.iter().filter(|known| unopened.contains(&known.definition.id)) {
            if let Err(error) = self.options.host.reopen(stream.clone()).await {
                failure = Some(error);
            }
        }
        let next = self.take_over(now, &known, &owners, &taking(&view)).await?;
        failure.map_or(Ok(next), Err)
    }

    /// Looks who has this process's streams once it is registered anew, and gives up those that others have. Only then
    /// rows are taken again.
    async fn confirm(&self) -> Result<(), Error> {
        let tenure = &self.options.tenure;
        let Some(lease) = tenure.lease().filter(|lease| tenure.confirmed() != Some(*lease)) else {
            return Ok(());
        };
        // Later than the registration: whoever claims a stream from now on finds this process among the members.
        let owners = self.options.host.owners().await?;
        self.give_up(&owners).await;
        tenure.confirm(lease);
        tracing::info!(%lease, "this process takes rows of its streams");
        Ok(())
    }

    async fn give_up(&self, owners: &BTreeMap<String, Owner>) {
        let host = &self.options.host;
        for (id, epoch) in host.opened() {
            // What this process has taken just now may not be seen yet.
            let later = |owner: &&Owner| owner.node != host.node().name && owner.epoch > epoch;
            if let Some(owner) = owners.get(&id).filter(later) {
                host.give_up(&id, owner).await;
                self.logs.notify_one();
            }
        }
    }

    /// Streams that are this process's and not open.
    fn unopened(&self, owners: &BTreeMap<String, Owner>) -> BTreeSet<String> {
        let host = &self.options.host;
        let opened = host.opened();
        let ours = owners.iter().filter(|(_, owner)| owner.node == host.node().name);
        ours.map(|(id, _)| id).filter(|id| !opened.contains_key(*id)).cloned().collect()
    }

    async fn take_over(
        &self,
        now: Instant,
        known: &[Known],
        owners: &BTreeMap<String, Owner>,
        taking: &BTreeSet<String>,
    ) -> Result<Option<Instant>, Error> {
        let (due, mut next) = self.heirs.decide(now, &groups(known, owners), taking);
        let mut failure = None;
        for take in due {
            let is_of = |known: &&Known| take.streams.contains(&known.definition.id);
            let streams = known.iter().filter(is_of).cloned().collect();
            match self.options.host.take_over(&take.gone, streams).await {
                Ok(true) => {}
                // What this process sees is late.
                Ok(false) => next = Some(next.map_or(now + RETRY, |next| next.min(now + RETRY))),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(next), Err)
    }
}

/// The members that take streams.
fn taking(view: &View) -> BTreeSet<String> {
    let active = view.of(Role::Ingest).filter(|member| member.state == MemberState::Active);
    active.map(|member| member.name.clone()).collect()
}

/// Completes never once the sender is gone: then there is nothing to be told.
async fn changed<T>(told: &mut watch::Receiver<T>) {
    if told.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Hands over logs as long as there are any.
async fn hand_over(host: &Host, nodes: &Arc<NodeChannels>, told: &Notify, stop: &CancellationToken) {
    loop {
        let left = tokio::select! {
            left = host.hand_over(nodes) => left,
            () = stop.cancelled() => return,
        };
        let again = left.unwrap_or_else(|error| {
            tracing::warn!(%error, "it is not known whether there are old logs");
            true
        });
        tokio::select! {
            () = told.notified() => {}
            () = tokio::time::sleep(RETRY_LOGS), if again => {}
            () = stop.cancelled() => return,
        }
    }
}
