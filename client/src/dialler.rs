//! How connections are made: all with TLS, or all without.

use std::path::{Path, PathBuf};

use polarway_common::{Error, ErrorKind};
use polarway_tls::{Connector, Trust};

use crate::Endpoint;

/// See the module's page.
#[derive(Debug, Clone)]
pub(crate) struct Dialler {
    connector: Connector,
    tls: bool,
}

impl Dialler {
    /// For the servers that a client was given, and those that their results name.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when some are with TLS and some without, when authorities are given and nothing is with TLS,
    /// and for those that cannot be read.
    pub(crate) async fn to(endpoints: &[Endpoint], tls_ca: Option<PathBuf>) -> Result<Self, Error> {
        if !is_tls(endpoints)? {
            return match tls_ca {
                None => Ok(Self { connector: Connector::plain(), tls: false }),
                Some(file) => Err(without_use(&file)),
            };
        }
        // The system's authorities are many files.
        let reading = tokio::task::spawn_blocking(move || match &tls_ca {
            Some(file) => Trust::of_file(file),
            None => Trust::system(),
        });
        let trust = reading
            .await
            .map_err(|error| Error::internal(format!("authorities were not read: {error}")))??;
        Ok(Self { connector: Connector::trusting(&trust), tls: true })
    }

    /// # Errors
    /// For a server of the other sort. Only the handle of a query that another client has planned can name one.
    pub(crate) fn connector_to(&self, server: &Endpoint) -> Result<Connector, Error> {
        if server.is_tls() == self.tls {
            return Ok(self.connector.clone());
        }
        let (ours, theirs) = if self.tls { ("with", "without") } else { ("without", "with") };
        Err(Error::new(
            ErrorKind::Configuration,
            format!("the client connects {ours} TLS, and {server} is a server {theirs} it"),
        )
        .with_hint("use a client of the same sort as the one that planned the query"))
    }
}

/// A token goes to every server of a cluster: one without TLS would show what the others hide.
fn is_tls(endpoints: &[Endpoint]) -> Result<bool, Error> {
    let with = endpoints.iter().find(|endpoint| endpoint.is_tls());
    let without = endpoints.iter().find(|endpoint| !endpoint.is_tls());
    match (with, without) {
        (Some(with), Some(without)) => Err(Error::new(
            ErrorKind::Configuration,
            format!("{with} is a server with TLS and {without} one without: a cluster has one sort"),
        )
        .with_hint("write all addresses with https://, or none")),
        (with, _) => Ok(with.is_some()),
    }
}

fn without_use(file: &Path) -> Error {
    Error::new(
        ErrorKind::Configuration,
        format!("`tls_ca` names the authorities {}, but no server is with TLS", file.display()),
    )
    .with_hint("write https://HOST:PORT, or leave out `tls_ca` (`--tls-ca`, POLARWAY_TLS_CA)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tests::Scratch;

    fn endpoints(all: &[&str]) -> Vec<Endpoint> {
        all.iter().map(|text| text.parse().unwrap()).collect()
    }

    async fn refused(all: &[&str], file: Option<&str>) -> Error {
        let error = Dialler::to(&endpoints(all), file.map(PathBuf::from)).await.unwrap_err();
        assert_eq!((error.kind, error.is_retryable()), (ErrorKind::Configuration, false), "{error}");
        error
    }

    #[tokio::test]
    async fn row_47_servers_are_all_with_tls_or_all_without() {
        for all in [["https://a:1", "b:1"], ["b:1", "grpc+tls://a:1"]] {
            let error = refused(&all, None).await;
            assert!(
                error.message.contains("https://a:1") && error.message.contains("b:1 one without"),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn row_47_authorities_are_for_tls_alone() {
        for all in [&["a:1"][..], &[]] {
            let error = refused(all, Some("ca.pem")).await;
            assert!(error.message.contains("ca.pem"), "{error}");
            assert!(error.hint.unwrap().contains("https://"));
        }
    }

    #[tokio::test]
    async fn row_47_authorities_that_cannot_be_read_are_named() {
        let nothing = Scratch::new(b"no certificate\n");
        let nothing = nothing.0.display().to_string();
        for file in ["/no/such/file", nothing.as_str()] {
            let error = refused(&["https://a:1"], Some(file)).await;
            assert!(error.message.contains(file), "{error}");
        }
    }

    #[tokio::test]
    async fn a_client_without_tls_does_not_dial_a_server_with_it() {
        let all = endpoints(&["a:1", "https://a:1"]);
        let dialler = Dialler::to(&all[..1], None).await.unwrap();
        assert!(dialler.connector_to(&all[0]).is_ok());
        let error = dialler.connector_to(&all[1]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Configuration);
        assert!(error.message.contains("https://a:1"), "{error}");
    }
}
