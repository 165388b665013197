//! Where statements may write. Everything that configuration does not name is refused.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use parking_lot::Mutex;
use polarway_common::config::S3Config;
use polarway_common::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use url::{Position, Url};

use crate::policy::{Location, PathPolicy};
use crate::stores::writable_store;

/// A store that can be written to.
#[derive(Clone)]
pub struct WritableStore {
    pub plain: Arc<dyn ObjectStore>,
    /// How an object is written that nobody sees before its upload is completed. Local directories have none.
    pub multipart: Option<Arc<dyn MultipartStore>>,
}

impl fmt::Debug for WritableStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WritableStore({})", self.plain)
    }
}

/// A directory or file as processes tell each other of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// `file:///` or, for instance, `s3://bucket/`.
    pub store: String,
    /// In the store, as its paths are written.
    pub path: String,
}

impl Place {
    /// # Errors
    /// `Plan` if it is no path.
    pub fn path(&self) -> Result<Path, Error> {
        Path::parse(&self.path).map_err(|error| {
            Error::new(ErrorKind::Plan, format!("`{}` is not a path of a store: {error}", self.path))
        })
    }

    /// The directory that it is in.
    #[must_use]
    pub fn parent(&self) -> Self {
        let path = self.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        Self { store: self.store.clone(), path: path.to_owned() }
    }

    /// The same on this machine, if it is there.
    pub fn local(&self) -> Option<PathBuf> {
        self.store.starts_with("file:").then(|| PathBuf::from("/").join(&self.path))
    }

    /// As users write it.
    pub fn text(&self) -> String {
        match self.local() {
            Some(path) => path.display().to_string(),
            None => format!("{}{}", self.store, self.path),
        }
    }
}

/// The places that statements may write to, and the stores they are in.
#[derive(Debug)]
pub struct WriteAccess {
    policy: PathPolicy,
    s3: S3Config,
    stores: Mutex<HashMap<String, WritableStore>>,
}

impl WriteAccess {
    /// `roots` are directories and URL prefixes, as in `storage.allowed`.
    ///
    /// # Errors
    /// `Configuration` when a directory does not exist or a URL does not parse.
    pub fn new(roots: &[String], s3: S3Config) -> Result<Self, Error> {
        let policy = PathPolicy::new(roots).map_err(|error| Error {
            message: error.message.replace("storage.allowed", "storage.writable"),
            hint: error.hint.map(|hint| hint.replace("storage.allowed", "storage.writable")),
            ..error
        })?;
        Ok(Self { policy, s3, stores: Mutex::default() })
    }

    /// The place that a statement names by a path or URL.
    ///
    /// # Errors
    /// `PathNotAllowed` outside what may be written, `Plan` for what is no place.
    pub fn resolve(&self, location: &str) -> Result<Place, Error> {
        if location.contains(['*', '[', '?']) {
            let told = format!("`{location}` is a pattern; files are written to one directory");
            return Err(Error::new(ErrorKind::Plan, told));
        }
        let place = match self.policy.resolve(location).map_err(writable)? {
            Location::Local(path) => {
                let path = Path::from_absolute_path(&path)
                    .map_err(|error| Error::new(ErrorKind::Plan, format!("`{location}`: {error}")))?;
                Place { store: "file:///".to_owned(), path: path.to_string() }
            }
            Location::Remote(url) => {
                let path = Path::from_url_path(url.path())
                    .map_err(|error| Error::new(ErrorKind::Plan, format!("`{location}`: {error}")))?;
                Place { store: format!("{}/", &url[..Position::BeforePath]), path: path.to_string() }
            }
        };
        Ok(place)
    }

    /// The store of a place, which another process may have named.
    ///
    /// # Errors
    /// `PathNotAllowed` outside what this process may write, `Unsupported` for a store that cannot be written to.
    pub fn store(&self, place: &Place) -> Result<WritableStore, Error> {
        let url = Url::parse(&place.store)
            .map_err(|error| Error::new(ErrorKind::Plan, format!("`{}`: {error}", place.store)))?;
        let allowed = match place.local() {
            Some(path) => self.policy.check_exact(&path),
            None => {
                let mut full = url.clone();
                full.set_path(&place.path);
                self.policy.check_remote(&full)
            }
        };
        allowed.map_err(writable)?;
        if let Some(store) = self.stores.lock().get(&place.store) {
            return Ok(store.clone());
        }
        let store = writable_store(&url, &self.s3)?;
        self.stores.lock().insert(place.store.clone(), store.clone());
        Ok(store)
    }
}

fn writable(error: Error) -> Error {
    if error.kind != ErrorKind::PathNotAllowed {
        return error;
    }
    let message = error.message.replace("may read", "may write");
    Error::new(ErrorKind::PathNotAllowed, message)
        .with_hint("an operator can add its directory or URL prefix to `storage.writable`, on the scheduler and on every executor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_11_what_is_not_named_is_not_written_to() {
        let root = tempfile::tempdir().unwrap();
        let roots = [root.path().display().to_string(), "s3://bucket/out".to_owned()];
        let access = WriteAccess::new(&roots, S3Config::default()).unwrap();
        let place = access.resolve(&format!("{}/a/b/", root.path().display())).unwrap();
        assert!(place.local().unwrap().ends_with("a/b"));
        let remote = access.resolve("s3://bucket/out/x y/").unwrap();
        assert_eq!((remote.store.as_str(), remote.path.as_str()), ("s3://bucket/", "out/x y"));
        for refused in ["/etc", "s3://bucket/outer", "s3://other/out", "out/../../../etc/x"] {
            let error = access.resolve(refused).unwrap_err();
            assert_eq!(error.kind, ErrorKind::PathNotAllowed, "{refused}");
            assert!(error.message.contains("may write"), "{error}");
        }
        // What another process names is checked again.
        let elsewhere = Place { store: "file:///".into(), path: "etc".into() };
        assert_eq!(access.store(&elsewhere).unwrap_err().kind, ErrorKind::PathNotAllowed);
        assert_eq!(access.resolve("s3://bucket/out/*.parquet").unwrap_err().kind, ErrorKind::Plan);
        let nowhere = WriteAccess::new(&[], S3Config::default()).unwrap();
        assert_eq!(nowhere.resolve("x").unwrap_err().kind, ErrorKind::PathNotAllowed);
    }
}
