//! Which paths and URLs may be reached. Everything that configuration does not name is refused, before any
//! connection is made or any file is looked at.

use std::path::{Component, Path, PathBuf};

use object_store::path::Path as StorePath;
use polarway_common::{Error, ErrorKind};
use url::Url;

/// The allowed roots: directories on this machine, and URL prefixes.
#[derive(Debug, Clone)]
pub struct PathPolicy {
    directories: Vec<PathBuf>,
    /// Each with its path as its store knows it.
    prefixes: Vec<(Url, StorePath)>,
    /// What is not reached although a root has it.
    private: Vec<PathBuf>,
    working_directory: PathBuf,
}

/// A location that policy allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// An absolute path; may hold glob characters after its checked prefix.
    Local(PathBuf),
    Remote(Url),
}

impl Location {
    /// The form that DataFusion's listing tables parse.
    pub fn to_listing_text(&self) -> String {
        match self {
            Location::Local(path) => path.to_string_lossy().into_owned(),
            Location::Remote(url) => url.to_string(),
        }
    }
}

impl PathPolicy {
    /// Roots from configuration (`storage.allowed`). Relative directories count from the working directory.
    ///
    /// # Errors
    /// `Configuration` when a directory does not exist or a URL does not parse.
    pub fn new(allowed: &[String]) -> Result<Self, Error> {
        let working_directory = std::env::current_dir().map_err(|error| {
            Error::new(ErrorKind::Configuration, format!("no working directory: {error}"))
        })?;
        let mut policy = Self { directories: vec![], prefixes: vec![], private: vec![], working_directory };
        for entry in allowed {
            match parse_remote(entry)? {
                Some(url) => {
                    let path =
                        in_store(&url).map_err(|error| Error { kind: ErrorKind::Configuration, ..error })?;
                    policy.prefixes.push((url, path));
                }
                None => policy.directories.push(policy.canonical_root(entry)?),
            }
        }
        Ok(policy)
    }

    /// Refuses these files, and what is in these directories, which need not be there, wherever they lie. Where symbolic links lead
    /// on the way to them is asked each time: files that are mounted are replaced so.
    #[must_use]
    pub fn without(mut self, private: &[PathBuf]) -> Self {
        self.private = private.iter().map(|path| self.working_directory.join(path)).collect();
        self
    }

    fn canonical_root(&self, entry: &str) -> Result<PathBuf, Error> {
        let path = self.absolute(strip_file_scheme(entry));
        path.canonicalize().map_err(|error| {
            Error::new(ErrorKind::Configuration, format!("`storage.allowed` names `{entry}`: {error}"))
                .with_hint("create the directory or remove it from `storage.allowed`")
        })
    }

    /// Checks a location as it stands in a statement: a path, a glob, or a URL.
    pub fn resolve(&self, location: &str) -> Result<Location, Error> {
        match parse_remote(location).map_err(|error| Error { kind: ErrorKind::Plan, ..error })? {
            Some(url) => {
                self.check_remote(&url)?;
                Ok(Location::Remote(url))
            }
            None => {
                let text = strip_file_scheme(location);
                let keeps_slash = text.ends_with('/');
                let path = self.absolute(text);
                self.check_local(&path)?;
                let mut path = path;
                if keeps_slash || path.is_dir() {
                    path.push("");
                }
                Ok(Location::Local(path))
            }
        }
    }

    /// Checks a path on this machine. Symbolic links are followed: what counts is where they lead.
    pub fn check_local(&self, path: &Path) -> Result<(), Error> {
        self.check_exact(&without_glob(path))
    }

    /// Checks the path of a file that is to be opened: no character of it means anything but itself.
    pub fn check_exact(&self, path: &Path) -> Result<(), Error> {
        let real = canonical_ancestor(&normalise(path));
        if !self.directories.iter().any(|root| real.starts_with(root)) {
            return Err(refused(&path.to_string_lossy()));
        }
        if self.private.iter().any(|own| real.starts_with(canonical_ancestor(own))) {
            return Err(private(&path.to_string_lossy()));
        }
        Ok(())
    }

    /// Checks a URL against the allowed prefixes, whole path segments only.
    pub fn check_remote(&self, url: &Url) -> Result<(), Error> {
        if self.allows_remote(url, &in_store(url)?) { Ok(()) } else { Err(refused(&redacted(url))) }
    }

    /// The same of a path in the store of `store`: no character of it means anything but itself.
    pub fn check_in_store(&self, store: &Url, path: &StorePath) -> Result<(), Error> {
        if self.allows_remote(store, path) {
            return Ok(());
        }
        Err(refused(&format!("{}/{path}", redacted(store).trim_end_matches('/'))))
    }

    fn allows_remote(&self, store: &Url, path: &StorePath) -> bool {
        let is_plain = store.username().is_empty() && store.password().is_none();
        is_plain
            && self
                .prefixes
                .iter()
                .any(|(prefix, below)| is_same_store(prefix, store) && path.prefix_matches(below))
    }

    /// Whether any allowed prefix lies in the store at `url` (scheme, host and port).
    pub fn reaches_store(&self, url: &Url) -> Result<(), Error> {
        if url.scheme() == "file" {
            return if self.directories.is_empty() { Err(refused(url.as_str())) } else { Ok(()) };
        }
        let known = self.prefixes.iter().any(|(prefix, _)| is_same_store(prefix, url));
        if known { Ok(()) } else { Err(refused(&redacted(url))) }
    }

    fn absolute(&self, text: &str) -> PathBuf {
        let path = Path::new(text);
        let joined = if path.is_absolute() { path.to_path_buf() } else { self.working_directory.join(path) };
        normalise(&joined)
    }
}

/// Places of the server's own, into which no path of a statement may lead: they hold what is of all namespaces.
#[derive(Debug, Clone, Default)]
pub struct Reserved {
    directories: Vec<PathBuf>,
    remote: Vec<(Url, StorePath)>,
}

impl Reserved {
    /// Directories, which need not be there, and URL prefixes.
    ///
    /// # Errors
    /// `Configuration` for a URL that does not parse.
    pub fn new(places: &[String]) -> Result<Self, Error> {
        let here = PathPolicy::new(&[])?;
        let mut reserved = Self::default();
        for place in places {
            match parse_remote(place)? {
                Some(url) => {
                    let path = in_store(&url)?;
                    reserved.remote.push((url, path));
                }
                None => {
                    reserved.directories.push(canonical_ancestor(&here.absolute(strip_file_scheme(place))));
                }
            }
        }
        Ok(reserved)
    }

    /// Refuses what is in one of the places, and directories and patterns that they are below.
    ///
    /// # Errors
    /// `PathNotAllowed`.
    pub fn check(&self, location: &Location) -> Result<(), Error> {
        match location {
            Location::Local(path) => self.check_local(&without_glob(path)),
            Location::Remote(url) => {
                let mut directory = url.clone();
                if let Some(glob) = url.path().find(['*', '[']) {
                    let known = url.path().get(..glob).unwrap_or_default();
                    directory.set_path(known.rsplit_once('/').map_or("", |(directory, _)| directory));
                }
                self.check_remote(&directory, &in_store(&directory)?)
            }
        }
    }

    /// The same of a path on this machine without patterns.
    ///
    /// # Errors
    /// `PathNotAllowed`.
    pub fn check_local(&self, path: &Path) -> Result<(), Error> {
        let real = canonical_ancestor(&normalise(path));
        if self.directories.iter().any(|own| real.starts_with(own) || own.starts_with(&real)) {
            return Err(of_the_server(&path.to_string_lossy()));
        }
        Ok(())
    }

    /// The same of a path in the store of `store`.
    ///
    /// # Errors
    /// `PathNotAllowed`.
    pub fn check_remote(&self, store: &Url, path: &StorePath) -> Result<(), Error> {
        let meets = |own: &StorePath| path.prefix_matches(own) || own.prefix_matches(path);
        if self.remote.iter().any(|(url, own)| is_same_store(url, store) && meets(own)) {
            return Err(of_the_server(path.as_ref()));
        }
        Ok(())
    }
}

fn is_same_store(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// The path of a URL as its store knows it: percent-encodings of one name are one name.
fn in_store(url: &Url) -> Result<StorePath, Error> {
    StorePath::from_url_path(url.path().trim_end_matches('/'))
        .map_err(|error| Error::new(ErrorKind::Plan, format!("`{}`: {error}", redacted(url))))
}

fn of_the_server(location: &str) -> Error {
    let told = format!("`{location}` leads to what the server keeps itself");
    Error::new(ErrorKind::PathNotAllowed, told)
        .with_hint("tables and streams are read by their names; other files are kept elsewhere")
}

fn private(location: &str) -> Error {
    let told = format!("`{location}` leads to secrets or settings of the server");
    Error::new(ErrorKind::PathNotAllowed, told).with_hint("files for queries are kept elsewhere")
}

fn refused(location: &str) -> Error {
    Error::new(
        ErrorKind::PathNotAllowed,
        format!("`{location}` is outside the locations this server may read"),
    )
    .with_hint("an operator can add its directory or URL prefix to `storage.allowed`")
}

fn redacted(url: &Url) -> String {
    let mut shown = url.clone();
    if !shown.username().is_empty() || shown.password().is_some() {
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
    }
    shown.set_query(None);
    shown.to_string()
}

fn strip_file_scheme(text: &str) -> &str {
    text.strip_prefix("file://").unwrap_or(text)
}

/// A URL when `text` has a scheme other than `file`.
fn parse_remote(text: &str) -> Result<Option<Url>, Error> {
    if text.starts_with("file://") || !text.contains("://") {
        return Ok(None);
    }
    Url::parse(text).map(Some).map_err(|error| {
        Error::new(ErrorKind::Configuration, format!("`{text}` is not a valid URL: {error}"))
    })
}

/// The part of `path` before the first component with a glob character.
fn without_glob(path: &Path) -> PathBuf {
    path.components()
        .take_while(|part| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']))
        .collect()
}

/// Resolves `.` and `..` by text; symbolic links are resolved by [`canonical_ancestor`].
fn normalise(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// `path` with its deepest existing ancestor made canonical, so that a path to be created is judged by where it
/// would be created.
pub(crate) fn canonical_ancestor(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    let mut current = path;
    loop {
        if let Ok(real) = current.canonicalize() {
            return missing.iter().rev().fold(real, |path, part| path.join(part));
        }
        match (current.parent(), current.file_name()) {
            (Some(parent), Some(name)) => {
                missing.push(name.to_owned());
                current = parent;
            }
            _ => return path.to_path_buf(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allowed: &[&str]) -> PathPolicy {
        PathPolicy::new(&allowed.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn row_11_only_configured_directories_are_reachable() {
        let root = tempfile::tempdir().unwrap();
        let inside = root.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        let policy = policy(&[inside.to_str().unwrap()]);
        let text = |path: &str| inside.join(path).to_string_lossy().into_owned();
        assert!(policy.resolve(&text("a.parquet")).is_ok());
        assert!(policy.resolve(&text("year=*/*.parquet")).is_ok());
        assert!(policy.resolve(&format!("file://{}", text("a.parquet"))).is_ok());
        for outside in
            [text("../b.parquet"), text("x/../../b"), "/etc/passwd".into(), "file:///etc/passwd".into()]
        {
            assert_eq!(policy.resolve(&outside).unwrap_err().kind, ErrorKind::PathNotAllowed, "{outside}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn row_11_a_symbolic_link_out_is_refused() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", root.path().join("link")).unwrap();
        let policy = policy(&[root.path().to_str().unwrap()]);
        let error = policy.resolve(&root.path().join("link/passwd").to_string_lossy()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::PathNotAllowed);
        std::os::unix::fs::symlink("/etc", root.path().join("a[1]")).unwrap();
        assert!(policy.check_exact(&root.path().join("a[1]/passwd")).is_err());
    }

    #[test]
    fn row_11_only_configured_urls_are_reachable() {
        let policy = policy(&["s3://lake/raw", "https://example.com/data/"]);
        for inside in ["s3://lake/raw/x.parquet", "s3://lake/raw/", "https://example.com/data/x.csv"] {
            assert!(policy.resolve(inside).is_ok(), "{inside}");
        }
        for outside in [
            "s3://lake/rawhide/x",
            "s3://lake/raw/../secret",
            "s3://other/raw/x",
            "http://169.254.169.254/latest/meta-data",
            "http://[fe80::1]/x",
            "https://example.com:8443/data/x",
            "https://user:pw@example.com/data/x",
            "gs://lake/raw/x",
        ] {
            assert_eq!(policy.resolve(outside).unwrap_err().kind, ErrorKind::PathNotAllowed, "{outside}");
        }
    }

    #[test]
    fn row_11_a_path_in_a_store_means_itself() {
        let policy = policy(&["s3://lake/a b/50%2520off/"]);
        let store = Url::parse("s3://lake/").unwrap();
        let checked = |path: &str| policy.check_in_store(&store, &StorePath::parse(path).unwrap());
        for inside in ["a b/50%20off", "a b/50%20off/%2E%2E/%2E%2E/x", "a b/50%20off/..\\x"] {
            assert!(checked(inside).is_ok(), "{inside}");
        }
        for outside in
            ["", "a b", "a%20b/50%20off/x", "a b/50 off/x", "a b/50%20offer", "x/%2E%2E/a b/50%20off/x"]
        {
            assert_eq!(checked(outside).unwrap_err().kind, ErrorKind::PathNotAllowed, "{outside}");
        }
        // One name, whichever of its characters are encoded.
        assert!(policy.resolve("s3://lake/%61 b/50%2520off/x").is_ok());
        for outside in ["s3://lake/a b/50%20off/x", "s3://lake/a b/50%2520off/%2E%2E/x"] {
            assert_eq!(policy.resolve(outside).unwrap_err().kind, ErrorKind::PathNotAllowed, "{outside}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn row_47_private_files_are_refused_by_every_name() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for directory in ["secrets", "mounted-1", "mounted-2"] {
            std::fs::create_dir(at(directory)).unwrap();
            std::fs::write(at(directory).join("tokens.toml"), "x").unwrap();
        }
        // As files are mounted: by a link through a link that is replaced.
        symlink("mounted-1", at("data")).unwrap();
        symlink("data/tokens.toml", at("tokens.toml")).unwrap();
        symlink("secrets", at("elsewhere")).unwrap();
        let private = ["tokens.toml", "secrets", "later.pem"].map(at);
        let policy = policy(&[root.path().to_str().unwrap()]).without(&private);
        let checked = |path: &str| policy.check_exact(&at(path)).map_err(|error| error.kind);
        let refused = Err(ErrorKind::PathNotAllowed);
        for path in [
            "tokens.toml",
            "data/tokens.toml",
            "mounted-1/tokens.toml",
            "mounted-2/../tokens.toml",
            "secrets",
            "secrets/key",
            "elsewhere/key",
            "later.pem",
        ] {
            assert_eq!(checked(path), refused, "{path}");
        }
        for path in ["", "x.csv", "tokens.toml2", "mounted-1/x", "mounted-2/tokens.toml"] {
            assert_eq!(checked(path), Ok(()), "{path}");
        }
        std::fs::remove_file(at("data")).unwrap();
        symlink("mounted-2", at("data")).unwrap();
        assert_eq!(checked("mounted-2/tokens.toml"), refused);
        let told = policy.resolve(&at("secrets/*").display().to_string()).unwrap_err();
        assert!(told.message.contains("secrets or settings"), "{told}");
    }

    #[test]
    fn row_47_what_the_server_keeps_is_reached_neither_from_within_nor_from_above() {
        let root = tempfile::tempdir().unwrap();
        let text = |path: &str| root.path().join(path).to_string_lossy().into_owned();
        std::fs::create_dir_all(root.path().join("own/tables/x")).unwrap();
        let reserved = Reserved::new(&[text("own/tables"), text("later"), "s3://lake/own/tables/".into()]);
        let reserved = reserved.unwrap();
        let all = policy(&[root.path().to_str().unwrap(), "s3://lake"]);
        let checked = |location: &str| reserved.check(&all.resolve(location).unwrap()).map_err(|e| e.kind);
        for refused in [
            text("own/tables"),
            text("own/tables/x/a.parquet"),
            text("own/tables/../tables/x/"),
            text("own"),
            text("own/"),
            text("own/*/x/*.parquet"),
            text("*.parquet"),
            text("later/a.parquet"),
            "s3://lake/own/tables".into(),
            "s3://lake/own/tables/x/a.parquet".into(),
            "s3://lake/own/t%61bles/x".into(),
            "s3://lake/own/".into(),
            "s3://lake/".into(),
            "s3://lake/o*/tables/*".into(),
            "s3://lake/own/tab*/x".into(),
        ] {
            assert_eq!(checked(&refused), Err(ErrorKind::PathNotAllowed), "{refused}");
        }
        for fine in [
            text("own/tables2/a.parquet"),
            text("other/*.parquet"),
            "s3://lake/own/tables2".into(),
            "s3://lake/other/*.parquet".into(),
        ] {
            assert_eq!(checked(&fine), Ok(()), "{fine}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(root.path().join("own/tables"), root.path().join("link")).unwrap();
            assert_eq!(checked(&text("link/x/a.parquet")), Err(ErrorKind::PathNotAllowed));
        }
    }

    #[test]
    fn a_refusal_shows_no_password() {
        let error = policy(&[]).resolve("https://user:hunter2@example.com/x?sig=abc").unwrap_err();
        assert!(!error.message.contains("hunter2") && !error.message.contains("abc"));
    }
}
