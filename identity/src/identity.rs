//! Tells callers apart.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use polarway_common::config::IdentityConfig;
use polarway_common::{Error, ErrorKind, Namespace};
use polarway_tls::Tls;
use subtle::ConstantTimeEq;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::connection::Link;
use crate::header::token_of;
use crate::party::Party;
use crate::tokens::{Digest, Roots, Tokens, digest};

/// How often the file is looked at. Kubernetes changes a mounted secret by swapping a link, which not every way to watch
/// a file notices.
const ROUND: Duration = Duration::from_secs(2);

/// Whom a server knows. Clones know the same.
#[derive(Debug, Clone)]
pub struct Identity(Option<Arc<Known>>);

struct Known {
    path: PathBuf,
    users: watch::Sender<Arc<Tokens>>,
    /// Of what processes send where they cannot show a certificate.
    process: Option<Digest>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Identity {
    /// That of a server which does not ask who calls.
    pub fn open() -> Self {
        Self(None)
    }

    /// As it is configured.
    ///
    /// # Errors
    /// `Configuration`: the file cannot be read or holds no tokens, or processes have neither certificates nor a secret.
    pub async fn load(config: &IdentityConfig, tls: &Tls) -> Result<Self, Error> {
        let Some(path) = &config.tokens else { return Ok(Self::open()) };
        let secret = config.process_secret.as_ref();
        if secret.is_none() && !tls.is_on() {
            let told =
                "`identity.tokens` needs `identity.process_secret`, by which processes know each other";
            return Err(Error::new(ErrorKind::Configuration, told).with_hint(
                "give all processes of the cluster the same, for example 32 random characters; or give them certificates in `[tls]`",
            ));
        }
        let text = read(path).await?;
        let tokens = Tokens::parse(&text).map_err(|error| of_file(path, &error))?;
        Ok(Self::of(path.clone(), tokens, secret.map(|secret| secret.expose())))
    }

    fn of(path: PathBuf, tokens: Tokens, process_secret: Option<&str>) -> Self {
        let process = process_secret.map(|secret| digest(secret.as_bytes()));
        Self(Some(Arc::new(Known { path, users: watch::Sender::new(Arc::new(tokens)), process })))
    }

    pub fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// Whether there are other namespaces than `default`.
    pub fn has_namespaces(&self) -> bool {
        self.0.as_ref().is_some_and(|known| known.users.borrow().has_namespaces())
    }

    /// Where paths in statements of a namespace may lead, if it may reach any files.
    pub fn roots(&self, namespace: &Namespace) -> Option<Arc<Roots>> {
        self.0.as_ref()?.users.borrow().roots(namespace)
    }

    /// Whom the header `authorization` names, or the certificate that the connection began with.
    ///
    /// # Errors
    /// `Unauthenticated` without either, and if nobody is known by the token in the header.
    pub fn identify(&self, authorization: Option<&[u8]>, link: Link) -> Result<Party, Error> {
        let Some(known) = &self.0 else {
            return Ok(match link {
                Link::Plain => Party::Anyone,
                Link::Encrypted => Party::AnyUser,
                Link::Process => Party::Process,
            });
        };
        if link == Link::Process && authorization.is_none() {
            return Ok(Party::Process);
        }
        let refused = |told: &str| Err(Error::new(ErrorKind::Unauthenticated, told));
        let Some(header) = authorization else { return refused("the request has no token") };
        let Some(token) = token_of(header) else {
            return refused("the header `authorization` is neither `Bearer <token>` nor `Basic`");
        };
        let token = digest(&token);
        let user = known.users.borrow().find(&token);
        let process = known.process.is_some_and(|process| process.ct_eq(&token).into());
        match user {
            _ if process && link == Link::Encrypted => refused("a process shows its certificate here"),
            _ if process => Ok(Party::Process),
            Some(caller) => Ok(Party::User { caller, token }),
            None => refused("nobody is known by this token"),
        }
    }

    /// Waits until somebody is not known any more as it was; for ever if that cannot be.
    pub async fn revoked(&self, party: &Party) {
        if let (Some(known), Party::User { caller, token }) = (&self.0, party) {
            let mut users = known.users.subscribe();
            // It errs when this process ends, which is no reason to end anything.
            if users.wait_for(|users| users.find(token).as_ref() != Some(caller)).await.is_ok() {
                return;
            }
        }
        std::future::pending().await
    }

    /// Reads the file again when it has changed, until `stop`. One that cannot be read or is wrong changes nothing.
    ///
    /// # Errors
    /// None: what fails is told, and tried again.
    pub async fn follow(self, stop: CancellationToken) -> Result<(), Error> {
        let Some(known) = &self.0 else {
            stop.cancelled().await;
            return Ok(());
        };
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut seen: Option<Result<Digest, Error>> = None;
        loop {
            tokio::select! {
                _ = rounds.tick() => {}
                () = stop.cancelled() => return Ok(()),
            }
            known.look(&mut seen).await;
        }
    }
}

impl Known {
    /// Reads the file, and takes what is in it if that is something else than what was `seen`.
    async fn look(&self, seen: &mut Option<Result<Digest, Error>>) {
        let text = read(&self.path).await;
        let now = text.as_ref().map(|text| digest(text.as_bytes())).map_err(Clone::clone);
        if seen.as_ref() == Some(&now) {
            return;
        }
        match text.and_then(|text| Tokens::parse(&text).map_err(|error| of_file(&self.path, &error))) {
            Ok(tokens) => {
                self.users.send_replace(Arc::new(tokens));
                if seen.is_some() {
                    tracing::info!(path = %self.path.display(), "the tokens were read anew");
                }
            }
            Err(error) => tracing::error!(%error, "the tokens stay as they were"),
        }
        *seen = Some(now);
    }
}

async fn read(path: &std::path::Path) -> Result<String, Error> {
    tokio::fs::read_to_string(path).await.map_err(|error| of_file(path, &error))
}

fn of_file(path: &std::path::Path, cause: &dyn std::fmt::Display) -> Error {
    let told = format!("`identity.tokens` ({}): {cause}", path.display());
    Error::new(ErrorKind::Configuration, told)
}

#[cfg(test)]
mod tests {
    use polarway_common::config::Secret;
    use polarway_common::{Caller, Role};

    use super::*;

    const PROCESS: &str = "the-secret-of-all-processes-0123";
    const ANA: &str = "a-token-of-ana-0123456789";

    fn file(role: &str) -> String {
        format!("[[token]]\nname = 'ana'\nrole = '{role}'\ntoken = '{ANA}'\n")
    }

    fn bearer(token: &str) -> String {
        format!("Bearer {token}")
    }

    #[tokio::test]
    async fn row_47_no_and_wrong_tokens_are_refused() {
        let identity = Identity::of("x".into(), Tokens::parse(&file("write")).unwrap(), Some(PROCESS));
        let asked = |header: &str| identity.identify(Some(header.as_bytes()), Link::Plain);
        let ana = asked(&bearer(ANA)).unwrap();
        assert_eq!(ana.caller().unwrap(), Caller::new("ana", Role::Write));
        assert_eq!(ana.must_be_process().unwrap_err().kind, ErrorKind::NotAllowed);
        let process = asked(&bearer(PROCESS)).unwrap();
        assert_eq!(process, Party::Process);
        assert_eq!(process.caller().unwrap_err().kind, ErrorKind::NotAllowed);
        for wrong in ["Bearer wrong-token-0123456789", ANA, "Basic !", ""] {
            let error = asked(wrong).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unauthenticated, "{wrong}");
            assert!(!error.to_string().contains("0123456789"), "{error}");
        }
        assert_eq!(identity.identify(None, Link::Plain).unwrap_err().kind, ErrorKind::Unauthenticated);
        assert_eq!(Identity::open().identify(None, Link::Plain), Ok(Party::Anyone));
    }

    #[test]
    fn row_47_where_certificates_can_be_shown_a_secret_is_none() {
        let header = bearer(PROCESS);
        let ana = bearer(ANA);
        let known = Identity::of("x".into(), Tokens::parse(&file("write")).unwrap(), Some(PROCESS));
        let without = Identity::of("x".into(), Tokens::parse(&file("write")).unwrap(), None);
        for identity in [&known, &without] {
            assert_eq!(identity.identify(None, Link::Process), Ok(Party::Process));
            assert!(identity.identify(None, Link::Encrypted).is_err());
            assert!(identity.identify(Some(header.as_bytes()), Link::Encrypted).is_err());
            let user = identity.identify(Some(ana.as_bytes()), Link::Encrypted).unwrap();
            assert_eq!(user.must_be_process().unwrap_err().kind, ErrorKind::NotAllowed);
        }
        // While TLS is being brought in, both are shown.
        assert_eq!(known.identify(Some(header.as_bytes()), Link::Process), Ok(Party::Process));
        assert!(without.identify(Some(header.as_bytes()), Link::Plain).is_err());

        let open = Identity::open();
        let user = open.identify(None, Link::Encrypted).unwrap();
        assert_eq!(user.caller().unwrap(), Caller::anyone());
        assert_eq!(user.must_be_process().unwrap_err().kind, ErrorKind::NotAllowed);
        assert_eq!(open.identify(None, Link::Process).unwrap().must_be_process(), Ok(()));
    }

    #[tokio::test]
    async fn row_47_a_file_that_changes_changes_who_is_known_and_a_wrong_one_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.toml");
        std::fs::write(&path, file("read")).unwrap();
        let config = IdentityConfig {
            tokens: Some(path.clone()),
            process_secret: Some(Secret::new(PROCESS)),
            trusted_network: false,
        };
        let identity = Identity::load(&config, &Tls::default()).await.unwrap();
        let known = identity.0.clone().unwrap();
        let mut seen = None;
        let header = bearer(ANA);
        let ana = || identity.identify(Some(header.as_bytes()), Link::Plain);
        let as_reader = ana().unwrap();
        std::fs::write(&path, "not a file of tokens").unwrap();
        known.look(&mut seen).await;
        assert_eq!(ana().unwrap(), as_reader);
        std::fs::remove_file(&path).unwrap();
        known.look(&mut seen).await;
        assert_eq!(ana().unwrap(), as_reader);
        std::fs::write(&path, file("write")).unwrap();
        known.look(&mut seen).await;
        identity.revoked(&as_reader).await;
        assert_eq!(ana().unwrap().caller().unwrap().role(), Role::Write);

        // Another namespace is another caller, too.
        let as_writer = ana().unwrap();
        std::fs::write(&path, format!("{}namespace = 'acme'\n", file("write"))).unwrap();
        known.look(&mut seen).await;
        identity.revoked(&as_writer).await;
        assert_eq!(ana().unwrap().caller().unwrap().namespace().as_str(), "acme");
        assert!(identity.has_namespaces());
        assert_eq!(identity.roots(&Namespace::parse("acme").unwrap()), None);

        // And by itself.
        let stop = CancellationToken::new();
        let following = tokio::spawn(identity.clone().follow(stop.clone()));
        let as_writer = ana().unwrap();
        std::fs::write(&path, file("write").replace(ANA, "another-token-0123456789")).unwrap();
        identity.revoked(&as_writer).await;
        assert_eq!(ana().unwrap_err().kind, ErrorKind::Unauthenticated);
        stop.cancel();
        following.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let nowhere = IdentityConfig { tokens: Some("/nowhere/tokens".into()), ..IdentityConfig::default() };
        let error = Identity::load(&nowhere, &Tls::default()).await.unwrap_err();
        assert!(error.message.contains("`identity.process_secret`"), "{error}");
        let secret = Some(Secret::new(PROCESS));
        let error = Identity::load(&IdentityConfig { process_secret: secret, ..nowhere }, &Tls::default())
            .await
            .unwrap_err();
        assert!(error.message.contains("/nowhere/tokens"), "{error}");
        assert!(Identity::load(&IdentityConfig::default(), &Tls::default()).await.unwrap().is_open());
    }
}
