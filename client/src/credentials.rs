//! Which servers are told the token of a client.

use std::sync::{Mutex, MutexGuard, PoisonError};

use polarway_common::Error;

use crate::token::Header;
use crate::{Endpoint, Token};

/// See the module's page.
pub(crate) struct Credentials {
    token: Option<Token>,
    /// The servers that the client was given. A result can name others, and these need not be of the cluster.
    configured: Vec<Endpoint>,
    /// Of the token as it was read last.
    header: Mutex<Option<Header>>,
}

impl Credentials {
    /// # Errors
    /// Of a token that cannot be read.
    pub(crate) async fn load(token: Option<Token>, configured: Vec<Endpoint>) -> Result<Self, Error> {
        let header = match &token {
            Some(token) => Some(token.header().await?),
            None => None,
        };
        Ok(Self { token, configured, header: Mutex::new(header) })
    }

    /// Whether the client was given this server, rather than told of it by another one.
    pub(crate) fn is_configured(&self, server: &Endpoint) -> bool {
        self.configured.contains(server)
    }

    /// What is sent to the servers that are configured.
    pub(crate) fn header(&self) -> Option<Header> {
        self.lock().clone()
    }

    /// Takes the token that its file has by now.
    pub(crate) async fn refresh(&self) {
        let Some(token) = self.token.as_ref().filter(|token| token.may_change()) else { return };
        match token.header().await {
            Ok(header) => *self.lock() = Some(header),
            // The one before may still be good: files are also replaced in two steps.
            Err(error) => tracing::warn!(%error, "the token stays as it was"),
        }
    }

    /// Whether there is another one than `sent` by now.
    pub(crate) async fn has_other_than(&self, sent: &Header) -> bool {
        self.refresh().await;
        self.lock().as_ref().is_some_and(|header| *header != *sent)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Header>> {
        // It is replaced as a whole, so a panic elsewhere does not spoil it.
        self.header.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tests::Scratch;

    async fn of(token: Token) -> Credentials {
        Credentials::load(Some(token), vec!["a:1".parse().unwrap()]).await.unwrap()
    }

    #[tokio::test]
    async fn only_what_was_given_is_configured() {
        let credentials = of(Token::new("one").unwrap()).await;
        assert!(credentials.is_configured(&"grpc://a:1".parse().unwrap()));
        for other in ["a:2", "b:1", "a.example:1"] {
            assert!(!credentials.is_configured(&other.parse().unwrap()), "{other}");
        }
    }

    #[tokio::test]
    async fn a_text_stays_what_it_is() {
        let credentials = of(Token::new("one").unwrap()).await;
        let sent = credentials.header().unwrap();
        assert!(!credentials.has_other_than(&sent).await);
        assert!(Credentials::load(None, vec![]).await.unwrap().header().is_none());
    }

    #[tokio::test]
    async fn a_file_may_get_another_token() {
        let file = Scratch::new(b"one\n");
        let credentials = of(Token::of_file(&file.0)).await;
        let first = credentials.header().unwrap();
        assert!(!credentials.has_other_than(&first).await);
        std::fs::write(&file.0, "two\n").unwrap();
        assert!(credentials.has_other_than(&first).await);
        let second = credentials.header().unwrap();
        assert_eq!(second, "Bearer two");
        // Of another call that was sent before, and is refused after that.
        assert!(credentials.has_other_than(&first).await);
        std::fs::write(&file.0, "").unwrap();
        assert!(!credentials.has_other_than(&second).await);
        assert_eq!(credentials.header().unwrap(), "Bearer two");
    }

    #[tokio::test]
    async fn without_its_file_there_is_no_client() {
        assert!(Credentials::load(Some(Token::of_file("/no/such/file")), vec![]).await.is_err());
    }
}
