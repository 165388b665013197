//! Which feeds may be dialled. What nothing allows is refused.

use std::path::PathBuf;
use std::sync::Arc;

use polarway_common::{Error as CommonError, ErrorKind};
use thiserror::Error;
use url::Url;

use super::secrets::{NoSecrets, Secrets};

/// What the operator allows.
#[derive(Debug, Clone)]
pub struct FeedPolicy {
    /// Beginnings of URLs: scheme, host and port have to be the same, and the path's first segments.
    pub allowed: Vec<String>,
    pub secrets: Arc<dyn Secrets>,
    /// The directory with certificates that feeds may name.
    pub certificates: Option<PathBuf>,
}

impl Default for FeedPolicy {
    /// Allows nothing.
    fn default() -> Self {
        Self { allowed: Vec::new(), secrets: Arc::new(NoSecrets), certificates: None }
    }
}

/// Why a URL is not dialled.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyError {
    #[error("the feed's URL is not valid: {0}")]
    Url(String),
    #[error("the feed's URL {0}")]
    Form(&'static str),
    #[error("the configuration does not allow to dial {scheme}://{host}{path}")]
    NotAllowed { scheme: String, host: String, path: String },
    #[error("`{prefix}` allows no feed: it {why}")]
    Prefix { prefix: String, why: String },
}

impl From<PolicyError> for CommonError {
    fn from(error: PolicyError) -> Self {
        match &error {
            PolicyError::NotAllowed { .. } => CommonError::new(ErrorKind::PathNotAllowed, error.to_string())
                .with_hint("an operator can add the beginning of the URL to the feeds allowed"),
            PolicyError::Url(_) | PolicyError::Form(_) => {
                CommonError::new(ErrorKind::InvalidSetting, error.to_string())
                    .with_hint("url = 'wss://host:port/path'")
            }
            PolicyError::Prefix { .. } => CommonError::new(ErrorKind::Configuration, error.to_string())
                .with_hint("write it as wss://host:port/path/"),
        }
    }
}

impl FeedPolicy {
    /// Holds the allowed beginnings themselves to their form, for when the configuration is read.
    ///
    /// # Errors
    /// The first that can allow nothing.
    pub fn check(&self) -> Result<(), PolicyError> {
        self.allowed.iter().try_for_each(|prefix| beginning(prefix).map(|_| ()))
    }

    /// The URL as it is dialled, if it may be.
    ///
    /// # Errors
    /// [`PolicyError`] says why not.
    pub fn admit(&self, url: &str) -> Result<Url, PolicyError> {
        let url = parsed(url)?;
        let allowed = self.allowed.iter().filter_map(|prefix| beginning(prefix).ok());
        if allowed.into_iter().any(|prefix| begins(&url, &prefix)) {
            return Ok(url);
        }
        // Without the query, which may hold a key.
        Err(PolicyError::NotAllowed {
            scheme: url.scheme().to_owned(),
            host: url.host_str().unwrap_or_default().to_owned()
                + &url.port().map(|port| format!(":{port}")).unwrap_or_default(),
            path: url.path().to_owned(),
        })
    }
}

fn beginning(prefix: &str) -> Result<Url, PolicyError> {
    let fault = |why: String| PolicyError::Prefix { prefix: prefix.to_owned(), why };
    let url = parsed(prefix).map_err(|error| fault(error.to_string()))?;
    if url.query().is_some() {
        return Err(fault("has a query".to_owned()));
    }
    Ok(url)
}

fn parsed(text: &str) -> Result<Url, PolicyError> {
    let url = Url::parse(text).map_err(|error| PolicyError::Url(error.to_string()))?;
    if !matches!(url.scheme(), "ws" | "wss") {
        return Err(PolicyError::Form("has to begin with wss:// or ws://"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(PolicyError::Form("names no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(PolicyError::Form("must not hold a user or a password"));
    }
    if url.fragment().is_some() {
        return Err(PolicyError::Form("must not have a fragment"));
    }
    // A server may take these for separators, and `..` behind them for a way out.
    let path = url.path().to_ascii_lowercase();
    if path.contains("%2f") || path.contains("%5c") {
        return Err(PolicyError::Form("must not have an escaped slash in its path"));
    }
    Ok(url)
}

/// Parsing has put host, port and path into one form: letter case, default ports, `..`.
fn begins(url: &Url, prefix: &Url) -> bool {
    let segments = |url: &Url| -> Vec<String> { url.path().split('/').skip(1).map(str::to_owned).collect() };
    let mut wanted = segments(prefix);
    wanted.pop_if(|last| last.is_empty());
    url.scheme() == prefix.scheme()
        && url.host() == prefix.host()
        && url.port_or_known_default() == prefix.port_or_known_default()
        && segments(url).starts_with(&wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allowed: &[&str]) -> FeedPolicy {
        FeedPolicy {
            allowed: allowed.iter().map(|prefix| (*prefix).to_owned()).collect(),
            ..FeedPolicy::default()
        }
    }

    #[test]
    fn urls_are_compared_by_their_parts() {
        let policy =
            policy(&["wss://stream.binance.com:9443/ws/", "wss://ws.kraken.com", "ws://127.0.0.1:9/"]);
        assert_eq!(policy.check(), Ok(()));
        for url in [
            "wss://stream.binance.com:9443/ws/btcusdt@trade",
            "wss://STREAM.binance.com:9443/ws",
            "wss://stream.binance.com:9443/ws?x=1",
            "wss://ws.kraken.com:443/v2",
            "wss://ws.kraken.com",
            "ws://127.0.0.1:9/any",
        ] {
            assert!(policy.admit(url).is_ok(), "{url}");
        }
        for url in [
            "wss://stream.binance.com:9443/wsx",
            "wss://stream.binance.com:9443/stream",
            "wss://stream.binance.com:9443/ws/../stream",
            "wss://stream.binance.com:9443/ws/%2e%2e/stream",
            "wss://stream.binance.com/ws/",
            "ws://stream.binance.com:9443/ws/",
            "wss://ws.kraken.com.evil.example/",
            "wss://ws.kraken.comevil.example/",
            "wss://evil.example/wss://ws.kraken.com",
            "ws://127.0.0.1:90/",
        ] {
            assert!(matches!(policy.admit(url), Err(PolicyError::NotAllowed { .. })), "{url}");
        }
        for url in [
            "wss://ws.kraken.com@evil.example/",
            "wss://user:word@ws.kraken.com/",
            "https://ws.kraken.com/",
            "wss://ws.kraken.com/a%2f..%2fb",
            "wss://ws.kraken.com/#a",
            "ws.kraken.com",
        ] {
            let error = policy.admit(url).unwrap_err();
            assert!(matches!(error, PolicyError::Form(_) | PolicyError::Url(_)), "{url}: {error}");
        }
    }

    #[test]
    fn nothing_is_allowed_by_default_and_errors_hide_queries() {
        let error = FeedPolicy::default().admit("wss://host/path?key=s3cret").unwrap_err();
        let error = CommonError::from(error);
        assert_eq!(error.kind, ErrorKind::PathNotAllowed);
        assert!(
            error.message.contains("wss://host/path") && !error.to_string().contains("s3cret"),
            "{error}"
        );
        assert!(policy(&["wss://host/?a"]).check().is_err());
        assert!(policy(&["https://host/"]).check().is_err());
    }
}
