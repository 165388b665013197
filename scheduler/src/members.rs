//! The executors that the cluster's membership names, as Ballista's scheduler knows them.
//!
//! Ballista learns of executors by their heartbeats. Here nobody sends any: for each member this process says so itself, as
//! long as the membership has it.

use std::collections::HashMap;
use std::time::Duration;

use ballista_core::BALLISTA_PROTOCOL_VERSION;
use ballista_core::serde::protobuf::executor_resource::Resource;
use ballista_core::serde::protobuf::executor_status::Status as ExecutorState;
use ballista_core::serde::protobuf::{
    ExecutorOperatingSystemSpecification, ExecutorRegistration, ExecutorResource, ExecutorSpecification,
    ExecutorStatus, HeartBeatParams,
};
use polarway_common::Error;
use polarway_common::address::url_host;
use polarway_metastore::membership::{Member, MemberState, Members, Role};
use tokio_util::sync::CancellationToken;
use tonic::Request;

use crate::staged::ballista::Ballista;

/// Shorter than any silence after which Ballista gives an executor up.
const BEAT: Duration = Duration::from_millis(500);
/// What one executor may take to be reached for the first time.
const BEAT_LIMIT: Duration = Duration::from_secs(3);

/// What Ballista calls a member.
fn executor_id(member: &Member) -> String {
    format!("{}-{}", member.name, member.incarnation)
}

/// Keeps Ballista's executors those of the membership, until `stop`.
pub async fn follow_executors(
    ballista: Ballista,
    members: Members,
    ours: Member,
    stop: CancellationToken,
) -> Result<(), Error> {
    let mut changes = members.watch();
    let mut known: HashMap<String, Member> = HashMap::new();
    let mut refused: HashMap<String, Member> = HashMap::new();
    // And why.
    let mut unreached: HashMap<String, String> = HashMap::new();
    loop {
        let view = changes.borrow_and_update().clone();
        let mut present = HashMap::new();
        for member in view.of(Role::Executor) {
            let id = executor_id(member);
            match ours.check_version_of(member) {
                Ok(()) => {
                    present.insert(id, member.clone());
                }
                Err(error) => {
                    if !refused.contains_key(&id) {
                        tracing::error!(%error, "an executor is given no tasks");
                    }
                    refused.insert(id, member.clone());
                }
            }
        }
        refused.retain(|id, _| view.of(Role::Executor).any(|member| executor_id(member) == *id));
        for id in known.keys().filter(|id| !present.contains_key(*id)) {
            ballista.left(id).await;
        }
        let beats = present.iter().map(|(id, member)| beat(&ballista, id, member));
        for (id, cause) in futures::future::join_all(beats).await {
            match cause {
                None => drop(unreached.remove(id)),
                Some(cause) if unreached.get(id) == Some(&cause) => {}
                Some(cause) => {
                    tracing::warn!(executor = id, cause, "an executor cannot be reached");
                    unreached.insert(id.to_owned(), cause);
                }
            }
        }
        unreached.retain(|id, _| present.contains_key(id));
        known = present;
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    // The view does not change any more; what is known stays known.
                    tokio::time::sleep(BEAT).await;
                }
            }
            () = tokio::time::sleep(BEAT) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// A sign of life in a member's name; the first one registers it. Gives why that did not do.
async fn beat<'a>(ballista: &Ballista, id: &'a str, member: &Member) -> (&'a str, Option<String>) {
    let state = match member.state {
        MemberState::Active => ExecutorState::Active(String::new()),
        MemberState::Leaving => ExecutorState::Terminating(String::new()),
    };
    let params = HeartBeatParams {
        executor_id: id.to_owned(),
        metrics: vec![],
        status: Some(ExecutorStatus { status: Some(state) }),
        metadata: Some(registration(id, member)),
    };
    let beat = ballista.heart_beat(Request::new(params));
    let cause = match tokio::time::timeout(BEAT_LIMIT, beat).await {
        Ok(Ok(_)) => None,
        Ok(Err(status)) => Some(status.message().to_owned()),
        Err(_) => Some("it does not answer in time".to_owned()),
    };
    (id, cause)
}

fn registration(id: &str, member: &Member) -> ExecutorRegistration {
    let port = u32::from(member.address.port);
    ExecutorRegistration {
        id: id.to_owned(),
        // Ballista writes `host:port` of it as it stands.
        host: Some(url_host(&member.address.host).into_owned()),
        port,
        grpc_port: port,
        specification: Some(ExecutorSpecification {
            resources: vec![ExecutorResource { resource: Some(Resource::Vcores(member.slots)) }],
        }),
        os_info: Some(ExecutorOperatingSystemSpecification::default()),
        ballista_protocol_version: BALLISTA_PROTOCOL_VERSION,
    }
}
