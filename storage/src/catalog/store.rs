//! The catalog in the metadata store, and the immutable snapshot that queries are planned against.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use parking_lot::RwLock;
use polarway_common::namespace::{PUBLIC, split_stored};
use polarway_common::{Error, ErrorKind, Namespace};
use polarway_metastore::{Expect, Key, KeyPrefix, MetaStore, Precondition, TxnOutcome, Write};
use tokio_util::sync::CancellationToken;

use super::definition::Definition;
use super::once::{Once, OnceOutcome, commit_once};
use super::own::OwnCatalog;
use crate::tables;
use crate::writes;

/// Between two tries to follow the store.
const AGAIN: Duration = Duration::from_millis(500);

/// A table or view and the revision that its definition was written at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub revision: u64,
    pub definition: Definition,
}

/// The catalog as it was at one version. Names are as stored (unquoted SQL names are lower case).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub version: u64,
    pub schemas: BTreeMap<String, BTreeMap<String, Arc<Entry>>>,
    /// Schemas and names of definitions that cannot be read, for instance because a later version wrote them. They are in no
    /// list, and nothing takes their place.
    pub unreadable: BTreeSet<(String, String)>,
}

impl Snapshot {
    pub fn entry(&self, schema: &str, name: &str) -> Option<&Arc<Entry>> {
        self.schemas.get(schema)?.get(name)
    }

    /// # Errors
    /// `Unsupported` where there is something of this name whose definition cannot be read.
    pub fn expect_readable(&self, schema: &str, name: &str) -> Result<(), Error> {
        if self.unreadable.is_empty() || !self.unreadable.contains(&(schema.to_owned(), name.to_owned())) {
            return Ok(());
        }
        let told = format!("the definition of `{schema}.{name}` cannot be read");
        Err(Error::new(ErrorKind::Unsupported, told)
            .with_hint("a later version of Polarway may have written it; the server's log has the cause"))
    }
}

/// Reads and changes the catalog of all namespaces, by stored names; [`CatalogStore::of`] is that of one. Each change is one
/// transaction.
#[derive(Debug)]
pub struct CatalogStore {
    meta: Arc<dyn MetaStore>,
    current: RwLock<Arc<Snapshot>>,
    /// What namespaces had when they were asked for last.
    own: RwLock<HashMap<Namespace, Arc<Snapshot>>>,
}

impl CatalogStore {
    /// Reads the catalog; creates `default_schema` in an empty store.
    pub async fn open(meta: Arc<dyn MetaStore>, default_schema: &str) -> Result<Self, Error> {
        let store = Self { meta, current: RwLock::default(), own: RwLock::default() };
        store.refresh().await?;
        if !store.snapshot().schemas.contains_key(default_schema) {
            store.create_schema(default_schema, true, None).await?;
        }
        Ok(store)
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read())
    }

    /// The catalog as the users of `namespace` know it.
    pub fn of(&self, namespace: &Namespace) -> OwnCatalog<'_> {
        OwnCatalog::new(self, namespace)
    }

    /// Whether other namespaces than `default` have ever made anything: their first schema stays.
    pub fn has_namespaces(&self) -> bool {
        self.snapshot().schemas.keys().any(|schema| split_stored(schema).0.is_some())
    }

    pub(super) fn snapshot_of(&self, namespace: &Namespace) -> Arc<Snapshot> {
        let all = self.snapshot();
        if namespace.is_default() && all.schemas.keys().all(|schema| namespace.own(schema).is_some()) {
            return all;
        }
        let kept = self.own.read().get(namespace).cloned();
        if let Some(kept) = kept.filter(|kept| kept.version == all.version) {
            return kept;
        }
        let own = Arc::new(all.of(namespace));
        self.own.write().insert(namespace.clone(), Arc::clone(&own));
        own
    }

    /// Reads what other processes changed. One definition that cannot be read costs no other.
    pub async fn refresh(&self) -> Result<(), Error> {
        let listed = self.meta.list(&KeyPrefix::Catalog.encode()).await?;
        let before = self.snapshot();
        let mut snapshot = Snapshot { version: listed.revision, ..Snapshot::default() };
        for (text, versioned) in listed.entries {
            match Key::decode(&text) {
                Ok(Key::CatalogSchema { schema }) => {
                    snapshot.schemas.entry(schema).or_default();
                }
                Ok(Key::CatalogTable { schema, table }) => match serde_json::from_slice(&versioned.value) {
                    Ok(definition) => {
                        let entry = Arc::new(Entry { revision: versioned.revision, definition });
                        snapshot.schemas.entry(schema).or_default().insert(table, entry);
                    }
                    Err(error) => {
                        snapshot.schemas.entry(schema.clone()).or_default();
                        let name = (schema, table);
                        if !before.unreadable.contains(&name) {
                            tracing::error!(key = text, %error, "a definition cannot be read and is left out");
                        }
                        snapshot.unreadable.insert(name);
                    }
                },
                Ok(_) => {}
                Err(unknown) => tracing::warn!(%unknown, "left alone"),
            }
        }
        let mut current = self.current.write();
        if snapshot.version >= current.version {
            *current = Arc::new(snapshot);
        }
        Ok(())
    }

    /// Reads what other processes changed, as of this call; whether there is anything that `seen` does not have.
    pub async fn catch_up(&self, seen: &Snapshot) -> Result<bool, Error> {
        if self.meta.revision().await? > self.snapshot().version {
            self.refresh().await?;
        }
        // Not what this call has read: [`CatalogStore::follow`] may have read it since `seen`.
        Ok(self.snapshot().schemas != seen.schemas)
    }

    /// Takes over what other processes change, until `stop`.
    pub async fn follow(&self, stop: CancellationToken) {
        let mut missed = false;
        loop {
            let followed = stop.run_until_cancelled(self.followed(missed)).await;
            missed = true;
            match followed {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::warn!(%error, "the catalog may be behind what other processes change");
                }
            }
            if stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
                return;
            }
        }
    }

    /// Ends when the watch does; changes may be `missed` after it, for which the catalog is read anew.
    async fn followed(&self, missed: bool) -> Result<(), Error> {
        if missed {
            self.refresh().await?;
        }
        let mut changes = self.meta.watch(&KeyPrefix::Catalog.encode(), self.snapshot().version).await?;
        while let Some(change) = changes.next().await {
            // One reading covers all changes that came with it, or are our own.
            if change?.revision > self.snapshot().version {
                self.refresh().await?;
            }
        }
        Ok(())
    }

    /// Whether a statement's change was made before.
    ///
    /// # Errors
    /// `InvalidSetting` if another statement had the same name; those of the metadata store.
    pub async fn is_done(&self, once: &Once) -> Result<bool, Error> {
        Ok(once.outcome(self.meta.as_ref()).await?.is_some())
    }

    pub async fn create_schema(
        &self,
        schema: &str,
        if_not_exists: bool,
        once: Option<&Once>,
    ) -> Result<bool, Error> {
        let key = Key::CatalogSchema { schema: schema.to_owned() }.encode();
        let outcome = self
            .commit(
                vec![Precondition { key: key.clone(), expect: Expect::Absent }],
                vec![Write::Put { key, value: Bytes::new() }],
                once,
            )
            .await?;
        match outcome {
            TxnOutcome::Committed { .. } => Ok(true),
            TxnOutcome::Conflict { .. } if if_not_exists => Ok(false),
            TxnOutcome::Conflict { .. } => {
                Err(Error::new(ErrorKind::AlreadyExists, format!("schema `{schema}` exists already")))
            }
        }
    }

    /// Drops a schema; with `cascade` also what is in it. The first one of a namespace stays, without anything in it: it tells
    /// that there is something of that namespace, or was, of which files may be left.
    pub async fn drop_schema(
        &self,
        schema: &str,
        if_exists: bool,
        cascade: bool,
        once: Option<&Once>,
    ) -> Result<bool, Error> {
        let snapshot = self.snapshot();
        let Some(tables) = snapshot.schemas.get(schema) else {
            return if if_exists { Ok(false) } else { Err(no_schema(schema)) };
        };
        if !tables.is_empty() && !cascade {
            return Err(Error::new(
                ErrorKind::Plan,
                format!("schema `{schema}` holds {} tables", tables.len()),
            )
            .with_hint("DROP SCHEMA … CASCADE drops them too"));
        }
        if let Some((_, name)) = snapshot.unreadable.iter().find(|(within, _)| within == schema) {
            snapshot.expect_readable(schema, name)?;
        }
        let (mut preconditions, mut writes) = (vec![], vec![]);
        if !matches!(split_stored(schema), (Some(_), PUBLIC)) {
            writes.push(Write::Delete { key: Key::CatalogSchema { schema: schema.to_owned() }.encode() });
        }
        for (table, entry) in tables {
            let key = Key::CatalogTable { schema: schema.to_owned(), table: table.clone() }.encode();
            preconditions.push(Precondition { key: key.clone(), expect: Expect::Revision(entry.revision) });
            writes.push(Write::Delete { key });
            writes.extend(ended(&entry.definition)?);
        }
        match self.commit(preconditions, writes, once).await? {
            TxnOutcome::Committed { .. } => Ok(true),
            TxnOutcome::Conflict { .. } => Err(changed_meanwhile(schema)),
        }
    }

    /// Creates a table or view. Gives false when it was there and `if_not_exists` was said.
    pub async fn create(
        &self,
        schema: &str,
        name: &str,
        definition: &Definition,
        if_not_exists: bool,
        or_replace: bool,
        once: Option<&Once>,
    ) -> Result<bool, Error> {
        let key = Key::CatalogTable { schema: schema.to_owned(), table: name.to_owned() }.encode();
        let schema_key = Key::CatalogSchema { schema: schema.to_owned() }.encode();
        let value = serde_json::to_vec(definition)
            .map_err(|error| Error::internal(format!("a definition cannot be written: {error}")))?;
        let mut preconditions = vec![Precondition { key: schema_key.clone(), expect: Expect::Exists }];
        let mut writes = vec![Write::Put { key: key.clone(), value: value.into() }];
        if or_replace {
            // Another process may have made what is replaced; its files go with it.
            self.refresh().await?;
            self.snapshot().expect_readable(schema, name)?;
        }
        let replaced = if or_replace { self.managed(schema, name) } else { None };
        match &replaced {
            // Its files go with it, so that it must be the one we know.
            Some(entry) => {
                preconditions.push(Precondition { key, expect: Expect::Revision(entry.revision) });
                writes.extend(ended(&entry.definition)?);
            }
            None if or_replace => {}
            None => preconditions.push(Precondition { key, expect: Expect::Absent }),
        }
        match self.commit(preconditions, writes, once).await? {
            TxnOutcome::Conflict { key } if key != schema_key && replaced.is_some() => {
                Err(changed_meanwhile(name))
            }
            TxnOutcome::Committed { .. } => Ok(true),
            TxnOutcome::Conflict { key } if key == schema_key => Err(no_schema(schema)),
            TxnOutcome::Conflict { .. } if if_not_exists => Ok(false),
            TxnOutcome::Conflict { .. } => {
                Err(Error::new(ErrorKind::AlreadyExists, format!("`{schema}.{name}` exists already"))
                    .with_hint("CREATE OR REPLACE replaces it, IF NOT EXISTS keeps it"))
            }
        }
    }

    /// A table of our own, as it was known last.
    fn managed(&self, schema: &str, name: &str) -> Option<Arc<Entry>> {
        let entry = Arc::clone(self.snapshot().entry(schema, name)?);
        matches!(entry.definition, Definition::Managed(_)).then_some(entry)
    }

    /// Creates a table together with what `change` writes, in place of the table of that name that `replaces` is. Gives what
    /// became of it; a conflict tells the key that was not as expected.
    ///
    /// # Errors
    /// Those of the metadata store.
    pub async fn create_with(
        &self,
        schema: &str,
        name: &str,
        definition: &Definition,
        replaces: Option<&Entry>,
        (mut preconditions, mut writes): (Vec<Precondition>, Vec<Write>),
        once: Option<&Once>,
    ) -> Result<OnceOutcome, Error> {
        let key = Key::CatalogTable { schema: schema.to_owned(), table: name.to_owned() }.encode();
        let value = serde_json::to_vec(definition)
            .map_err(|error| Error::internal(format!("a definition cannot be written: {error}")))?;
        let schema_key = Key::CatalogSchema { schema: schema.to_owned() }.encode();
        let expect = replaces.map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
        preconditions.push(Precondition { key: schema_key, expect: Expect::Exists });
        preconditions.push(Precondition { key: key.clone(), expect });
        writes.push(Write::Put { key, value: value.into() });
        writes.push(Write::Put { key: Key::CatalogVersion.encode(), value: Bytes::new() });
        if let Some(entry) = replaces {
            writes.extend(ended(&entry.definition)?);
        }
        let outcome = commit_once(self.meta.as_ref(), preconditions, writes, once).await?;
        self.refresh().await?;
        Ok(outcome)
    }

    /// Creates several tables or views of one schema, or none of them. Gives false when one was there and `if_not_exists`
    /// was said.
    pub async fn create_together(
        &self,
        schema: &str,
        definitions: &[(String, Definition)],
        if_not_exists: bool,
        once: Option<&Once>,
    ) -> Result<bool, Error> {
        let schema_key = Key::CatalogSchema { schema: schema.to_owned() }.encode();
        let mut preconditions = vec![Precondition { key: schema_key.clone(), expect: Expect::Exists }];
        let mut writes = vec![];
        for (name, definition) in definitions {
            let key = Key::CatalogTable { schema: schema.to_owned(), table: name.clone() }.encode();
            let value = serde_json::to_vec(definition)
                .map_err(|error| Error::internal(format!("a definition cannot be written: {error}")))?;
            preconditions.push(Precondition { key: key.clone(), expect: Expect::Absent });
            writes.push(Write::Put { key, value: value.into() });
        }
        match self.commit(preconditions, writes, once).await? {
            TxnOutcome::Committed { .. } => Ok(true),
            TxnOutcome::Conflict { key } if key == schema_key => Err(no_schema(schema)),
            TxnOutcome::Conflict { .. } if if_not_exists => Ok(false),
            TxnOutcome::Conflict { key } => {
                let taken = definitions.iter().map(|(name, _)| name).find(|name| {
                    key == Key::CatalogTable { schema: schema.to_owned(), table: (*name).clone() }.encode()
                });
                let name = taken.map_or(key.as_str(), String::as_str);
                Err(Error::new(ErrorKind::AlreadyExists, format!("`{schema}.{name}` exists already")))
            }
        }
    }

    /// Drops a table or view. Gives false when there is none and `if_exists` was said.
    pub async fn drop(
        &self,
        schema: &str,
        name: &str,
        if_exists: bool,
        once: Option<&Once>,
    ) -> Result<bool, Error> {
        // Another process may have made it.
        self.refresh().await?;
        self.snapshot().expect_readable(schema, name)?;
        let key = Key::CatalogTable { schema: schema.to_owned(), table: name.to_owned() }.encode();
        let known = self.managed(schema, name);
        let expect = known.as_ref().map_or(Expect::Exists, |entry| Expect::Revision(entry.revision));
        let mut writes = vec![Write::Delete { key: key.clone() }];
        if let Some(entry) = &known {
            writes.extend(ended(&entry.definition)?);
        }
        match self.commit(vec![Precondition { key, expect }], writes, once).await? {
            TxnOutcome::Conflict { .. } if self.snapshot().entry(schema, name).is_some() => {
                Err(changed_meanwhile(name))
            }
            TxnOutcome::Committed { .. } => Ok(true),
            TxnOutcome::Conflict { .. } if if_exists => Ok(false),
            TxnOutcome::Conflict { .. } => {
                Err(Error::new(ErrorKind::TableNotFound, format!("`{schema}.{name}` does not exist")))
            }
        }
    }

    /// Drops several tables or views of one schema, or none of them.
    pub async fn drop_together(
        &self,
        schema: &str,
        names: &[String],
        once: Option<&Once>,
    ) -> Result<(), Error> {
        let (preconditions, writes) = drops(schema, names);
        match self.commit(preconditions, writes, once).await? {
            TxnOutcome::Committed { .. } => Ok(()),
            TxnOutcome::Conflict { .. } => Err(changed_meanwhile(schema)),
        }
    }

    /// Takes back what [`CatalogStore::create_together`] made, so that the statement can be carried out anew.
    pub async fn take_back(&self, schema: &str, names: &[String], once: Option<&Once>) -> Result<(), Error> {
        let (preconditions, mut writes) = drops(schema, names);
        writes.extend(once.map(|once| Write::Delete { key: once.key() }));
        match self.commit(preconditions, writes, None).await? {
            TxnOutcome::Committed { .. } => Ok(()),
            TxnOutcome::Conflict { .. } => Err(changed_meanwhile(schema)),
        }
    }

    /// A change by a statement that was made before is made, and not made again.
    async fn commit(
        &self,
        preconditions: Vec<Precondition>,
        mut writes: Vec<Write>,
        once: Option<&Once>,
    ) -> Result<TxnOutcome, Error> {
        writes.push(Write::Put { key: Key::CatalogVersion.encode(), value: Bytes::new() });
        let outcome = match commit_once(self.meta.as_ref(), preconditions, writes, once).await? {
            OnceOutcome::Made { revision } => TxnOutcome::Committed { revision },
            OnceOutcome::MadeBefore(_) => TxnOutcome::Committed { revision: self.meta.revision().await? },
            OnceOutcome::Conflict { key } => TxnOutcome::Conflict { key },
            OnceOutcome::Unknown(error) => return Err(error),
        };
        self.refresh().await?;
        Ok(outcome)
    }
}

/// Readers of a table that is dropped may be on their way for so long.
const READ_UNTIL: Duration = Duration::from_secs(15 * 60);

/// What goes with the end of a table of our own.
fn ended(definition: &Definition) -> Result<Vec<Write>, Error> {
    match definition {
        Definition::Managed(table) => {
            Ok(vec![tables::end(&table.id), writes::dropped(&table.id, READ_UNTIL)?])
        }
        _ => Ok(vec![]),
    }
}

fn drops(schema: &str, names: &[String]) -> (Vec<Precondition>, Vec<Write>) {
    let keys = names
        .iter()
        .map(|name| Key::CatalogTable { schema: schema.to_owned(), table: name.clone() }.encode());
    keys.map(|key| (Precondition { key: key.clone(), expect: Expect::Exists }, Write::Delete { key })).unzip()
}

fn no_schema(schema: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("schema `{schema}` does not exist"))
        .with_hint(format!("CREATE SCHEMA {schema}"))
}

/// What a statement is told that was to change what somebody else has changed.
pub fn changed_meanwhile(name: &str) -> Error {
    Error::new(ErrorKind::StoreUnavailable, format!("`{name}` was changed by somebody else meanwhile"))
        .with_hint("run the statement again")
}

#[cfg(test)]
mod tests {
    use polarway_metastore::Txn;
    use polarway_metastore::embedded::EmbeddedMetaStore;

    use super::super::ViewDefinition;
    use super::*;

    fn view(query: &str) -> Definition {
        Definition::View(ViewDefinition { ddl: format!("CREATE VIEW v AS {query}"), query: query.into() })
    }

    #[tokio::test]
    async fn tables_come_and_go_and_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta.redb");
        {
            let meta = Arc::new(EmbeddedMetaStore::open(&path).await.unwrap());
            let store = CatalogStore::open(meta, "public").await.unwrap();
            assert!(store.create("public", "a/b", &view("select 1"), false, false, None).await.unwrap());
            assert!(!store.create("public", "a/b", &view("select 2"), true, false, None).await.unwrap());
            let error =
                store.create("public", "a/b", &view("select 2"), false, false, None).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::AlreadyExists);
            let before = store.snapshot().version;
            assert!(store.create("public", "a/b", &view("select 3"), false, true, None).await.unwrap());
            assert!(store.snapshot().version > before);
            assert_eq!(
                store.create("nope", "x", &view("select 1"), false, false, None).await.unwrap_err().kind,
                ErrorKind::NotFound
            );
        }
        let meta = Arc::new(EmbeddedMetaStore::open(&path).await.unwrap());
        let store = CatalogStore::open(meta, "public").await.unwrap();
        assert_eq!(store.snapshot().entry("public", "a/b").unwrap().definition, view("select 3"));
        assert_eq!(store.drop("public", "x", false, None).await.unwrap_err().kind, ErrorKind::TableNotFound);
        assert!(store.drop_schema("public", false, false, None).await.is_err());
        assert!(store.drop("public", "a/b", false, None).await.unwrap());
        assert!(!store.drop("public", "a/b", true, None).await.unwrap());
    }

    #[tokio::test]
    async fn row_47_a_definition_that_cannot_be_read_costs_no_other_and_is_not_written_over() {
        let meta: Arc<dyn MetaStore> = Arc::new(EmbeddedMetaStore::in_memory().unwrap());
        let store = CatalogStore::open(Arc::clone(&meta), "public").await.unwrap();
        let acme = Namespace::parse("acme").unwrap();
        let stored = acme.stored("sales").unwrap();
        store.of(&acme).create_schema("sales", false, None).await.unwrap();
        store.of(&acme).create("sales", "w", &view("select 1"), false, false, None).await.unwrap();
        let key = Key::CatalogTable { schema: stored, table: "t".into() }.encode();
        meta.txn(Txn::new().put(key.clone(), r#"{"kind":"of_a_later_version"}"#)).await.unwrap();

        // For all others nothing has changed, for those who start now neither.
        for store in [store, CatalogStore::open(Arc::clone(&meta), "public").await.unwrap()] {
            assert!(store.create("public", "v", &view("select 1"), false, true, None).await.unwrap());
            assert!(store.drop("public", "v", false, None).await.unwrap());
            let own = store.of(&acme);
            assert!(own.snapshot().entry("sales", "w").is_some());
            assert_eq!(own.snapshot().entry("sales", "t"), None);
            assert!(store.of(&Namespace::default()).snapshot().unreadable.is_empty());
            let refused = [
                own.create("sales", "t", &view("select 2"), false, true, None).await.unwrap_err(),
                own.drop("sales", "t", true, None).await.unwrap_err(),
                own.drop_schema("sales", false, true, None).await.unwrap_err(),
                own.snapshot().expect_readable("sales", "t").unwrap_err(),
            ];
            for error in refused {
                assert_eq!(error.kind, ErrorKind::Unsupported);
                assert_eq!(error.message, "the definition of `sales.t` cannot be read");
            }
            let taken = own.create("sales", "t", &view("select 2"), false, false, None).await.unwrap_err();
            assert_eq!(taken.kind, ErrorKind::AlreadyExists);
            assert!(!own.create("sales", "t", &view("select 2"), true, false, None).await.unwrap());
            assert_eq!(own.snapshot().expect_readable("sales", "w"), Ok(()));
        }
        let left = meta.get(&key).await.unwrap().unwrap();
        assert_eq!(left.value, r#"{"kind":"of_a_later_version"}"#);
    }

    #[tokio::test]
    async fn row_47_that_there_was_another_namespace_is_never_forgotten() {
        let meta: Arc<dyn MetaStore> = Arc::new(EmbeddedMetaStore::in_memory().unwrap());
        let store = CatalogStore::open(Arc::clone(&meta), "public").await.unwrap();
        let acme = Namespace::parse("acme").unwrap();
        store.of(&Namespace::default()).settle().await.unwrap();
        store.of(&Namespace::default()).create_schema("sales", false, None).await.unwrap();
        assert!(!store.has_namespaces());
        store.of(&acme).create_schema("sales", false, None).await.unwrap();
        assert!(store.has_namespaces());
        // Files of what is dropped are there for a while.
        store.of(&acme).drop_schema("sales", false, true, None).await.unwrap();
        store.of(&acme).drop_schema("public", false, true, None).await.unwrap();
        assert!(store.has_namespaces());
        assert!(CatalogStore::open(meta, "public").await.unwrap().has_namespaces());
    }

    #[tokio::test]
    async fn what_was_followed_meanwhile_is_news_to_who_looked_before() {
        let meta: Arc<dyn MetaStore> = Arc::new(EmbeddedMetaStore::in_memory().unwrap());
        let one = CatalogStore::open(Arc::clone(&meta), "public").await.unwrap();
        let other = CatalogStore::open(meta, "public").await.unwrap();
        let seen = other.snapshot();
        assert!(!other.catch_up(&seen).await.unwrap());
        one.create("public", "v", &view("select 1"), false, false, None).await.unwrap();
        assert!(other.catch_up(&seen).await.unwrap());
        // As if `follow` had read it while a query was planned with what was there before.
        assert!(other.catch_up(&seen).await.unwrap());
        assert!(!other.catch_up(&other.snapshot()).await.unwrap());
    }

    #[tokio::test]
    async fn a_statement_that_comes_again_changes_nothing_and_succeeds() {
        let dir = tempfile::tempdir().unwrap();
        let meta = Arc::new(EmbeddedMetaStore::open(dir.path().join("meta.redb")).await.unwrap());
        let store = CatalogStore::open(meta, "public").await.unwrap();
        let once = |name: &str, sql: &str| Once::new(name, sql).unwrap();
        let create = once("1", "create view v");
        assert!(!store.is_done(&create).await.unwrap());
        for _ in 0..2 {
            assert!(
                store.create("public", "v", &view("select 1"), false, false, Some(&create)).await.unwrap()
            );
            assert!(store.is_done(&create).await.unwrap());
        }
        let drop = once("2", "drop view v");
        for _ in 0..2 {
            assert!(store.drop("public", "v", false, Some(&drop)).await.unwrap());
        }
        // It was dropped since, and is not made again.
        assert!(store.create("public", "v", &view("select 1"), false, false, Some(&create)).await.unwrap());
        assert_eq!(store.snapshot().entry("public", "v"), None);
        let other = once("1", "create view w");
        let refused = store.create("public", "w", &view("select 1"), false, false, Some(&other)).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::InvalidSetting);
        // What was taken back can be carried out again.
        let (several, names) = (once("3", "create stream s"), ["s".to_owned(), "t".to_owned()]);
        let made = names.clone().map(|name| (name, view("select 2")));
        for _ in 0..2 {
            assert!(store.create_together("public", &made, false, Some(&several)).await.unwrap());
            store.take_back("public", &names, Some(&several)).await.unwrap();
            assert!(!store.is_done(&several).await.unwrap());
        }
        for _ in 0..2 {
            assert!(store.create_schema("s", false, Some(&once("4", "create schema s"))).await.unwrap());
        }
        assert!(!store.create_schema("s", true, Some(&once("5", "create schema s"))).await.unwrap());
        let drop = once("6", "drop schema s");
        assert!(store.drop_schema("s", false, false, Some(&drop)).await.unwrap());
        assert!(store.is_done(&drop).await.unwrap());
    }
}
