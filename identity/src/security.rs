//! What the servers of a process share: whom they know, what they show.

use polarway_common::{Config, Error};
use polarway_tls::Tls;
use tokio_util::sync::CancellationToken;

use crate::credential::Credential;
use crate::identity::Identity;

/// See the module's page. Clones share it.
#[derive(Debug, Clone)]
pub struct Security {
    /// Whom it knows by what they send.
    pub identity: Identity,
    /// What it shows and whom it trusts by certificates.
    pub tls: Tls,
    /// What it shows to processes when it dials them.
    pub credential: Credential,
}

impl Security {
    /// That of a process which users call.
    ///
    /// # Errors
    /// `Configuration`: a file cannot be read or used, or half of what is needed is given.
    pub async fn load(config: &Config) -> Result<Self, Error> {
        let tls = Tls::load(&config.tls).await?;
        let identity = Identity::load(&config.identity, &tls).await?;
        Self::of(config, identity, tls)
    }

    /// That of a process which processes call. Users come to it with tickets, which say enough.
    ///
    /// # Errors
    /// As [`Security::load`].
    pub async fn of_executor(config: &Config) -> Result<Self, Error> {
        let tls = Tls::load(&config.tls).await?;
        Self::of(config, Identity::open(), tls)
    }

    /// That of a process which knows users by `identity` and speaks without TLS.
    pub fn plain(identity: Identity) -> Self {
        Self { identity, tls: Tls::default(), credential: Credential::default() }
    }

    fn of(config: &Config, identity: Identity, tls: Tls) -> Result<Self, Error> {
        let credential = Credential::of(&config.identity, &tls)?;
        Ok(Self { identity, tls, credential })
    }

    /// Reads the files again when they have changed, until `stop`.
    ///
    /// # Errors
    /// None: what fails is told, and tried again.
    pub async fn follow(self, stop: CancellationToken) -> Result<(), Error> {
        let (tokens, certificates) =
            tokio::join!(self.identity.follow(stop.clone()), self.tls.follow(stop.clone()));
        tokens.and(certificates)
    }
}
