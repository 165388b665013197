//! Secrets by name.

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;

use polarway_common::config::Secret;
use thiserror::Error;

use super::spec::is_plain_name;

/// The longest secret, in bytes: a name that leads to something else than a secret is not read into memory.
const LONGEST: u64 = 64 << 10;

/// Where secrets are kept. Called off the runtime's threads, at each dial.
pub trait Secrets: Debug + Send + Sync {
    /// # Errors
    /// Where there is no secret of this name, or it cannot be read.
    fn get(&self, name: &str) -> Result<Secret, SecretError>;
}

/// Why a secret is not there. Tells names, never secrets.
#[derive(Debug, Error)]
pub enum SecretError {
    #[error("`{0}` cannot name a secret")]
    Name(String),
    #[error("there is no secret `{0}`")]
    Unknown(String),
    #[error("the secret `{name}` cannot be read: {source}")]
    Read { name: String, source: io::Error },
    #[error("the secret `{0}` is longer than {LONGEST} bytes, or is no text")]
    NoText(String),
}

/// No secrets at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSecrets;

impl Secrets for NoSecrets {
    fn get(&self, name: &str) -> Result<Secret, SecretError> {
        Err(SecretError::Unknown(name.to_owned()))
    }
}

/// Each secret is a file with its name in this directory; line ends at its end are no part of it.
#[derive(Debug, Clone)]
pub struct SecretFiles {
    directory: PathBuf,
}

impl SecretFiles {
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }
}

impl Secrets for SecretFiles {
    fn get(&self, name: &str) -> Result<Secret, SecretError> {
        if !is_plain_name(name) {
            return Err(SecretError::Name(name.to_owned()));
        }
        let fault = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => SecretError::Unknown(name.to_owned()),
            _ => SecretError::Read { name: name.to_owned(), source },
        };
        let path = self.directory.join(name);
        let about = std::fs::metadata(&path).map_err(fault)?;
        if !about.is_file() || about.len() > LONGEST {
            return Err(SecretError::NoText(name.to_owned()));
        }
        let bytes = std::fs::read(&path).map_err(fault)?;
        let text = String::from_utf8(bytes).map_err(|_| SecretError::NoText(name.to_owned()))?;
        Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_by_plain_names_only() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("api.key"), "s3cret\r\n").unwrap();
        std::fs::write(directory.path().join(".hidden"), "x").unwrap();
        std::fs::create_dir(directory.path().join("inner")).unwrap();
        let secrets = SecretFiles::new(directory.path());
        let secret = secrets.get("api.key").unwrap();
        assert_eq!(secret.expose(), "s3cret");
        assert!(!format!("{secret:?} {secret}").contains("s3cret"));
        for name in [".hidden", "../api.key", "inner/../api.key", "", "a b"] {
            assert!(matches!(secrets.get(name), Err(SecretError::Name(_))), "{name}");
        }
        assert!(matches!(secrets.get("other"), Err(SecretError::Unknown(_))));
        assert!(matches!(secrets.get("inner"), Err(SecretError::NoText(_))));
        assert!(NoSecrets.get("api.key").is_err());
    }
}
