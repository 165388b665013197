//! The catalog as the users of one namespace know it: names are as they give them, and what is of other namespaces is not
//! there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polarway_common::namespace::{PUBLIC, plain};
use polarway_common::{Error, Namespace};
use polarway_metastore::{Precondition, Write};

use super::definition::Definition;
use super::once::{Once, OnceOutcome};
use super::store::{CatalogStore, Entry, Snapshot};

/// See the module's page. Errors name what the user has named.
#[derive(Debug)]
pub struct OwnCatalog<'a> {
    store: &'a CatalogStore,
    namespace: Namespace,
}

impl Snapshot {
    /// What `namespace` has of it. Its first schema is there, whether it is stored yet or not.
    pub(super) fn of(&self, namespace: &Namespace) -> Self {
        let mut schemas = BTreeMap::new();
        for (stored, tables) in &self.schemas {
            if let Some(schema) = namespace.own(stored) {
                schemas.insert(schema.to_owned(), tables.clone());
            }
        }
        if !namespace.is_default() {
            schemas.entry(PUBLIC.to_owned()).or_default();
        }
        let own = |(stored, name): &(String, String)| Some((namespace.own(stored)?.to_owned(), name.clone()));
        let unreadable: BTreeSet<_> = self.unreadable.iter().filter_map(own).collect();
        Self { version: self.version, schemas, unreadable }
    }
}

impl<'a> OwnCatalog<'a> {
    pub(super) fn new(store: &'a CatalogStore, namespace: &Namespace) -> Self {
        Self { store, namespace: namespace.clone() }
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.store.snapshot_of(&self.namespace)
    }

    /// The name under which a schema is stored.
    ///
    /// # Errors
    /// `Plan` for a name that no schema may have.
    pub fn stored(&self, schema: &str) -> Result<String, Error> {
        self.namespace.stored(schema)
    }

    /// The same of a schema that something is to be made in.
    async fn settled(&self, schema: &str) -> Result<String, Error> {
        let stored = self.stored(schema)?;
        self.settle().await?;
        Ok(stored)
    }

    /// Stores a namespace's first schema, if it is not yet. It is before anything that the server keeps for the namespace
    /// is, so that [`CatalogStore::has_namespaces`] tells of all of it.
    ///
    /// # Errors
    /// Those of the metadata store.
    pub async fn settle(&self) -> Result<(), Error> {
        if self.namespace.is_default() {
            return Ok(());
        }
        let first = self.stored(PUBLIC)?;
        if !self.store.snapshot().schemas.contains_key(&first) {
            self.store.create_schema(&first, true, None).await?;
        }
        Ok(())
    }

    fn told<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        outcome.map_err(|error| self.namespace.told(error))
    }

    /// As [`CatalogStore::create_schema`].
    ///
    /// # Errors
    /// As it; `Plan` for a name that no schema may have.
    pub async fn create_schema(
        &self,
        schema: &str,
        if_not_exists: bool,
        once: Option<&Once>,
    ) -> Result<bool, Error> {
        let stored = self.settled(schema).await?;
        self.told(self.store.create_schema(&stored, if_not_exists, once).await)
    }

    /// As [`CatalogStore::drop_schema`].
    ///
    /// # Errors
    /// As it.
    pub async fn drop_schema(
        &self,
        schema: &str,
        if_exists: bool,
        cascade: bool,
        once: Option<&Once>,
    ) -> Result<bool, Error> {
        let stored = self.settled(schema).await?;
        self.told(self.store.drop_schema(&stored, if_exists, cascade, once).await)
    }

    /// As [`CatalogStore::create`].
    ///
    /// # Errors
    /// As it; `Plan` for a name that nothing may have.
    pub async fn create(
        &self,
        schema: &str,
        name: &str,
        definition: &Definition,
        if_not_exists: bool,
        or_replace: bool,
        once: Option<&Once>,
    ) -> Result<bool, Error> {
        plain(name)?;
        let stored = self.settled(schema).await?;
        self.told(self.store.create(&stored, name, definition, if_not_exists, or_replace, once).await)
    }

    /// As [`CatalogStore::create_with`].
    ///
    /// # Errors
    /// As it; `Plan` for a name that nothing may have.
    pub async fn create_with(
        &self,
        schema: &str,
        name: &str,
        definition: &Definition,
        replaces: Option<&Entry>,
        parts: (Vec<Precondition>, Vec<Write>),
        once: Option<&Once>,
    ) -> Result<OnceOutcome, Error> {
        plain(name)?;
        let stored = self.settled(schema).await?;
        self.told(self.store.create_with(&stored, name, definition, replaces, parts, once).await)
    }

    /// As [`CatalogStore::create_together`].
    ///
    /// # Errors
    /// As it; `Plan` for a name that nothing may have.
    pub async fn create_together(
        &self,
        schema: &str,
        definitions: &[(String, Definition)],
        if_not_exists: bool,
        once: Option<&Once>,
    ) -> Result<bool, Error> {
        for (name, _) in definitions {
            plain(name)?;
        }
        let stored = self.settled(schema).await?;
        self.told(self.store.create_together(&stored, definitions, if_not_exists, once).await)
    }

    /// As [`CatalogStore::drop`].
    ///
    /// # Errors
    /// As it.
    pub async fn drop(
        &self,
        schema: &str,
        name: &str,
        if_exists: bool,
        once: Option<&Once>,
    ) -> Result<bool, Error> {
        let stored = self.stored(schema)?;
        self.told(self.store.drop(&stored, name, if_exists, once).await)
    }

    /// As [`CatalogStore::drop_together`].
    ///
    /// # Errors
    /// As it.
    pub async fn drop_together(
        &self,
        schema: &str,
        names: &[String],
        once: Option<&Once>,
    ) -> Result<(), Error> {
        let stored = self.stored(schema)?;
        self.told(self.store.drop_together(&stored, names, once).await)
    }

    /// As [`CatalogStore::take_back`].
    ///
    /// # Errors
    /// As it.
    pub async fn take_back(&self, schema: &str, names: &[String], once: Option<&Once>) -> Result<(), Error> {
        let stored = self.stored(schema)?;
        self.told(self.store.take_back(&stored, names, once).await)
    }
}

#[cfg(test)]
mod tests {
    use polarway_common::ErrorKind;
    use polarway_metastore::embedded::EmbeddedMetaStore;

    use super::super::ViewDefinition;
    use super::*;

    fn view(query: &str) -> Definition {
        Definition::View(ViewDefinition { ddl: format!("CREATE VIEW v AS {query}"), query: query.into() })
    }

    fn namespace(name: &str) -> Namespace {
        Namespace::parse(name).unwrap()
    }

    async fn store() -> CatalogStore {
        let meta = Arc::new(EmbeddedMetaStore::in_memory().unwrap());
        CatalogStore::open(meta, PUBLIC).await.unwrap()
    }

    fn schemas(store: &CatalogStore, of: &Namespace) -> Vec<String> {
        store.of(of).snapshot().schemas.keys().cloned().collect()
    }

    #[tokio::test]
    async fn row_47_namespaces_have_the_same_names_and_nothing_in_common() {
        let store = store().await;
        let all = [Namespace::default(), namespace("acme"), namespace("beta")];
        for of in &all {
            assert_eq!(schemas(&store, of), [PUBLIC], "{of}");
            let own = store.of(of);
            assert!(own.create(PUBLIC, "v", &view(of.as_str()), false, false, None).await.unwrap());
            let again = own.create(PUBLIC, "v", &view("again"), false, false, None).await.unwrap_err();
            assert_eq!(again.kind, ErrorKind::AlreadyExists);
            assert_eq!(again.message, "`public.v` exists already");
            assert!(own.create_schema("sales", false, None).await.unwrap());
            let twice = own.create_schema(PUBLIC, false, None).await.unwrap_err();
            assert_eq!(twice.message, "schema `public` exists already");
        }
        for of in &all {
            let snapshot = store.of(of).snapshot();
            assert_eq!(snapshot.entry(PUBLIC, "v").unwrap().definition, view(of.as_str()));
            assert_eq!(schemas(&store, of), [PUBLIC, "sales"], "{of}");
        }
        let acme = store.of(&all[1]);
        assert!(acme.drop(PUBLIC, "v", false, None).await.unwrap());
        assert!(acme.drop_schema("sales", false, false, None).await.unwrap());
        assert!(acme.drop_schema(PUBLIC, false, true, None).await.unwrap());
        assert_eq!(schemas(&store, &all[1]), [PUBLIC]);
        let gone = acme.drop("sales", "v", false, None).await.unwrap_err();
        assert_eq!(gone.message, "`sales.v` does not exist");
        for of in [&all[0], &all[2]] {
            assert!(store.of(of).snapshot().entry(PUBLIC, "v").is_some(), "{of}");
            assert_eq!(schemas(&store, of), [PUBLIC, "sales"], "{of}");
        }
        assert!(acme.create(PUBLIC, "v", &view("anew"), false, false, None).await.unwrap());
    }

    #[tokio::test]
    async fn row_47_no_name_leads_into_another_namespace() {
        let store = store().await;
        let (default, acme) = (Namespace::default(), namespace("acme"));
        store.of(&acme).create(PUBLIC, "v", &view("select 1"), false, false, None).await.unwrap();
        let stored = acme.stored(PUBLIC).unwrap();
        assert!(store.snapshot().entry(&stored, "v").is_some());
        for of in [&default, &acme, &namespace("beta")] {
            let own = store.of(of);
            assert_eq!(own.snapshot().entry(&stored, "v"), None, "{of}");
            let refused = [
                own.drop(&stored, "v", true, None).await.unwrap_err(),
                own.drop_schema(&stored, true, true, None).await.unwrap_err(),
                own.create_schema(&stored, true, None).await.unwrap_err(),
                own.create(&stored, "w", &view("select 1"), true, true, None).await.unwrap_err(),
                own.create(PUBLIC, &stored, &view("select 1"), true, true, None).await.unwrap_err(),
                own.drop_together(&stored, &["v".to_owned()], None).await.unwrap_err(),
            ];
            assert!(refused.iter().all(|error| error.kind == ErrorKind::Plan), "{of}: {refused:?}");
        }
        assert!(store.snapshot().entry(&stored, "v").is_some());
    }
}
