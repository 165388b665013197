//! Task reports. A report that cannot be delivered is tried again until the scheduler takes it or says that it no
//! longer cares: a lost report would leave its job waiting.

use std::collections::HashMap;
use std::time::Duration;

use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{TaskStatus, UpdateTaskStatusParams};
use polarway_common::Error;
use polarway_identity::{Credential, ProcessChannel};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

/// Reports waiting for one scheduler; tasks wait when it is full.
const WAITING: usize = 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LAST_DELAY: Duration = Duration::from_secs(5);
const MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// A report and the scheduler (`host:port`) that launched the task.
#[derive(Debug)]
pub struct Report {
    pub scheduler: String,
    pub status: TaskStatus,
}

pub fn channel() -> (mpsc::Sender<Report>, mpsc::Receiver<Report>) {
    mpsc::channel(WAITING)
}

/// Delivers reports until the channel closes; each scheduler has its own queue, so that one that hangs delays none
/// of the others.
pub async fn deliver(
    executor_id: String,
    credential: Credential,
    mut reports: mpsc::Receiver<Report>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let mut queues: HashMap<String, mpsc::Sender<TaskStatus>> = HashMap::new();
    let mut workers = tokio::task::JoinSet::new();
    while let Some(report) = reports.recv().await {
        let queue = queues.entry(report.scheduler.clone()).or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(WAITING);
            let scheduler = report.scheduler.clone();
            workers.spawn(serve(executor_id.clone(), credential.clone(), scheduler, receiver, stop.clone()));
            sender
        });
        if queue.send(report.status).await.is_err() {
            queues.remove(&report.scheduler);
        }
    }
    drop(queues);
    while workers.join_next().await.is_some() {}
    Ok(())
}

async fn serve(
    executor_id: String,
    credential: Credential,
    scheduler: String,
    mut queue: mpsc::Receiver<TaskStatus>,
    stop: CancellationToken,
) {
    let mut client = None;
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, WAITING).await > 0 {
        let mut delay = FIRST_DELAY;
        loop {
            match send(&executor_id, &credential, &scheduler, &mut client, &batch).await {
                Ok(()) => break,
                Err(cause) => {
                    tracing::warn!(%scheduler, reports = batch.len(), %cause, "task reports were not taken; trying again");
                    client = None;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = stop.cancelled() => return,
            }
            delay = (delay * 2).min(LAST_DELAY);
        }
        batch.clear();
    }
}

async fn send(
    executor_id: &str,
    credential: &Credential,
    scheduler: &str,
    client: &mut Option<SchedulerClient>,
    statuses: &[TaskStatus],
) -> Result<(), String> {
    let connected = match client {
        Some(client) => client,
        None => client.insert(connect(scheduler, credential).await?),
    };
    connected
        .update_task_status(UpdateTaskStatusParams {
            executor_id: executor_id.to_owned(),
            task_status: statuses.to_vec(),
        })
        .await
        .map(|_| ())
        .map_err(|status| status.to_string())
}

/// A client whose calls say which process they are from.
pub type SchedulerClient = SchedulerGrpcClient<ProcessChannel>;

/// A client for a scheduler at `host:port`.
pub async fn connect(scheduler: &str, credential: &Credential) -> Result<SchedulerClient, String> {
    Ok(SchedulerGrpcClient::new(dial(scheduler, credential).await?)
        .max_encoding_message_size(MESSAGE_BYTES)
        .max_decoding_message_size(MESSAGE_BYTES))
}

/// A connection to a scheduler at `host:port`.
pub async fn dial(scheduler: &str, credential: &Credential) -> Result<ProcessChannel, String> {
    // Its sources say what went wrong: it only that something did.
    credential.connect(&endpoint(scheduler)?).await.map_err(|error| with_causes(&error))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        told = format!("{told}: {cause}");
        next = cause.source();
    }
    told
}

fn endpoint(scheduler: &str) -> Result<Endpoint, String> {
    Ok(Endpoint::from_shared(format!("http://{scheduler}"))
        .map_err(|error| error.to_string())?
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true))
}

#[cfg(test)]
mod tests {
    use ballista_core::serde::protobuf::ExecutorStoppedParams;
    use polarway_common::bind;
    use polarway_common::config::{IdentityConfig, Secret};
    use polarway_identity::connection::incoming;
    use polarway_identity::grpc::{Callers, Guard};
    use polarway_identity::{Identity, Tls};
    use tonic::Code;
    use tonic::service::Routes;
    use tonic::transport::Server;

    use super::*;

    #[tokio::test]
    async fn row_47_calls_say_which_process_they_are_from() {
        let tokens = tempfile::NamedTempFile::new().unwrap();
        let text = "[[token]]\nname = 'ana'\nrole = 'admin'\ntoken = 'a-token-of-ana-0123456789'\n";
        std::fs::write(tokens.path(), text).unwrap();
        let config = IdentityConfig {
            tokens: Some(tokens.path().to_owned()),
            process_secret: Some(Secret::new("the-secret-of-all-processes-0123")),
            trusted_network: false,
        };
        let guard =
            Guard::new(Identity::load(&config, &Tls::default()).await.unwrap(), |_| Callers::Processes);
        let (listener, address) = bind(&"127.0.0.1:0".parse().unwrap(), "scheduler.listen").await.unwrap();
        // Who is let in finds nothing.
        let server = Server::builder().layer(guard).add_routes(Routes::default());
        tokio::spawn(server.serve_with_incoming(incoming(listener, Tls::default())));
        let known = Credential::of(&config, &Tls::default()).unwrap();
        for (credential, code) in
            [(Credential::default(), Code::Unauthenticated), (known, Code::Unimplemented)]
        {
            let mut client = connect(&address.to_string(), &credential).await.unwrap();
            let answer = client.executor_stopped(ExecutorStoppedParams::default()).await;
            assert_eq!(answer.unwrap_err().code(), code);
        }
    }
}
