//! Registration with a scheduler, and heartbeats. An executor outlives its scheduler: it goes on trying.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ballista_core::BALLISTA_PROTOCOL_VERSION;
use ballista_core::serde::protobuf::executor_resource::Resource;
use ballista_core::serde::protobuf::executor_status::Status as ExecutorState;
use ballista_core::serde::protobuf::{
    ExecutorOperatingSystemSpecification, ExecutorRegistration, ExecutorResource, ExecutorSpecification,
    ExecutorStatus, ExecutorStoppedParams, HeartBeatParams,
};
use polarway_common::Error;
use polarway_identity::Credential;
use polarway_proto::progress::SCHEDULER_HEADER;
use tokio_util::sync::CancellationToken;

use crate::here::JobsHere;
use crate::report::{SchedulerClient, connect};

const CALL_TIMEOUT: Duration = Duration::from_secs(3);
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// What schedulers know of this executor.
pub fn registration(id: &str, host: &str, port: u16, slots: u32) -> ExecutorRegistration {
    ExecutorRegistration {
        id: id.to_owned(),
        host: Some(host.to_owned()),
        port: u32::from(port),
        grpc_port: u32::from(port),
        specification: Some(ExecutorSpecification {
            resources: vec![ExecutorResource { resource: Some(Resource::Vcores(slots)) }],
        }),
        os_info: Some(ExecutorOperatingSystemSpecification::default()),
        ballista_protocol_version: BALLISTA_PROTOCOL_VERSION,
    }
}

/// Whether the scheduler heard this executor last time, for the readiness probe.
#[derive(Debug, Default)]
pub struct Connected(AtomicBool);

impl Connected {
    pub fn set(&self, connected: bool) {
        self.0.store(connected, Ordering::Relaxed);
    }

    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// One executor's heart.
#[derive(Clone)]
pub struct Heart {
    pub scheduler: String,
    /// What it shows there.
    pub credential: Credential,
    pub registration: ExecutorRegistration,
    pub interval: Duration,
    pub draining: CancellationToken,
    pub connected: Arc<Connected>,
    pub here: JobsHere,
}

impl Heart {
    /// Beats until `stop`. A heartbeat from an executor that the scheduler does not know registers it.
    pub async fn beat(self, stop: CancellationToken) -> Result<(), Error> {
        let mut client = None;
        let mut drain_told = false;
        let mut served = None;
        while !stop.is_cancelled() {
            // Before the call: a scheduler that answers may launch tasks at once.
            let jobs = self.here.ids();
            let outcome = self.once(&mut client).await;
            if let Ok(scheduler) = &outcome
                && served.replace(scheduler.clone()).is_some_and(|before| before != *scheduler)
            {
                // Another one has taken its place and knows nothing of them.
                for job in &jobs {
                    self.here.end(job, FLUSH_LIMIT).await;
                }
            }
            let was = self.connected.0.swap(outcome.is_ok(), Ordering::Relaxed);
            match outcome {
                Ok(_) if !was => tracing::info!(scheduler = self.scheduler, "joined the scheduler"),
                Ok(_) => drain_told |= self.draining.is_cancelled(),
                Err(cause) => {
                    client = None;
                    if was && !self.draining.is_cancelled() {
                        tracing::warn!(scheduler = self.scheduler, %cause, "lost the scheduler; trying again");
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.interval) => {}
                () = self.draining.cancelled(), if !drain_told => drain_told = true,
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }

    /// One beat; gives the scheduler's incarnation.
    async fn once(&self, client: &mut Option<SchedulerClient>) -> Result<Option<String>, String> {
        let connected = match client {
            Some(client) => client,
            None => client.insert(connect(&self.scheduler, &self.credential).await?),
        };
        let state = if self.draining.is_cancelled() {
            ExecutorState::Terminating(String::new())
        } else {
            ExecutorState::Active(String::new())
        };
        let beat = connected.heart_beat_from_executor(HeartBeatParams {
            executor_id: self.registration.id.clone(),
            metrics: vec![],
            status: Some(ExecutorStatus { status: Some(state) }),
            metadata: Some(self.registration.clone()),
        });
        match tokio::time::timeout(CALL_TIMEOUT, beat).await {
            Ok(Ok(answer)) => {
                let incarnation = answer.metadata().get(SCHEDULER_HEADER);
                Ok(incarnation.and_then(|value| value.to_str().ok()).map(str::to_owned))
            }
            Ok(Err(status)) => Err(status.to_string()),
            Err(_) => Err("the scheduler did not answer in time".to_owned()),
        }
    }

    /// Tells the scheduler that this executor leaves.
    pub async fn leave(&self, reason: &str) {
        let call = async {
            connect(&self.scheduler, &self.credential)
                .await?
                .executor_stopped(ExecutorStoppedParams {
                    executor_id: self.registration.id.clone(),
                    reason: reason.to_owned(),
                })
                .await
                .map_err(|status| status.to_string())
        };
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(_)) => {}
            // It may have left before, as that of the same process has.
            Ok(Err(cause)) => tracing::info!(%cause, "could not tell the scheduler about leaving"),
            Err(_) => tracing::info!("the scheduler did not answer the farewell in time"),
        }
    }
}
