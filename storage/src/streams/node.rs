//! The processes that take rows of streams, as the cluster's membership has them.

use polarway_metastore::membership::{MemberState, Role};
use polarway_metastore::{Key, KeyPrefix, Member, MetaStore};

use super::owner::StreamError;

/// A process that takes rows of streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Kept over restarts: it goes with the directory of logs.
    pub name: String,
    /// Where it answers by gRPC, `host:port`.
    pub address: String,
    /// Where WebSocket clients connect, `host:port`.
    pub ws: String,
}

impl Node {
    /// None for a process that takes no rows.
    pub fn of(member: &Member) -> Option<Self> {
        let ws = member.ws.as_ref().filter(|_| member.role == Role::Ingest)?;
        Some(Self { name: member.name.clone(), address: member.address.to_string(), ws: ws.to_string() })
    }

    /// The process of this name, if it lives.
    ///
    /// # Errors
    /// [`StreamError::Meta`].
    pub async fn named(meta: &dyn MetaStore, name: &str) -> Result<Option<Self>, StreamError> {
        let key = Key::Member { name: name.to_owned() }.encode();
        let found = meta.get(&key).await?;
        // An entry that cannot be read says that there is nobody to work with.
        Ok(found.and_then(|found| Self::of(&Member::decode(&key, &found.value).ok()?)))
    }

    /// Those that live and take new streams, by name.
    ///
    /// # Errors
    /// [`StreamError::Meta`].
    pub async fn all(meta: &dyn MetaStore) -> Result<Vec<Self>, StreamError> {
        let listed = meta.list(&KeyPrefix::Members.encode()).await?;
        let members = listed.entries.iter().filter_map(|(key, found)| Member::decode(key, &found.value).ok());
        let active = members.filter(|member| member.state == MemberState::Active);
        Ok(active.filter_map(|member| Self::of(&member)).collect())
    }
}

#[cfg(test)]
mod tests {
    use polarway_common::HostPort;
    use polarway_metastore::{EmbeddedMetaStore, Txn};

    use super::*;

    fn member(name: &str, role: Role, state: MemberState) -> Member {
        Member {
            name: name.to_owned(),
            incarnation: "1".to_owned(),
            role,
            zone: None,
            address: HostPort::new("127.0.0.1", 1),
            http: None,
            ws: Some(HostPort::new("127.0.0.1", 2)),
            slots: 0,
            version: "0.1.0".to_owned(),
            state,
            since: 0,
        }
    }

    #[tokio::test]
    async fn they_are_members_that_take_rows() {
        let meta = EmbeddedMetaStore::in_memory().unwrap();
        let mut txn = Txn::new().put("member/damaged", "?");
        for member in [
            member("b", Role::Ingest, MemberState::Active),
            member("a/1", Role::Ingest, MemberState::Active),
            member("leaving", Role::Ingest, MemberState::Leaving),
            member("executor", Role::Executor, MemberState::Active),
        ] {
            txn = txn.put(member.key().encode(), member.encode().unwrap());
        }
        meta.txn(txn).await.unwrap();
        let names: Vec<String> = Node::all(&meta).await.unwrap().into_iter().map(|node| node.name).collect();
        assert_eq!(names, ["a/1", "b"]);
        let node = Node::named(&meta, "leaving").await.unwrap().unwrap();
        assert_eq!((node.address.as_str(), node.ws.as_str()), ("127.0.0.1:1", "127.0.0.1:2"));
        for nobody in ["executor", "damaged", "gone"] {
            assert_eq!(Node::named(&meta, nobody).await.unwrap(), None, "{nobody}");
        }
    }
}
