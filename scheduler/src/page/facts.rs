//! What the pages show, gathered when somebody looks: what this scheduler knows, and what others say within a moment.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use futures::future::{BoxFuture, join, join_all};
use parking_lot::Mutex;
use polarway_common::Namespace;
use polarway_common::clock::unix_millis;
use polarway_engine::live::{Held, StreamStatus};
use polarway_metastore::membership::{Member, MemberState, Role};
use polarway_proto::progress::NodeStatus;
use polarway_storage::catalog::{Definition, StreamDefinition};

use crate::peers::{PeerAddress, Peers};
use crate::service::QueryService;

/// What a page waits for others. A page that is there and lacks a number is better than none.
const PATIENCE: Duration = Duration::from_millis(150);
/// Streams are what their page is about.
const PATIENCE_FOR_STREAMS: Duration = Duration::from_secs(2);
/// What a process said is shown for so long when it says nothing new.
const STALE: Duration = Duration::from_secs(5);

/// What processes said last, by incarnation.
#[derive(Debug, Default)]
pub struct Heard(Mutex<HashMap<String, (Instant, NodeStatus)>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Ready,
    Leaving,
    /// It is a member of the cluster and does not answer.
    Silent,
    /// A member that is not asked.
    Member,
}

#[derive(Debug, Clone)]
pub struct Node {
    pub member: Member,
    pub is_us: bool,
    pub health: Health,
    pub status: Option<NodeStatus>,
    /// Bytes of rows of the namespace's streams in its memory.
    pub hot_bytes: Option<u64>,
}

/// A stream with the tables beside it.
#[derive(Debug, Clone)]
pub struct Stream {
    pub name: String,
    pub owner: Option<String>,
    pub held: Option<Held>,
    /// Where its rows are fetched.
    pub source: Option<String>,
    /// Rows that were refused; none when that is not known.
    pub dead_letters: Option<u64>,
    /// Gaps of its feed; none when it has no feed.
    pub gaps: Option<u64>,
}

#[derive(Debug, Clone)]
pub enum Streams {
    /// This cluster takes no rows of streams.
    NotOffered,
    Known(Vec<Stream>),
    Unknown(String),
}

pub fn now_ms() -> u64 {
    unix_millis(SystemTime::now())
}

/// Boxed, as all here: the types of these futures are long, and of those that await them, too.
pub fn cluster<'a>(
    service: &'a QueryService,
    heard: &'a Heard,
    namespace: &'a Namespace,
) -> BoxFuture<'a, (Vec<Node>, Streams)> {
    Box::pin(async move {
        let (mut nodes, streams) = join(nodes(service, heard), streams(service, namespace, PATIENCE)).await;
        if let Streams::Known(streams) = &streams {
            for node in nodes.iter_mut().filter(|node| node.member.role == Role::Ingest) {
                let own = streams.iter().filter(|stream| stream.owner.as_ref() == Some(&node.member.name));
                let has_streams = own.clone().next().is_some();
                let held: Vec<&Held> = own.filter_map(|stream| stream.held.as_ref()).collect();
                if has_streams && held.is_empty() && node.health == Health::Member {
                    node.health = Health::Silent;
                } else {
                    node.hot_bytes = Some(held.iter().map(|held| held.hot_bytes).sum());
                }
            }
        }
        (nodes, streams)
    })
}

fn nodes<'a>(service: &'a QueryService, heard: &'a Heard) -> BoxFuture<'a, Vec<Node>> {
    Box::pin(async move {
        let view = service.members.current();
        let members: Vec<Member> = view.members().cloned().collect();
        let asked: Vec<BoxFuture<'_, Option<NodeStatus>>> =
            members.iter().map(|member| asked(&service.staged.peers, member)).collect();
        let answers = join_all(asked).await;
        let now = Instant::now();
        let mut heard = heard.0.lock();
        heard.retain(|incarnation, _| members.iter().any(|member| member.incarnation == *incarnation));
        let node = |(member, answer): (Member, Option<NodeStatus>)| {
            if let Some(status) = answer {
                heard.insert(member.incarnation.clone(), (now, status));
            }
            let is_us = member.incarnation == service.us.incarnation;
            let last = heard.get(&member.incarnation).filter(|(at, _)| now.duration_since(*at) < STALE);
            let status = if is_us { Some(ours(service)) } else { last.map(|(_, status)| status.clone()) };
            let health = health(&member, status.is_some());
            Node { member, is_us, health, status, hot_bytes: None }
        };
        let mut nodes: Vec<Node> = members.into_iter().zip(answers).map(node).collect();
        let place = |role| match role {
            Role::Scheduler => 0,
            Role::Executor => 1,
            Role::Ingest => 2,
        };
        nodes.sort_by_key(|node| (place(node.member.role), !node.is_us, node.member.name.clone()));
        nodes
    })
}

fn asked<'a>(peers: &'a Peers, member: &'a Member) -> BoxFuture<'a, Option<NodeStatus>> {
    if member.role != Role::Executor {
        return Box::pin(async { None });
    }
    let address = PeerAddress { host: member.address.host.clone(), port: member.address.port };
    Box::pin(async move { peers.status(&address, PATIENCE).await })
}

fn health(member: &Member, answers: bool) -> Health {
    match (member.state, member.role) {
        (MemberState::Leaving, _) => Health::Leaving,
        (MemberState::Active, _) if answers => Health::Ready,
        (MemberState::Active, Role::Executor) => Health::Silent,
        (MemberState::Active, _) => Health::Member,
    }
}

fn ours(service: &QueryService) -> NodeStatus {
    let runtime = &service.local.runtime;
    NodeStatus {
        memory_reserved: runtime.reserved() as u64,
        memory_limit: runtime.memory_limit() as u64,
        spill_used: runtime.spilled(),
        ..NodeStatus::default()
    }
}

/// All streams of `namespace`.
pub fn all_streams<'a>(service: &'a QueryService, namespace: &'a Namespace) -> BoxFuture<'a, Streams> {
    streams(service, namespace, PATIENCE_FOR_STREAMS)
}

fn streams<'a>(
    service: &'a QueryService,
    namespace: &'a Namespace,
    patience: Duration,
) -> BoxFuture<'a, Streams> {
    Box::pin(async move {
        let Some(host) = service.planner.streams() else { return Streams::NotOffered };
        let statuses = match tokio::time::timeout(patience, host.status()).await {
            Ok(Ok(statuses)) => statuses,
            Ok(Err(error)) => return Streams::Unknown(error.message),
            Err(_) => return Streams::Unknown("their owners did not answer in time".to_owned()),
        };
        let statuses: HashMap<&str, &StreamStatus> =
            statuses.iter().map(|status| (status.id.as_str(), status)).collect();
        let snapshot = service.planner.catalog_of(namespace).snapshot();
        let mut streams = vec![];
        for (schema, tables) in &snapshot.schemas {
            let definitions: Vec<(&String, &StreamDefinition)> = tables
                .iter()
                .filter_map(|(name, entry)| match &entry.definition {
                    Definition::Stream(definition) => Some((name, definition)),
                    _ => None,
                })
                .collect();
            let held = |definition: &StreamDefinition| statuses.get(definition.id.as_str())?.held.clone();
            let come = |of: &dyn Fn(&StreamDefinition) -> bool| {
                let (_, beside) = definitions.iter().find(|(_, definition)| of(definition))?;
                Some(held(beside)?.end)
            };
            for (name, definition) in definitions.iter().filter(|(_, stream)| stream.companion_of().is_none())
            {
                let owner = statuses.get(definition.id.as_str()).and_then(|status| status.owner.clone());
                let feed = definition.options.feed.as_ref();
                streams.push(Stream {
                    name: format!("{schema}.{name}"),
                    owner: owner.map(|(name, _)| name),
                    held: held(definition),
                    source: feed.map(|feed| without_query(&feed.url)),
                    dead_letters: come(&|beside| beside.dead_letters_of.as_ref() == Some(*name)),
                    gaps: come(&|beside| beside.gaps_of.as_ref() == Some(*name)),
                });
            }
        }
        Streams::Known(streams)
    })
}

/// An address without what may be a key: who looks at the page need not see it.
fn without_query(address: &str) -> String {
    let Ok(mut url) = url::Url::parse(address) else { return String::new() };
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_49_the_address_of_a_feed_is_shown_without_keys() {
        assert_eq!(without_query("wss://me:pw@feeds.example/v1?token=abc#x"), "wss://feeds.example/v1");
        assert_eq!(without_query("nonsense"), "");
    }
}
