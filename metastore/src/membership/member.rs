//! What a process says of itself, and how it is stored.

use bytes::Bytes;
use polarway_common::HostPort;
use serde::{Deserialize, Serialize};

use super::error::MembershipError;
use super::version::check_versions;
use crate::keys::Key;

/// What a process does in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Scheduler,
    /// Runs tasks of queries.
    Executor,
    /// Takes rows of streams.
    Ingest,
}

/// Whether a process is to be given work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    Active,
    /// It ends what it has begun and takes nothing new.
    Leaving,
}

/// A process of the cluster. It is stored as JSON; fields that this version does not know are passed over when it is
/// read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Unique among those that live, and kept over restarts.
    pub name: String,
    /// Tells this process from one that had the name before; no two processes have the same.
    pub incarnation: String,
    pub role: Role,
    /// Where the machine stands, such as the availability zone, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Where other processes reach it by gRPC.
    pub address: HostPort,
    /// Where it answers by HTTP, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HostPort>,
    /// Where WebSocket clients connect, if they can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ws: Option<HostPort>,
    /// Tasks that it runs at one time.
    pub slots: u32,
    /// Of the form `1.2.3`: see [`check_versions`].
    pub version: String,
    pub state: MemberState,
    /// When it started, in milliseconds since the Unix epoch by its own clock.
    pub since: u64,
}

impl Member {
    /// Whether `other` is the same process, as opposed to another one of the same name.
    pub fn is_same_process(&self, other: &Member) -> bool {
        (&self.name, &self.incarnation) == (&other.name, &other.incarnation)
    }

    /// Whether this process works with another one.
    ///
    /// # Errors
    /// [`MembershipError::Version`] that names both, their versions, and what to do.
    pub fn check_version_of(&self, other: &Member) -> Result<(), MembershipError> {
        check_versions(&self.version, &other.version).map_err(|skew| MembershipError::Version {
            us: self.name.clone(),
            them: other.name.clone(),
            skew: Box::new(skew),
        })
    }

    /// The key that it is stored under.
    pub fn key(&self) -> Key {
        Key::Member { name: self.name.clone() }
    }

    /// The stored value.
    ///
    /// # Errors
    /// [`MembershipError::Unreadable`] for what JSON cannot tell, which is nothing that a member has.
    pub fn encode(&self) -> Result<Bytes, MembershipError> {
        match serde_json::to_vec(self) {
            Ok(value) => Ok(value.into()),
            Err(error) => Err(unreadable(&self.key().encode(), error.to_string())),
        }
    }

    /// The member that is stored as `value` under the text `key`.
    ///
    /// # Errors
    /// [`MembershipError::Unreadable`] if it is none, or not the one that the key names.
    pub fn decode(key: &str, value: &[u8]) -> Result<Self, MembershipError> {
        let member: Self =
            serde_json::from_slice(value).map_err(|error| unreadable(key, error.to_string()))?;
        match Key::decode(key) {
            Ok(Key::Member { name }) if name == member.name => Ok(member),
            _ => Err(unreadable(key, format!("it is the member `{}`", member.name))),
        }
    }
}

fn unreadable(key: &str, detail: String) -> MembershipError {
    MembershipError::Unreadable { key: key.to_owned(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::tests::member;

    #[test]
    fn the_stored_value_does_not_change() {
        let mut member = member("executor-0");
        let json = r#"{"name":"executor-0","incarnation":"1","role":"executor","address":"executor-0:50052","slots":4,"version":"0.1.0","state":"active","since":1767225600000}"#;
        assert_eq!(member.encode().unwrap(), json);
        assert_eq!(Member::decode("member/executor-0", json.as_bytes()).unwrap(), member);

        member.role = Role::Ingest;
        member.zone = Some("a".into());
        member.http = Some(HostPort::new("::1", 8080));
        member.ws = Some(HostPort::new("ws", 8081));
        member.state = MemberState::Leaving;
        let json = r#"{"name":"executor-0","incarnation":"1","role":"ingest","zone":"a","address":"executor-0:50052","http":"[::1]:8080","ws":"ws:8081","slots":4,"version":"0.1.0","state":"leaving","since":1767225600000}"#;
        assert_eq!(member.encode().unwrap(), json);
        assert_eq!(Member::decode("member/executor-0", json.as_bytes()).unwrap(), member);
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let member = Member { name: "a/b".into(), ..member("a") };
        let text = String::from_utf8(member.encode().unwrap().to_vec()).unwrap();
        let later = text.replacen('{', r#"{"gpu":{"count":2},"#, 1);
        assert_eq!(Member::decode("member/a%2Fb", later.as_bytes()).unwrap(), member);
    }

    #[test]
    fn what_is_no_member_is_told_by_its_key() {
        let stored = member("a").encode().unwrap();
        let unknown_role = String::from_utf8(stored.to_vec()).unwrap().replace("executor\"", "oracle\"");
        for (key, value) in [
            ("member/a", &b""[..]),
            ("member/a", b"{}"),
            ("member/a", unknown_role.as_bytes()),
            ("member/b", &stored),
            ("job/a", &stored),
        ] {
            let error = Member::decode(key, value).unwrap_err();
            assert!(
                matches!(&error, MembershipError::Unreadable { key: told, .. } if told == key),
                "{error}"
            );
        }
    }

    #[test]
    fn versions_that_do_not_fit_are_told_with_the_processes() {
        let (ours, mut theirs) = (member("scheduler-0"), member("executor-0"));
        ours.check_version_of(&theirs).unwrap();
        theirs.version = "0.2.0".into();
        let error = ours.check_version_of(&theirs).unwrap_err().to_string();
        for part in ["`scheduler-0`", "`executor-0`", "0.1.0", "0.2.0", "upgrade"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
