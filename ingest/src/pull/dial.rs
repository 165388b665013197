//! From a URL to a connection.

use std::sync::Arc;
use std::time::Duration;

use polarway_common::Clock;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::RETRY_AFTER;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, http};
use url::{Host, Url};

use super::heard::{Heard, Wire};
use super::link::Link;
use super::options::PullOptions;
use super::prepare::Prepared;
use super::secrets::SecretError;
use super::tls::TrustError;

/// Why there is no connection.
#[derive(Debug, Error)]
pub(super) enum DialError {
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("TLS failed: {0}")]
    Tls(std::io::Error),
    #[error("the server refused the connection: HTTP {status}")]
    Refused { status: http::StatusCode, retry_after: Option<Duration> },
    #[error("the WebSocket handshake failed: {0}")]
    Handshake(String),
    #[error("the header `{0}` cannot be sent: it holds characters that no header may")]
    Header(String),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("a task failed: {0}")]
    Task(String),
}

/// Connects and upgrades, within the time for it.
pub(super) async fn dial(
    url: &Url,
    prepared: Prepared,
    options: &PullOptions,
    clock: &Arc<dyn Clock>,
) -> Result<Link, DialError> {
    tokio::time::timeout(options.connect_timeout, connect(url, prepared, options, clock))
        .await
        .map_err(|_| DialError::TimedOut(options.connect_timeout))?
}

async fn connect(
    url: &Url,
    prepared: Prepared,
    options: &PullOptions,
    clock: &Arc<dyn Clock>,
) -> Result<Link, DialError> {
    // Brackets around an address of IPv6 belong to the URL, not to the name.
    let host = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        None => String::new(),
    };
    let port = url.port_or_known_default().unwrap_or(443);
    let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(DialError::Connect)?;
    tcp.set_nodelay(true).map_err(DialError::Connect)?;
    let wire: Box<dyn Wire> = match prepared.tls {
        None => Box::new(tcp),
        Some(config) => {
            let name =
                ServerName::try_from(host).map_err(|error| DialError::Tls(std::io::Error::other(error)))?;
            Box::new(TlsConnector::from(config).connect(name, tcp).await.map_err(DialError::Tls)?)
        }
    };
    let (wire, heard) = Heard::new(wire, Arc::clone(clock));
    let mut request =
        url.as_str().into_client_request().map_err(|error| DialError::Handshake(error.to_string()))?;
    request.headers_mut().extend(prepared.headers);
    let config = WebSocketConfig::default()
        .max_message_size(Some(options.max_message_bytes))
        .max_frame_size(Some(options.max_message_bytes));
    let (socket, _) = client_async_with_config(request, wire, Some(config)).await.map_err(refusal)?;
    Ok(Link::new(socket, heard, prepared.subscription, prepared.redactor))
}

/// Anything but an upgrade is a refusal; a redirection is not followed, since it may lead where nothing allows.
fn refusal(error: WsError) -> DialError {
    match error {
        WsError::Http(response) => {
            let retry_after = response.headers().get(RETRY_AFTER);
            let seconds = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
            DialError::Refused { status: response.status(), retry_after: seconds.map(Duration::from_secs) }
        }
        WsError::Io(error) => DialError::Connect(error),
        error => DialError::Handshake(error.to_string()),
    }
}
