//! Where paths in statements may lead: where configuration allows it, for other namespaces than `default` only below the
//! roots that the file of tokens names for them, and, where there are such or have been, for nobody to what the server keeps
//! itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use polarway_common::{Error, ErrorKind, Namespace};
use polarway_identity::{Identity, Roots};
use polarway_storage::catalog::CatalogStore;
use polarway_storage::policy::{Location, PathPolicy, Reserved};
use polarway_storage::writes::{Place, WriteAccess};
use url::Url;

/// What a path is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Use {
    Read,
    Write,
}

/// What the file of tokens says of the paths of a namespace; plans are made under it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Whether there are other namespaces than `default`, or have been.
    apart: bool,
    roots: Option<Arc<Roots>>,
}

/// A policy, and the roots that it was made of.
type Kept = (Vec<String>, Arc<PathPolicy>);

/// See the module's page.
#[derive(Debug)]
pub struct Paths {
    identity: Identity,
    reading: Arc<PathPolicy>,
    writing: Arc<WriteAccess>,
    reserved: Reserved,
    catalog: Arc<CatalogStore>,
    /// Whether this process has known another namespace.
    seen: AtomicBool,
    own: Mutex<HashMap<(Namespace, Use), Kept>>,
}

impl Paths {
    /// `reading` and `writing` are what configuration allows; `reserved` is what the server keeps itself, for those whom the
    /// catalog has, too.
    pub fn new(
        identity: Identity,
        reading: Arc<PathPolicy>,
        writing: Arc<WriteAccess>,
        reserved: Reserved,
        catalog: Arc<CatalogStore>,
    ) -> Self {
        let seen = AtomicBool::new(identity.has_namespaces());
        Self { identity, reading, writing, reserved, catalog, seen, own: Mutex::default() }
    }

    pub fn bounds(&self, namespace: &Namespace) -> Bounds {
        Bounds { apart: self.is_apart(namespace), roots: self.identity.roots(namespace) }
    }

    /// Whether there is more to mind than configuration, which lasts as long as the process. What the server keeps for a
    /// namespace stays when the file of tokens names it no longer, so that it once did is enough.
    pub fn is_apart(&self, namespace: &Namespace) -> bool {
        if self.seen.load(Ordering::Relaxed) {
            return true;
        }
        let apart =
            !namespace.is_default() || self.identity.has_namespaces() || self.catalog.has_namespaces();
        if apart {
            self.seen.store(true, Ordering::Relaxed);
        }
        apart
    }

    /// A path, pattern or URL that a statement of `namespace` reads.
    ///
    /// # Errors
    /// `PathNotAllowed`; `Plan` for what is no location; `Configuration` when a root of the namespace cannot be used.
    pub fn to_read(&self, namespace: &Namespace, location: &str) -> Result<Location, Error> {
        self.check_own(namespace, Use::Read, location)?;
        let found = self.reading.resolve(location)?;
        if self.is_apart(namespace) {
            self.reserved.check(&found)?;
        }
        Ok(found)
    }

    /// A path or URL that a statement of `namespace` writes to.
    ///
    /// # Errors
    /// As [`Paths::to_read`].
    pub fn to_write(&self, namespace: &Namespace, location: &str) -> Result<Place, Error> {
        self.check_own(namespace, Use::Write, location)?;
        let place = self.writing.resolve(location)?;
        if self.is_apart(namespace) {
            match place.local() {
                Some(path) => self.reserved.check_local(&path)?,
                None => {
                    let store = Url::parse(&place.store)
                        .map_err(|error| Error::new(ErrorKind::Plan, format!("`{location}`: {error}")))?;
                    self.reserved.check_remote(&store, &place.path()?)?;
                }
            }
        }
        Ok(place)
    }

    fn check_own(&self, namespace: &Namespace, purpose: Use, location: &str) -> Result<(), Error> {
        if namespace.is_default() {
            return Ok(());
        }
        match self.own(namespace, purpose)?.resolve(location) {
            Err(error) if error.kind == ErrorKind::PathNotAllowed => Err(refused(namespace, purpose, error)),
            resolved => resolved.map(drop),
        }
    }

    /// The policy of another namespace than `default`: without an entry nothing is allowed.
    fn own(&self, namespace: &Namespace, purpose: Use) -> Result<Arc<PathPolicy>, Error> {
        let roots = self.identity.roots(namespace).unwrap_or_default();
        let (roots, key) = match purpose {
            Use::Read => (&roots.allowed, "allowed"),
            Use::Write => (&roots.writable, "writable"),
        };
        let kept = self.own.lock().get(&(namespace.clone(), purpose)).cloned();
        if let Some((of, policy)) = kept
            && of == *roots
        {
            return Ok(policy);
        }
        let policy = PathPolicy::new(roots).map_err(|error| Error {
            message: error.message.replace("storage.allowed", key),
            hint: Some(format!(
                "an operator sets `{key}` of the namespace `{namespace}` in the file of tokens"
            )),
            ..error
        })?;
        let policy = Arc::new(policy);
        self.own.lock().insert((namespace.clone(), purpose), (roots.clone(), Arc::clone(&policy)));
        Ok(policy)
    }
}

fn refused(namespace: &Namespace, purpose: Use, error: Error) -> Error {
    let (may, key) = match purpose {
        Use::Read => ("may read", "allowed"),
        Use::Write => ("may write", "writable"),
    };
    Error {
        message: error.message.replace("this server may read", &format!("the namespace `{namespace}` {may}")),
        hint: Some(format!(
            "an operator can add its directory or URL prefix to `{key}` of the namespace in the file of tokens"
        )),
        ..error
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use polarway_common::config::{IdentityConfig, S3Config, Secret};
    use polarway_metastore::EmbeddedMetaStore;

    use super::*;

    /// The paths of a server that may reach all of `root` and keeps `root/tables`, with a file of tokens that ends in `more`.
    async fn paths(root: &Path, more: &str) -> Paths {
        let file = tempfile::NamedTempFile::new().unwrap();
        let token = "[[token]]\nname = 'ana'\nrole = 'read'\ntoken = 'a-token-of-ana-0123456789'\n";
        std::fs::write(file.path(), format!("{token}{more}")).unwrap();
        let config = IdentityConfig {
            tokens: Some(file.path().to_owned()),
            process_secret: Some(Secret::new("the-secret-of-all-processes-0123")),
            trusted_network: false,
        };
        let identity = Identity::load(&config, &polarway_identity::Tls::default()).await.unwrap();
        let all = [root.display().to_string()];
        Paths::new(
            identity,
            Arc::new(PathPolicy::new(&all).unwrap()),
            Arc::new(WriteAccess::new(&all, S3Config::default()).unwrap()),
            Reserved::new(&[root.join("tables").display().to_string()]).unwrap(),
            catalog().await,
        )
    }

    async fn catalog() -> Arc<CatalogStore> {
        let meta = Arc::new(EmbeddedMetaStore::in_memory().unwrap());
        Arc::new(CatalogStore::open(meta, "public").await.unwrap())
    }

    #[tokio::test]
    async fn row_47_a_namespace_reaches_its_roots_and_nothing_without_any() {
        let root = tempfile::tempdir().unwrap();
        for directory in ["acme", "beta", "tables"] {
            std::fs::create_dir(root.path().join(directory)).unwrap();
        }
        let at = |path: &str| root.path().join(path).display().to_string();
        let (default, acme) = (Namespace::default(), Namespace::parse("acme").unwrap());
        let beta = Namespace::parse("beta").unwrap();
        let more = format!(
            "[[namespace]]\nname = 'acme'\nallowed = ['{0}', '/etc']\nwritable = ['{0}/out']\n",
            at("acme")
        );
        std::fs::create_dir(root.path().join("acme/out")).unwrap();
        let paths = paths(root.path(), &more).await;
        let read = |of: &Namespace, path: &str| paths.to_read(of, path).map(drop).map_err(|error| error.kind);
        let write =
            |of: &Namespace, path: &str| paths.to_write(of, path).map(drop).map_err(|error| error.kind);
        let refused = Err(ErrorKind::PathNotAllowed);
        assert_eq!(read(&acme, &at("acme/x.parquet")), Ok(()));
        assert_eq!(write(&acme, &at("acme/out/x.parquet")), Ok(()));
        assert_eq!(write(&acme, &at("acme/x.parquet")), refused);
        for other in [at("beta/x.parquet"), at("acme/../beta/"), at(""), at("tables/x"), "/etc/passwd".into()]
        {
            assert_eq!(read(&acme, &other), refused, "{other}");
            assert_eq!(write(&acme, &other), refused, "{other}");
            assert_eq!(read(&beta, &other), refused, "{other}");
        }
        assert_eq!(read(&beta, &at("acme/x.parquet")), refused);
        assert_eq!(
            (read(&default, &at("beta/x.parquet")), write(&default, &at("beta/x/"))),
            (Ok(()), Ok(()))
        );
        for kept in [at("tables/x/a.parquet"), at("*.parquet")] {
            assert_eq!(read(&default, &kept), refused, "{kept}");
        }
        assert_eq!(write(&default, &at("tables/x/")), refused);
        let told = paths.to_read(&beta, &at("x.csv")).unwrap_err();
        assert!(told.message.contains("`beta` may read"), "{told}");
        assert_ne!(paths.bounds(&acme), paths.bounds(&beta));
    }

    #[tokio::test]
    async fn where_there_is_one_namespace_configuration_is_all_there_is() {
        let root = tempfile::tempdir().unwrap();
        let paths = paths(root.path(), "").await;
        let default = Namespace::default();
        let tables = root.path().join("tables/x.parquet").display().to_string();
        assert!(paths.to_read(&default, &tables).is_ok());
        assert_eq!(paths.bounds(&default), Bounds::default());
    }

    #[tokio::test]
    async fn row_47_what_is_kept_for_a_namespace_stays_closed_when_nobody_is_of_it_any_more() {
        let root = tempfile::tempdir().unwrap();
        let (default, acme) = (Namespace::default(), Namespace::parse("acme").unwrap());
        std::fs::create_dir(root.path().join("tables")).unwrap();
        let tables = root.path().join("tables/*/x.parquet").display().to_string();
        let closed = |paths: &Paths| {
            let refused = Some(ErrorKind::PathNotAllowed);
            paths.to_read(&default, &tables).err().map(|error| error.kind) == refused
                && paths.to_write(&default, &root.path().join("tables/x/").display().to_string()).is_err()
                && paths.bounds(&default) != Bounds::default()
        };
        // The catalog has something of it, as after a restart.
        let by_catalog = paths(root.path(), "").await;
        assert!(!closed(&by_catalog));
        by_catalog.catalog.of(&acme).create_schema("sales", false, None).await.unwrap();
        assert!(closed(&by_catalog));
        // Somebody of it has asked for something.
        let by_caller = paths(root.path(), "").await;
        assert!(by_caller.is_apart(&acme) && closed(&by_caller));
    }
}
