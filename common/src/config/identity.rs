use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Secret;
use crate::error::{Error, ErrorKind, Result};

/// `[identity]`: who may call, and where a process listens whose callers are not told apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityConfig {
    /// File with the tokens of users, their names and roles. It is read again when it changes. Default: none, and whoever
    /// reaches a port may do everything.
    pub tokens: Option<PathBuf>,
    /// What the processes of a cluster know each other by without TLS; all of them need the same. Default: none.
    pub process_secret: Option<Secret>,
    /// Whether processes may listen on other than loopback addresses where callers are not told apart. Default: `false`.
    pub trusted_network: bool,
}

/// How a port tells its callers apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callers {
    /// By their tokens, if there are any.
    Users,
    /// By their certificates, if there is TLS; without it they have no way to say who they are.
    Processes,
}

impl IdentityConfig {
    /// Whether a process may listen at `bound`, which the key `key` names. `encrypted`: processes show certificates there.
    ///
    /// # Errors
    /// `Configuration` if other machines may reach it, its callers are not told apart, and nobody has said that this is
    /// meant to be so.
    pub fn may_listen(&self, bound: SocketAddr, key: &str, callers: Callers, encrypted: bool) -> Result<()> {
        let guarded = match callers {
            Callers::Users => self.tokens.is_some(),
            Callers::Processes => encrypted,
        };
        if bound.ip().is_loopback() || guarded || self.trusted_network {
            return Ok(());
        }
        let (told, hint) = match callers {
            Callers::Users => (
                "whoever reaches it may do everything",
                "name a file of tokens in `identity.tokens`; or say `identity.trusted_network = true`, if only those reach it who may do everything",
            ),
            Callers::Processes => (
                "whoever reaches it is taken for a process of the cluster",
                "give processes certificates in `[tls]`; or say `identity.trusted_network = true`, if only processes of the cluster reach it",
            ),
        };
        let message = format!("`{key}` ({bound}) is no loopback address, and {told}");
        Err(Error::new(ErrorKind::Configuration, message).with_hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_47_a_port_that_others_reach_needs_identity_or_a_word() {
        let (here, everywhere) = ("127.0.0.1:1".parse().unwrap(), "0.0.0.0:1".parse().unwrap());
        let open = IdentityConfig::default();
        assert_eq!(open.may_listen(here, "scheduler.listen", Callers::Users, false), Ok(()));
        assert_eq!(open.may_listen("[::1]:1".parse().unwrap(), "x", Callers::Processes, false), Ok(()));
        let error = open.may_listen(everywhere, "scheduler.listen", Callers::Users, false).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Configuration);
        assert!(error.message.contains("`scheduler.listen` (0.0.0.0:1)"), "{error}");
        let with_tokens = IdentityConfig { tokens: Some("/tokens".into()), ..IdentityConfig::default() };
        assert_eq!(with_tokens.may_listen(everywhere, "scheduler.listen", Callers::Users, false), Ok(()));
        assert!(with_tokens.may_listen(everywhere, "executor.listen", Callers::Processes, false).is_err());
        assert_eq!(with_tokens.may_listen(everywhere, "executor.listen", Callers::Processes, true), Ok(()));
        assert!(open.may_listen(everywhere, "scheduler.listen", Callers::Users, true).is_err());
        let trusted = IdentityConfig { trusted_network: true, ..with_tokens };
        assert_eq!(trusted.may_listen(everywhere, "executor.listen", Callers::Processes, false), Ok(()));
    }
}
