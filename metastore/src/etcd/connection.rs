//! Calls of etcd: which member, how long, and whether again.

use std::time::Duration;

use etcd_client::{Error, KvClient, LeaseClient, WatchClient};
use tokio::time::timeout;

use super::config::{EtcdConfig, EtcdLimits};
use super::fault;
use super::members::{Members, Turn};
use super::space::KeySpace;
use crate::error::{MetaStoreError, Result};
use crate::patience::Patience;

/// What can be repeated is asked of the next member if this one has not answered within this time.
const ATTEMPT: Duration = Duration::from_secs(3);

/// The most bytes of one answer; etcd itself bounds values and messages of watches.
const ANSWER_BYTES: usize = 64 << 20;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) place: String,
    pub(super) space: KeySpace,
    pub(super) limits: EtcdLimits,
    members: Members,
    patience: Patience,
}

/// Why a call failed: as etcd says, or as the caller has found out already.
#[derive(Debug)]
pub(super) enum Failed {
    Etcd(Error),
    Known(MetaStoreError),
}

impl From<MetaStoreError> for Failed {
    fn from(error: MetaStoreError) -> Self {
        Self::Known(error)
    }
}

/// A client of one member.
#[derive(Clone)]
pub(super) struct Client(etcd_client::Client);

impl Client {
    pub(super) fn kv(&self) -> KvClient {
        self.0.kv_client().max_decoding_message_size(ANSWER_BYTES)
    }

    pub(super) fn watch(&self) -> WatchClient {
        self.0.watch_client().max_decoding_message_size(ANSWER_BYTES)
    }

    pub(super) fn lease(&self) -> LeaseClient {
        self.0.lease_client()
    }
}

impl Connection {
    pub(super) fn new(config: &EtcdConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            place: format!("etcd at {}", config.endpoints.join(", ")),
            space: KeySpace::new(&config.prefix),
            limits: config.limits,
            members: Members::new(config)?,
            patience: config.patience,
        })
    }

    /// A call that may be repeated.
    pub(super) async fn ask<T, F>(&self, call: impl Fn(Client) -> F + Send + Sync) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T, Failed>> + Send,
    {
        let attempt = || async {
            let turn = self.members.turn();
            let done = timeout(ATTEMPT, async { call(Client(turn.client().await?)).await }).await;
            self.end(turn, done.unwrap_or_else(|_| Err(self.late())), fault::of_read).await
        };
        self.patience.persist(&self.place, attempt).await
    }

    /// A call that must not be repeated unless it is certain that it did not take place.
    pub(super) async fn change<T, F>(&self, call: impl Fn(Client) -> F + Send + Sync) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T, Failed>> + Send,
    {
        let attempt = || async {
            let turn = self.members.turn();
            let client = timeout(ATTEMPT, turn.client()).await;
            match client.unwrap_or_else(|_| Err(self.late())) {
                Ok(client) => {
                    let done = call(Client(client)).await;
                    self.end(turn, done, fault::of_txn).await
                }
                // Not logged in: nothing was sent.
                Err(failed) => self.end(turn, Err(failed), fault::of_read).await,
            }
        };
        self.patience.persist_once(&self.place, attempt).await
    }

    fn late(&self) -> Failed {
        fault::unavailable(&self.place, format!("a member did not answer within {ATTEMPT:?}")).into()
    }

    /// What a member's turn comes to, with what is known of the call if it failed.
    async fn end<T>(
        &self,
        turn: Turn<'_>,
        done: Result<T, Failed>,
        meaning: fn(&str, &Error) -> MetaStoreError,
    ) -> Result<T> {
        let error = match done {
            Ok(done) => {
                turn.answered();
                return Ok(done);
            }
            Err(Failed::Known(error)) => error,
            Err(Failed::Etcd(error)) => {
                if fault::is_login_outdated(&error) {
                    turn.log_out().await;
                }
                meaning(&self.place, &error)
            }
        };
        match error {
            MetaStoreError::Unavailable { .. } | MetaStoreError::OutcomeUnknown { .. } => {
                tracing::debug!(%error, "another member of etcd is asked next");
            }
            _ => turn.answered(),
        }
        Err(error)
    }
}
