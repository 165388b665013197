//! A directory that configuration names, on local disk or in an object store.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::execution::object_store::ObjectStoreUrl;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use polarway_common::config::S3Config;
use polarway_common::{Error, ErrorKind};
use url::{Position, Url};

use crate::directory::ObjectDirectory;
use crate::plain_store;

/// See the module's page.
#[derive(Debug, Clone)]
pub struct StoreRoot {
    pub store: Arc<dyn ObjectStore>,
    /// How scans find the store.
    pub url: ObjectStoreUrl,
    /// Its place in the store.
    pub path: Path,
    /// The same on local disk, if it is there.
    pub local: Option<PathBuf>,
    /// The same as text that `storage.allowed` understands.
    pub name: String,
}

impl StoreRoot {
    /// The directory at `place`, a path or a URL such as `s3://bucket/streams`, which the setting `key` names. On local disk it
    /// is made.
    ///
    /// # Errors
    /// `Configuration` when it cannot be used, `Unsupported` for a kind of store that nobody knows.
    pub fn open(place: &str, s3: &S3Config, key: &str) -> Result<Self, Error> {
        Self::opened(place, s3).map_err(|error| match error.hint {
            None => error.with_hint(format!("`{key}` names it")),
            Some(_) => error,
        })
    }

    /// A directory of it.
    pub fn directory(&self, name: &str) -> ObjectDirectory {
        let local = self.local.as_ref().map(|root| root.join(name));
        ObjectDirectory::new(Arc::clone(&self.store), self.path.clone().join(name), local)
    }

    fn opened(place: &str, s3: &S3Config) -> Result<Self, Error> {
        match Url::parse(place) {
            Ok(url) if place.contains("://") && url.scheme() != "file" => Self::remote(&url, s3),
            Ok(url) if url.scheme() == "file" => match url.to_file_path() {
                Ok(path) => Self::local(path),
                Err(()) => Err(unusable(place, &"it is no path of this machine")),
            },
            _ => Self::local(PathBuf::from(place)),
        }
    }

    fn remote(url: &Url, s3: &S3Config) -> Result<Self, Error> {
        let fault = |error: &dyn std::fmt::Display| unusable(url.as_str(), error);
        let store = plain_store(url, s3)?;
        let base = &url[..Position::BeforePath];
        Ok(Self {
            store,
            url: ObjectStoreUrl::parse(base).map_err(|error| fault(&error))?,
            path: Path::from_url_path(url.path()).map_err(|error| fault(&error))?,
            local: None,
            name: url.as_str().trim_end_matches('/').to_owned(),
        })
    }

    fn local(directory: PathBuf) -> Result<Self, Error> {
        let fault = |error: &dyn std::fmt::Display| unusable(&directory.display().to_string(), error);
        std::fs::create_dir_all(&directory).map_err(|error| fault(&error))?;
        let directory = directory.canonicalize().map_err(|error| fault(&error))?;
        Ok(Self {
            store: Arc::new(LocalFileSystem::new()),
            url: ObjectStoreUrl::local_filesystem(),
            path: Path::from_absolute_path(&directory).map_err(|error| fault(&error))?,
            name: directory.display().to_string(),
            local: Some(directory),
        })
    }
}

fn unusable(place: &str, cause: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Configuration, format!("cannot use `{place}`: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_a_url_are_roots() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("a b/streams");
        let root =
            StoreRoot::open(&place.display().to_string(), &S3Config::default(), "ingest.directory").unwrap();
        assert!(place.is_dir() && root.local.is_some());
        assert_eq!(root.url, ObjectStoreUrl::local_filesystem());

        let s3 = S3Config { region: Some("us-east-1".into()), ..S3Config::default() };
        let root = StoreRoot::open("s3://bucket/live/streams/", &s3, "ingest.directory").unwrap();
        assert_eq!((root.url.as_str(), root.path.as_ref()), ("s3://bucket/", "live/streams"));
        assert_eq!((root.local, root.name.as_str()), (None, "s3://bucket/live/streams"));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let error = StoreRoot::open("ftp://host/x", &S3Config::default(), "ingest.directory").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
        let error = StoreRoot::open("/proc/none/x", &S3Config::default(), "ingest.directory").unwrap_err();
        assert!(error.kind == ErrorKind::Configuration && error.message.contains("/proc/none/x"), "{error}");
    }
}
