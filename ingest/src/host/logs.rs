//! Logs of owners before: taking their rows in, and handing over those of this process.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use polarway_common::{Error, ErrorKind};
use polarway_engine::live::{NodeChannels, PutFrames};
use polarway_storage::catalog::StreamDefinition;
use polarway_storage::streams::Owner;

use super::{Host, error};
use crate::handover::{HandoverError, OldLog, OldLogs, Outcome, Parts, Receiving, RemoteTaker, Taker};

impl Host {
    /// How many records of a log of an owner before are here; none if the log is not owed.
    ///
    /// # Errors
    /// When the stream is not here.
    pub fn log_state(&self, id: &str, log: u64) -> Result<Option<u64>, Error> {
        Ok(self.by_id(id)?.live.taken_in(log))
    }

    /// Takes in records of a log of an owner before. When this returns they are in this process's log.
    ///
    /// # Errors
    /// When the stream is not here or does not take them; what the sender's messages cannot be read.
    pub async fn take_in(&self, id: &str, log: u64, mut frames: PutFrames) -> Result<(), Error> {
        let open = self.by_id(id)?;
        let schema = Arc::clone(&open.live.options().schema);
        let mut parts = Parts::new(usize::try_from(self.options.log_limit).unwrap_or(usize::MAX));
        let mut receiving = Receiving::new(&open.live, log);
        while let Some(part) = frames.next().await {
            let part = part.map_err(|status| {
                Error::new(ErrorKind::Cancelled, format!("the records ended: {}", status.message()))
            })?;
            if let Some(record) = parts.add(&part, &schema)? {
                receiving.take(record).await.map_err(error)?;
            }
        }
        receiving.finish().await.map_err(error)
    }

    /// Notes that a log of an owner before has been taken in as a whole.
    ///
    /// # Errors
    /// When the stream is not here, or that cannot be noted.
    pub async fn settle(&self, id: &str, log: u64) -> Result<(), Error> {
        self.by_id(id)?.live.settle_log(log).await.map_err(error)
    }

    /// Hands over what logs of this process have of streams that are others' by now. Gives whether some are left that could
    /// not be handed over yet.
    ///
    /// # Errors
    /// When it cannot be seen what there is.
    pub(crate) async fn hand_over(&self, nodes: &Arc<NodeChannels>) -> Result<bool, Error> {
        let logs = &self.options.logs;
        let found = OldLog::all(logs).map_err(|error| {
            Error::new(ErrorKind::Configuration, format!("cannot read `{}`: {error}", logs.display()))
        })?;
        let definitions: HashMap<String, StreamDefinition> = match found.is_empty() {
            true => HashMap::new(),
            false => self
                .known()
                .await?
                .into_iter()
                .map(|known| (known.definition.id.clone(), known.definition))
                .collect(),
        };
        let old_logs = OldLogs {
            meta: Arc::clone(&self.options.meta),
            node: self.options.node.name.clone(),
            log_limit: self.options.log_limit,
        };
        let mut left = false;
        for old in found {
            let Some(definition) = definitions.get(&old.id) else {
                tracing::debug!(stream = old.id, directory = %old.directory.display(), "a log of no stream is left");
                continue;
            };
            let taker = |owner: &Owner| -> Box<dyn Taker> {
                Box::new(RemoteTaker { nodes: Arc::clone(nodes), address: owner.address.clone() })
            };
            let store = self.sealed_store(&old.id);
            match old_logs.hand_over(&old, &store, &definition.schema()?, taker).await {
                Ok(Outcome::Gone) => {
                    tracing::info!(stream = old.id, log = old.log, "the log is handed over, and removed");
                }
                Ok(Outcome::Current | Outcome::Unknown) => {}
                Err(error) => {
                    left = true;
                    told(&old, &error);
                }
            }
        }
        Ok(left)
    }
}

fn told(old: &OldLog, error: &HandoverError) {
    tracing::warn!(stream = old.id, log = old.log, %error, "not handed over; it will be tried again");
}
