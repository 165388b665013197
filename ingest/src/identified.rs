//! A server that asks who calls, for tests.

use polarway_common::config::{IdentityConfig, Secret};
use polarway_identity::{Credential, Identity, Tls};
use tempfile::NamedTempFile;

/// May write.
pub const ANA: &str = "a-token-of-ana-0123456789";
/// May read.
pub const RUTH: &str = "a-token-of-ruth-0123456789";
pub const PROCESS: &str = "the-secret-of-all-processes-0123456789";

/// Knows both, and the file that says so.
pub async fn identified() -> (Identity, NamedTempFile) {
    let file = NamedTempFile::new().unwrap();
    knows(&file, &[("ana", "write", ANA), ("ruth", "read", RUTH)]);
    let identity = Identity::load(&config(&file), &Tls::default()).await.unwrap();
    (identity, file)
}

/// Writes a file with these names, roles and tokens.
pub fn knows(file: &NamedTempFile, users: &[(&str, &str, &str)]) {
    let entry = |(name, role, token): &(&str, &str, &str)| {
        format!("[[token]]\nname = '{name}'\nrole = '{role}'\ntoken = '{token}'\n")
    };
    std::fs::write(file.path(), users.iter().map(entry).collect::<String>()).unwrap();
}

/// What processes show to such a server.
pub fn credential(file: &NamedTempFile) -> Credential {
    Credential::of(&config(file), &Tls::default()).unwrap()
}

fn config(file: &NamedTempFile) -> IdentityConfig {
    IdentityConfig {
        tokens: Some(file.path().to_owned()),
        process_secret: Some(Secret::new(PROCESS)),
        trusted_network: false,
    }
}
