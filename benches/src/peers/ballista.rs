//! Stock Ballista: its own start functions with its own defaults, from the crates we build on. Only addresses, slots,
//! and the work directory are given, since those have no default that fits several processes on one machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use ballista_core::extension::{SessionConfigExt, SessionStateExt};
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::start_server;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::context;
use crate::failure::Result;

const HOST: &str = "127.0.0.1";

/// Runs a stock scheduler on a loopback `port`, which reports ready once `executors` have registered.
///
/// # Errors
/// The port is taken.
pub async fn scheduler(port: u16, executors: usize) -> Result<()> {
    let config = SchedulerConfig {
        bind_port: port,
        external_host: HOST.to_owned(),
        min_ready_executors: executors,
        ..SchedulerConfig::default()
    };
    let cluster = BallistaCluster::new_from_config(&config).await?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Ok(start_server(cluster, address, Arc::new(config)).await?)
}

/// Runs a stock executor with `slots` virtual cores on two loopback ports, for the scheduler on `scheduler_port`.
///
/// # Errors
/// A port is taken or the scheduler does not answer.
pub async fn executor(ports: (u16, u16), scheduler_port: u16, slots: usize, work: &Path) -> Result<()> {
    let config = ExecutorProcessConfig {
        port: ports.0,
        grpc_port: ports.1,
        scheduler_host: HOST.to_owned(),
        scheduler_port,
        vcores: slots,
        work_dir: Some(work.to_string_lossy().into_owned()),
        ..ExecutorProcessConfig::default()
    };
    Ok(start_executor_process(Arc::new(config)).await?)
}

/// Serves the line protocol over a session that plans for the cluster behind the scheduler on `scheduler_port`.
///
/// # Errors
/// The harness sent no valid request, or closed our output.
pub async fn client(scheduler_port: u16, partitions: usize) -> Result<()> {
    let config = SessionConfig::new_with_ballista().with_target_partitions(partitions);
    let state = SessionStateBuilder::new().with_config(config).with_default_features().build();
    let state = state.upgrade_for_ballista(format!("http://{HOST}:{scheduler_port}"))?;
    let session = SessionContext::new_with_state(state);
    context::serve(session, "ballista", ballista_core::BALLISTA_VERSION).await
}
