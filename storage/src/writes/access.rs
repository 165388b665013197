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

use super::stage::STAGING;
use crate::policy::{Location, PathPolicy, canonical_ancestor};
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

    /// The same as a URL, of a directory with a slash at its end. Each segment means itself: what looks like `..`, or like the
    /// encoding of another character, is encoded.
    ///
    /// # Errors
    /// `Plan` if there is no such URL.
    pub fn url(&self, is_directory: bool) -> Result<Url, Error> {
        let path = self.path()?;
        let mut url = self.store_url()?;
        {
            let mut segments = url.path_segments_mut().map_err(|()| self.no_place())?;
            segments.clear().extend(path.parts());
            if is_directory {
                segments.push("");
            }
        }
        match Path::from_url_path(url.path()) {
            Ok(same) if same == path => Ok(url),
            _ => Err(self.no_place()),
        }
    }

    fn store_url(&self) -> Result<Url, Error> {
        Url::parse(&self.store)
            .map_err(|error| Error::new(ErrorKind::Plan, format!("`{}`: {error}", self.store)))
    }

    fn no_place(&self) -> Error {
        Error::new(ErrorKind::Plan, format!("`{}` is no place for files", self.text()))
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

    /// Nor to these files and directories, wherever they lie.
    #[must_use]
    pub fn without(self, private: &[PathBuf]) -> Self {
        Self { policy: self.policy.without(private), ..self }
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
        // What waits there is moved by whoever goes on with its write.
        if place.path()?.parts().any(|part| part.as_ref().starts_with(STAGING)) {
            let told = format!("`{location}`: names that begin with `{STAGING}` are the server's own");
            return Err(Error::new(ErrorKind::PathNotAllowed, told).with_hint("give it another name"));
        }
        Ok(place)
    }

    /// Whether this process may write to a place, which another may have named. Symbolic links are followed.
    ///
    /// # Errors
    /// `PathNotAllowed` outside what it may write; `Plan` for what is no place.
    pub fn check(&self, place: &Place) -> Result<(), Error> {
        let path = place.path()?;
        let allowed = match place.local() {
            Some(local) => self.policy.check_exact(&local),
            None => self.policy.check_in_store(&place.store_url()?, &path),
        };
        allowed.map_err(writable)
    }

    /// Whether this process may write the files of a write to a place, none of which a symbolic link there leads elsewhere. Looks
    /// at directories: not for the runtime's threads.
    ///
    /// # Errors
    /// As [`WriteAccess::check`].
    pub fn check_files<'a>(
        &self,
        place: &Place,
        files: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Error> {
        let base = place.local().map(|base| canonical_ancestor(&base));
        for file in files {
            let file = Place { path: file.to_owned(), ..place.clone() };
            self.check(&file)?;
            if let (Some(base), Some(local)) = (&base, file.local())
                && !canonical_ancestor(&local).starts_with(base)
            {
                let told = format!("`{}`: a symbolic link leads out of `{}`", file.text(), place.text());
                return Err(Error::new(ErrorKind::PathNotAllowed, told));
            }
        }
        Ok(())
    }

    /// The store of a place, which another process may have named.
    ///
    /// # Errors
    /// `PathNotAllowed` outside what this process may write, `Unsupported` for a store that cannot be written to.
    pub fn store(&self, place: &Place) -> Result<WritableStore, Error> {
        self.check(place)?;
        if let Some(store) = self.stores.lock().get(&place.store) {
            return Ok(store.clone());
        }
        let store = writable_store(&place.store_url()?, &self.s3)?;
        self.stores.lock().insert(place.store.clone(), store.clone());
        Ok(store)
    }
}

fn writable(error: Error) -> Error {
    if error.kind != ErrorKind::PathNotAllowed || !error.message.contains("may read") {
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
        for staged in ["s3://bucket/out/.polarway-1/files.json", "s3://bucket/out/.polarway-1/"] {
            assert_eq!(access.resolve(staged).unwrap_err().kind, ErrorKind::PathNotAllowed, "{staged}");
        }
        let nowhere = WriteAccess::new(&[], S3Config::default()).unwrap();
        assert_eq!(nowhere.resolve("x").unwrap_err().kind, ErrorKind::PathNotAllowed);
    }

    #[test]
    fn row_11_each_segment_of_a_place_means_itself() {
        for store in ["file:///", "s3://bucket/", "https://host:8443/"] {
            for path in [
                "out/%2E%2E/%2E%2E/x",
                "out/.%2e/x",
                "out/..\\..\\x",
                "a b/50%20off/%252E",
                "é/[x]?#{y}",
                "x",
            ] {
                let place = Place { store: store.into(), path: path.into() };
                for is_directory in [false, true] {
                    let url = place.url(is_directory).unwrap();
                    assert_eq!(Path::from_url_path(url.path()).unwrap().as_ref(), path, "{url}");
                    assert_eq!(Url::parse(url.as_str()).unwrap(), url);
                    assert_eq!(url.path().ends_with('/'), is_directory, "{url}");
                    assert!(url.as_str().starts_with(store), "{url}");
                }
            }
        }
        for path in ["a/../b", "a/./b", "a//b"] {
            let place = Place { store: "s3://bucket/".into(), path: path.into() };
            assert_eq!(place.url(true).unwrap_err().kind, ErrorKind::Plan, "{path}");
        }
        let root = Place { store: "s3://bucket/".into(), path: String::new() };
        assert_eq!(root.url(true).unwrap().as_str(), "s3://bucket/");
    }

    #[test]
    fn row_11_names_that_look_like_a_way_out_stay_inside() {
        let root = tempfile::tempdir().unwrap();
        let inside = root.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        let access =
            WriteAccess::new(&[inside.display().to_string(), "s3://lake/in".into()], S3Config::default())
                .unwrap();
        for path in ["%2E%2E/%2E%2E/x", ".%2e/x", "..\\..\\x"] {
            let place = access.resolve(&format!("{}/{path}", inside.display())).unwrap();
            assert_eq!(place.local().unwrap(), inside.join(path), "as it is written");
            let to = place.url(false).unwrap().to_file_path().unwrap();
            assert_eq!(to, inside.join(path), "and where it is written to");
            access.store(&place).unwrap();
        }
        let far = access.resolve("s3://lake/in/%252E%252E/x").unwrap();
        assert_eq!(far.path, "in/%2E%2E/x");
        access.check(&far).unwrap();
        assert_eq!(access.resolve("s3://lake/in/%2E%2E/x").unwrap_err().kind, ErrorKind::PathNotAllowed);
    }

    #[test]
    fn row_47_private_files_are_not_written() {
        let root = tempfile::tempdir().unwrap();
        let tokens = root.path().join("tokens.toml");
        std::fs::write(&tokens, "x").unwrap();
        let roots = [root.path().display().to_string()];
        let access =
            WriteAccess::new(&roots, S3Config::default()).unwrap().without(std::slice::from_ref(&tokens));
        let error = access.resolve(&tokens.display().to_string()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::PathNotAllowed);
        assert!(!error.hint.unwrap().contains("storage.writable"));
        let path = Path::from_absolute_path(&tokens).unwrap().to_string();
        assert!(access.store(&Place { store: "file:///".into(), path }).is_err());
        assert!(access.resolve(&root.path().join("x.csv").display().to_string()).is_ok());
    }
}
