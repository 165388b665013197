//! Namespaces: those who share a cluster and see nothing of each other's.
//!
//! A caller is in one namespace and gives names as if there were no other. Where names are stored, those of schemas carry their
//! namespace before a character that no name of a user may hold; those of the namespace `default` are stored as they are,
//! so that what was stored before there were namespaces is its.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// The schema of a name that has none. Each namespace has one.
pub const PUBLIC: &str = "public";

const DEFAULT: &str = "default";
const LONGEST: usize = 63;
/// Stands between a namespace and a schema of it.
const SEPARATOR: char = '\u{1f}';

/// The name of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(Arc<str>);

impl Default for Namespace {
    fn default() -> Self {
        Self(Arc::from(DEFAULT))
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Namespace> for String {
    fn from(namespace: Namespace) -> Self {
        namespace.as_str().to_owned()
    }
}

impl TryFrom<String> for Namespace {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        Self::parse(&name)
    }
}

impl Namespace {
    /// # Errors
    /// `Configuration` for other than 1 to 63 lower-case letters, digits and `-`.
    pub fn parse(name: &str) -> Result<Self, Error> {
        let in_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=LONGEST).contains(&name.len()) && name.bytes().all(in_name) {
            return Ok(Self(Arc::from(name)));
        }
        let told = format!("a namespace has 1 to {LONGEST} lower-case letters, digits and `-` as its name");
        Err(Error::new(ErrorKind::Configuration, told))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the one of all who are in no other.
    pub fn is_default(&self) -> bool {
        &*self.0 == DEFAULT
    }

    /// The name under which its schema `schema` is stored.
    ///
    /// # Errors
    /// `Plan` for a name that could be one of another namespace.
    pub fn stored(&self, schema: &str) -> Result<String, Error> {
        plain(schema)?;
        Ok(if self.is_default() { schema.to_owned() } else { format!("{}{SEPARATOR}{schema}", self.0) })
    }

    /// The name of a stored schema as its users give it; none if it is another namespace's.
    pub fn own<'a>(&self, stored: &'a str) -> Option<&'a str> {
        match stored.split_once(SEPARATOR) {
            None => self.is_default().then_some(stored),
            Some((namespace, schema)) => (!self.is_default() && *namespace == *self.0).then_some(schema),
        }
    }

    /// The name of a stream with its stored schema; users give `schema.stream`, or `stream` alone.
    ///
    /// # Errors
    /// As [`Namespace::stored`].
    pub fn stored_stream(&self, stream: &str) -> Result<String, Error> {
        plain(stream)?;
        if self.is_default() {
            return Ok(stream.to_owned());
        }
        let (schema, name) = stream.split_once('.').unwrap_or((PUBLIC, stream));
        Ok(format!("{}.{name}", self.stored(schema)?))
    }

    /// An error as its users are told it, with no stored name in it.
    #[must_use]
    pub fn told(&self, error: Error) -> Error {
        if self.is_default() {
            return error;
        }
        let prefix = format!("{}{SEPARATOR}", self.0);
        let hint = error.hint.map(|hint| hint.replace(&prefix, ""));
        Error { message: error.message.replace(&prefix, ""), hint, ..error }
    }
}

/// Namespace, if it is not `default`, and schema of a stored name.
pub fn split_stored(stored: &str) -> (Option<&str>, &str) {
    match stored.split_once(SEPARATOR) {
        None => (None, stored),
        Some((namespace, schema)) => (Some(namespace), schema),
    }
}

/// A name that somebody gives to what is stored under it.
///
/// # Errors
/// `Plan` if it could be one of a namespace.
pub fn plain(name: &str) -> Result<(), Error> {
    if !name.contains(SEPARATOR) {
        return Ok(());
    }
    let told = format!("`{}` holds a character that no name may hold", name.escape_default());
    Err(Error::new(ErrorKind::Plan, told))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acme() -> Namespace {
        Namespace::parse("acme").unwrap()
    }

    #[test]
    fn row_47_a_schema_is_stored_under_its_namespace_and_that_of_default_as_it_is() {
        let (default, beta) = (Namespace::default(), Namespace::parse("beta").unwrap());
        assert_eq!(default.stored("public").unwrap(), "public");
        let stored = acme().stored("public").unwrap();
        assert_ne!(stored, "public");
        assert_eq!(acme().own(&stored), Some("public"));
        assert_eq!((default.own(&stored), beta.own(&stored)), (None, None));
        assert_eq!((default.own("public"), acme().own("public")), (Some("public"), None));
        assert_eq!(split_stored(&stored), (Some("acme"), "public"));
        assert_eq!(split_stored("public"), (None, "public"));
        // No name reaches into another namespace.
        for namespace in [&default, &beta, &acme()] {
            assert_eq!(namespace.stored(&stored).unwrap_err().kind, ErrorKind::Plan);
            assert_eq!(
                namespace.stored_stream(&format!("{stored}.ticks")).unwrap_err().kind,
                ErrorKind::Plan
            );
        }
        // A schema of `default` that would read as one of a namespace of that name is nobody's.
        assert_eq!(default.own("default\u{1f}public"), None);
    }

    #[test]
    fn row_47_a_stream_is_the_one_of_its_senders_namespace() {
        let stored = |namespace: &Namespace, name: &str| namespace.stored_stream(name).unwrap();
        assert_eq!(stored(&Namespace::default(), "ticks"), "ticks");
        assert_eq!(stored(&Namespace::default(), "sales.ticks"), "sales.ticks");
        assert_eq!(stored(&acme(), "ticks"), format!("{}.ticks", acme().stored("public").unwrap()));
        assert_eq!(stored(&acme(), "sales.ticks"), format!("{}.ticks", acme().stored("sales").unwrap()));
    }

    #[test]
    fn row_47_users_are_told_no_stored_name() {
        let stored = acme().stored("public").unwrap();
        let error = Error::new(ErrorKind::NotFound, format!("schema `{stored}` does not exist"))
            .with_hint(format!("CREATE SCHEMA {stored}"));
        let told = acme().told(error);
        assert_eq!(told.message, "schema `public` does not exist");
        assert_eq!(told.hint.as_deref(), Some("CREATE SCHEMA public"));
    }

    #[test]
    fn names_of_namespaces_are_plain() {
        for name in ["acme", "a", "team-7", &"x".repeat(63)] {
            assert_eq!(Namespace::parse(name).unwrap().as_str(), name);
        }
        for name in ["", "Acme", "a b", "a/b", "a_b", "ä", "a\u{1f}b", &"x".repeat(64)] {
            assert_eq!(Namespace::parse(name).unwrap_err().kind, ErrorKind::Configuration, "{name:?}");
        }
        let text = serde_json::to_string(&acme()).unwrap();
        assert_eq!(text, "\"acme\"");
        assert_eq!(serde_json::from_str::<Namespace>(&text).unwrap(), acme());
        assert!(serde_json::from_str::<Namespace>("\"a/b\"").is_err());
    }
}
