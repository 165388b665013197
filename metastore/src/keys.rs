//! All that is ever stored, in one place.
//!
//! A key is a path of plain text. Names within it are percent-encoded, so that any name round-trips and none can
//! reach into another's part of the key space. These texts are in files on disk: to change one is to write a
//! migration.

use std::fmt;

use thiserror::Error;

use crate::percent;

const SCHEMA: &str = "catalog/schema/";
const TABLE: &str = "catalog/table/";
const VERSION: &str = "catalog/version";
const SECRET: &str = "cluster/secret";
const STREAM_OWNER: &str = "stream/owner/";
const STREAM_MANIFEST: &str = "stream/manifest/";
const MEMBER: &str = "member/";
const JOB: &str = "job/";
const SHUFFLE: &str = "shuffle/";
const SESSION: &str = "session/";
const STATEMENT: &str = "statement/";
const HANDLE: &str = "handle/";
const TABLE_HEAD: &str = "table/head/";
const WRITE: &str = "write/";
const SUBMISSION: &str = "submission/";
const HISTORY: &str = "history/";

/// A stored text that is not one of the keys.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a key of Polarway's metadata")]
pub struct UnknownKey(String);

/// One entry of the metadata store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A schema, by its stored name, which tells its namespace. Its presence is what counts; tables may only be written where
    /// it is a precondition.
    CatalogSchema { schema: String },
    /// The definition of a table or view.
    CatalogTable { schema: String, table: String },
    /// Written with every change of the catalog, so that its revision is the catalog's version: a plan is good
    /// as long as it has not moved.
    CatalogVersion,
    /// The key that signs result tickets, made by the first scheduler and shared by all.
    ClusterSecret,
    /// Who takes the rows of a stream. Every claim writes it, so that its revision tells whether a claim still holds.
    StreamOwner { id: String },
    /// Which rows of a stream are sealed, and where.
    StreamManifest { id: String },
    /// A process of the cluster, under its lease. Names are unique: the second of a name waits for the first to go.
    Member { name: String },
    /// A query that runs as jobs. Its presence is what counts: what its tasks store is only committed while it is there.
    Job { run: String },
    /// What a finished task wrote, and where in the object store it is. Attempts count from one.
    ShuffleOutput { run: String, attempt: u32, stage: u32, task: u32 },
    /// What a client has set for its session.
    Session { id: String },
    /// A change of a statement was made that its client may send again, by the name that the client gave the statement.
    Statement { name: String, step: u32 },
    /// A query that a client has leased.
    Handle { id: String },
    /// Which manifest of a table of our own is the current one.
    TableHead { id: String },
    /// A write that is under way, or has left something.
    Write { id: String },
    /// A statement that is carried out without its client.
    Submission { id: String },
    /// Queries of a namespace that have ended, of one scheduler (by its incarnation); written at a time in milliseconds
    /// since 1970, so that the oldest are listed first.
    History { at: u64, scheduler: String, namespace: String },
}

impl Key {
    /// The text under which it is stored.
    pub fn encode(&self) -> String {
        match self {
            Key::CatalogSchema { schema } => format!("{SCHEMA}{}", percent::encode(schema)),
            Key::CatalogTable { schema, table } => {
                format!("{TABLE}{}/{}", percent::encode(schema), percent::encode(table))
            }
            Key::CatalogVersion => VERSION.to_owned(),
            Key::ClusterSecret => SECRET.to_owned(),
            Key::StreamOwner { id } => format!("{STREAM_OWNER}{}", percent::encode(id)),
            Key::StreamManifest { id } => format!("{STREAM_MANIFEST}{}", percent::encode(id)),
            Key::Member { name } => format!("{MEMBER}{}", percent::encode(name)),
            Key::Job { run } => format!("{JOB}{}", percent::encode(run)),
            Key::ShuffleOutput { run, attempt, stage, task } => {
                format!("{SHUFFLE}{}/{attempt}/{stage}/{task}", percent::encode(run))
            }
            Key::Session { id } => format!("{SESSION}{}", percent::encode(id)),
            Key::Statement { name, step } => format!("{STATEMENT}{}/{step}", percent::encode(name)),
            Key::Handle { id } => format!("{HANDLE}{}", percent::encode(id)),
            Key::TableHead { id } => format!("{TABLE_HEAD}{}", percent::encode(id)),
            Key::Write { id } => format!("{WRITE}{}", percent::encode(id)),
            Key::Submission { id } => format!("{SUBMISSION}{}", percent::encode(id)),
            // As wide as any number, so that the order of texts is that of times.
            Key::History { at, scheduler, namespace } => {
                format!("{HISTORY}{at:020}/{}/{}", percent::encode(scheduler), percent::encode(namespace))
            }
        }
    }

    /// The key that is stored under `text`.
    ///
    /// # Errors
    /// [`UnknownKey`] if no key is, for instance because a later version wrote it.
    pub fn decode(text: &str) -> Result<Self, UnknownKey> {
        Self::parse(text).ok_or_else(|| UnknownKey(text.to_owned()))
    }

    fn parse(text: &str) -> Option<Self> {
        if text == VERSION {
            return Some(Key::CatalogVersion);
        }
        if text == SECRET {
            return Some(Key::ClusterSecret);
        }
        if let Some(schema) = text.strip_prefix(SCHEMA) {
            return Some(Key::CatalogSchema { schema: percent::decode(schema)? });
        }
        if let Some(id) = text.strip_prefix(STREAM_OWNER) {
            return Some(Key::StreamOwner { id: percent::decode(id)? });
        }
        if let Some(id) = text.strip_prefix(STREAM_MANIFEST) {
            return Some(Key::StreamManifest { id: percent::decode(id)? });
        }
        if let Some(name) = text.strip_prefix(MEMBER) {
            return Some(Key::Member { name: percent::decode(name)? });
        }
        if let Some(run) = text.strip_prefix(JOB) {
            return Some(Key::Job { run: percent::decode(run)? });
        }
        if let Some(id) = text.strip_prefix(SESSION) {
            return Some(Key::Session { id: percent::decode(id)? });
        }
        if let Some(id) = text.strip_prefix(HANDLE) {
            return Some(Key::Handle { id: percent::decode(id)? });
        }
        if let Some(id) = text.strip_prefix(TABLE_HEAD) {
            return Some(Key::TableHead { id: percent::decode(id)? });
        }
        if let Some(id) = text.strip_prefix(SUBMISSION) {
            return Some(Key::Submission { id: percent::decode(id)? });
        }
        if let Some(id) = text.strip_prefix(WRITE) {
            return Some(Key::Write { id: percent::decode(id)? });
        }
        if let Some(chunk) = text.strip_prefix(HISTORY) {
            let (at, whose) = chunk.split_once('/')?;
            let (scheduler, namespace) = whose.split_once('/')?;
            let (scheduler, namespace) = (percent::decode(scheduler)?, percent::decode(namespace)?);
            return Some(Key::History { at: moment(at)?, scheduler, namespace });
        }
        if let Some(statement) = text.strip_prefix(STATEMENT) {
            let (name, step) = statement.split_once('/')?;
            return Some(Key::Statement { name: percent::decode(name)?, step: number(step)? });
        }
        if let Some(output) = text.strip_prefix(SHUFFLE) {
            let mut parts = output.split('/');
            let run = percent::decode(parts.next()?)?;
            let (attempt, stage, task) =
                (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
            return parts.next().is_none().then_some(Key::ShuffleOutput { run, attempt, stage, task });
        }
        let (schema, table) = text.strip_prefix(TABLE)?.split_once('/')?;
        Some(Key::CatalogTable { schema: percent::decode(schema)?, table: percent::decode(table)? })
    }
}

/// A number as it is written in a key; other spellings of it are not the same key.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
}

/// A time as it is written in a key.
fn moment(text: &str) -> Option<u64> {
    text.parse().ok().filter(|at: &u64| format!("{at:020}") == text)
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encode())
    }
}

/// A set of keys that are listed or watched together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPrefix {
    /// Schemas, tables and the version.
    Catalog,
    /// All schemas.
    Schemas,
    /// All tables of all schemas.
    Tables,
    /// The tables of one schema.
    TablesOf {
        schema: String,
    },
    /// All that is stored of streams beside their definitions.
    Streams,
    StreamOwners,
    Members,
    Jobs,
    Sessions,
    /// Writes that are not over and done.
    Writes,
    Submissions,
    History,
    /// What all tasks of all queries stored.
    Shuffle,
    /// What the tasks of one query stored, in all its attempts.
    ShuffleOf {
        run: String,
    },
    /// What the tasks of one attempt stored.
    ShuffleOfAttempt {
        run: String,
        attempt: u32,
    },
}

impl KeyPrefix {
    /// The text that exactly the keys of the set start with.
    pub fn encode(&self) -> String {
        match self {
            KeyPrefix::Catalog => "catalog/".to_owned(),
            KeyPrefix::Schemas => SCHEMA.to_owned(),
            KeyPrefix::Tables => TABLE.to_owned(),
            KeyPrefix::TablesOf { schema } => format!("{TABLE}{}/", percent::encode(schema)),
            KeyPrefix::Streams => "stream/".to_owned(),
            KeyPrefix::StreamOwners => STREAM_OWNER.to_owned(),
            KeyPrefix::Members => MEMBER.to_owned(),
            KeyPrefix::Jobs => JOB.to_owned(),
            KeyPrefix::Sessions => SESSION.to_owned(),
            KeyPrefix::Writes => WRITE.to_owned(),
            KeyPrefix::Submissions => SUBMISSION.to_owned(),
            KeyPrefix::History => HISTORY.to_owned(),
            KeyPrefix::Shuffle => SHUFFLE.to_owned(),
            KeyPrefix::ShuffleOf { run } => format!("{SHUFFLE}{}/", percent::encode(run)),
            KeyPrefix::ShuffleOfAttempt { run, attempt } => {
                format!("{SHUFFLE}{}/{attempt}/", percent::encode(run))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_key() -> impl Strategy<Value = Key> {
        prop_oneof![
            any::<String>().prop_map(|schema| Key::CatalogSchema { schema }),
            any::<(String, String)>().prop_map(|(schema, table)| Key::CatalogTable { schema, table }),
            Just(Key::CatalogVersion),
            Just(Key::ClusterSecret),
            any::<String>().prop_map(|id| Key::StreamOwner { id }),
            any::<String>().prop_map(|id| Key::StreamManifest { id }),
            any::<String>().prop_map(|name| Key::Member { name }),
            any::<String>().prop_map(|run| Key::Job { run }),
            any::<String>().prop_map(|id| Key::Session { id }),
            any::<(String, u32)>().prop_map(|(name, step)| Key::Statement { name, step }),
            any::<String>().prop_map(|id| Key::Handle { id }),
            any::<String>().prop_map(|id| Key::TableHead { id }),
            any::<String>().prop_map(|id| Key::Write { id }),
            any::<String>().prop_map(|id| Key::Submission { id }),
            any::<(u64, String, String)>().prop_map(|(at, scheduler, namespace)| Key::History {
                at,
                scheduler,
                namespace
            }),
            any::<(String, u32, u32, u32)>()
                .prop_map(|(run, attempt, stage, task)| { Key::ShuffleOutput { run, attempt, stage, task } }),
        ]
    }

    #[test]
    fn the_stored_texts_do_not_change() {
        let table =
            |schema: &str, table: &str| Key::CatalogTable { schema: schema.into(), table: table.into() };
        assert_eq!(Key::CatalogSchema { schema: "public".into() }.encode(), "catalog/schema/public");
        assert_eq!(table("public", "line item").encode(), "catalog/table/public/line%20item");
        assert_eq!(table("a/b", "").encode(), "catalog/table/a%2Fb/");
        assert_eq!(Key::CatalogVersion.encode(), "catalog/version");
        assert_eq!(Key::ClusterSecret.encode(), "cluster/secret");
        assert_eq!(Key::StreamOwner { id: "a/1".into() }.encode(), "stream/owner/a%2F1");
        assert_eq!(Key::StreamManifest { id: "1".into() }.encode(), "stream/manifest/1");
        assert_eq!(Key::Member { name: "executor-0".into() }.encode(), "member/executor-0");
        assert_eq!(Key::Job { run: "0f/1".into() }.encode(), "job/0f%2F1");
        assert_eq!(Key::Session { id: "a/1".into() }.encode(), "session/a%2F1");
        assert_eq!(Key::Handle { id: "h_1".into() }.encode(), "handle/h_1");
        assert_eq!(Key::TableHead { id: "1".into() }.encode(), "table/head/1");
        assert_eq!(Key::Write { id: "1".into() }.encode(), "write/1");
        assert_eq!(Key::Submission { id: "j_1".into() }.encode(), "submission/j_1");
        let chunk =
            Key::History { at: 1_764_000_000_000, scheduler: "0f/1".into(), namespace: "acme".into() };
        assert_eq!(chunk.encode(), "history/00000001764000000000/0f%2F1/acme");
        assert_eq!(Key::Statement { name: "a/1".into(), step: 2 }.encode(), "statement/a%2F1/2");
        let output = Key::ShuffleOutput { run: "0f".into(), attempt: 2, stage: 3, task: 40 };
        assert_eq!(output.encode(), "shuffle/0f/2/3/40");
    }

    #[test]
    fn what_is_no_key_is_refused_by_name() {
        for text in [
            "",
            "catalog",
            "catalog/schema",
            "catalog/table/x",
            "catalog/table/a/b/c",
            "cluster/secret/x",
            "history/1764000000000/0f/acme",
            "history/00000001764000000000",
            "history/00000001764000000000/0f",
            "history/00000001764000000000/0f/acme/1",
            "shuffle/q/1/2",
            "shuffle/q/1/2/3/4",
            "shuffle/q/1/2/03",
            "shuffle/q/1/2/+3",
        ] {
            assert_eq!(Key::decode(text), Err(UnknownKey(text.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn every_key_reads_back(key in any_key()) {
            prop_assert_eq!(Key::decode(&key.encode()), Ok(key));
        }

        #[test]
        fn different_keys_have_different_texts(a in any_key(), b in any_key()) {
            prop_assert_eq!(a == b, a.encode() == b.encode());
        }

        #[test]
        fn a_prefix_selects_its_keys_and_no_others(key in any_key(), other: String) {
            let within = |prefix: KeyPrefix| key.encode().starts_with(&prefix.encode());
            prop_assert_eq!(within(KeyPrefix::Schemas), matches!(key, Key::CatalogSchema { .. }));
            prop_assert_eq!(within(KeyPrefix::Tables), matches!(key, Key::CatalogTable { .. }));
            let of_catalog =
                matches!(key, Key::CatalogSchema { .. } | Key::CatalogTable { .. } | Key::CatalogVersion);
            prop_assert_eq!(within(KeyPrefix::Catalog), of_catalog);
            prop_assert_eq!(within(KeyPrefix::StreamOwners), matches!(key, Key::StreamOwner { .. }));
            prop_assert_eq!(within(KeyPrefix::Members), matches!(key, Key::Member { .. }));
            prop_assert_eq!(within(KeyPrefix::Jobs), matches!(key, Key::Job { .. }));
            prop_assert_eq!(within(KeyPrefix::Sessions), matches!(key, Key::Session { .. }));
            prop_assert_eq!(within(KeyPrefix::History), matches!(key, Key::History { .. }));
            prop_assert_eq!(within(KeyPrefix::Shuffle), matches!(key, Key::ShuffleOutput { .. }));
            if let Key::ShuffleOutput { run, attempt, .. } = &key {
                let (run, attempt) = (run.clone(), *attempt);
                let of_attempt = KeyPrefix::ShuffleOfAttempt { run: run.clone(), attempt };
                let of_next = KeyPrefix::ShuffleOfAttempt { run: run.clone(), attempt: attempt.wrapping_add(1) };
                prop_assert_eq!(
                    (within(KeyPrefix::ShuffleOf { run }), within(of_attempt), within(of_next)),
                    (true, true, false)
                );
            }
            let of_streams = matches!(
                key,
                Key::StreamOwner { .. } | Key::StreamManifest { .. }
            );
            prop_assert_eq!(within(KeyPrefix::Streams), of_streams);
            let schema = match &key {
                Key::CatalogTable { schema, .. } => schema.clone(),
                _ => other.clone(),
            };
            let is_table = matches!(key, Key::CatalogTable { .. });
            prop_assert_eq!(within(KeyPrefix::TablesOf { schema: schema.clone() }), is_table);
            prop_assert_eq!(within(KeyPrefix::TablesOf { schema: other.clone() }), is_table && schema == other);
        }
    }
}
