//! The members of etcd, of which one is used at a time.
//!
//! A connection to each is made when it is needed and made anew when it breaks. When the one that is used fails, the
//! next one's turn has come: the client's own way, to spread calls over all of them, keeps on calling those that are
//! gone.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Channel, Client, ConnectOptions};
use polarway_tls::{ClientFiles, Connector};
use tokio::sync::Mutex;
use tonic::codegen::http::Uri;
use tonic::transport::Endpoint;

use super::Failed;
use super::config::{Credentials, EtcdConfig, Password, TlsFiles, invalid};
use crate::error::{MetaStoreError, Result};

const HTTPS: &str = "https://";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// etcd cuts off who asks for signs of life more often than every five seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(6);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// As in `remote`: dozens of watches that are not read leave room for calls.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

#[derive(Debug)]
pub(super) struct Members {
    members: Vec<Member>,
    credentials: Option<Credentials>,
    current: AtomicUsize,
}

struct Member {
    channel: tonic::transport::Channel,
    /// Once it has logged in.
    client: Mutex<Option<Client>>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").finish_non_exhaustive()
    }
}

/// One call's use of the member whose turn it is. Unless the member has answered, the next one's turn has come when this
/// is dropped: also when the caller did not want to wait any longer.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    members: &'a Members,
    index: usize,
    answered: bool,
}

impl Turn<'_> {
    /// A client of the member, which logs in if it has to.
    pub(super) async fn client(&self) -> Result<Client, Failed> {
        self.members.client(self.index).await
    }

    /// The next client of the member logs in anew.
    pub(super) async fn log_out(&self) {
        *self.members.members[self.index].client.lock().await = None;
    }

    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.members.pass_over(self.index);
        }
    }
}

impl Members {
    /// Connects to nothing yet. Call it within a tokio runtime.
    pub(super) fn new(config: &EtcdConfig) -> Result<Self> {
        let tls = config.endpoints.iter().any(|endpoint| endpoint.starts_with(HTTPS));
        let encrypted = tls.then(|| connector(&config.tls)).transpose()?;
        let members = config.endpoints.iter().map(|url| {
            let connector = encrypted.clone().filter(|_| url.starts_with(HTTPS));
            let channel =
                endpoint_of(url)?.connect_with_connector_lazy(connector.unwrap_or_else(Connector::plain));
            Ok(Member { channel, client: Mutex::default() })
        });
        Ok(Self {
            members: members.collect::<Result<_>>()?,
            credentials: config.credentials.clone(),
            current: AtomicUsize::new(0),
        })
    }

    pub(super) fn turn(&self) -> Turn<'_> {
        let index = self.current.load(Ordering::Relaxed) % self.members.len();
        Turn { members: self, index, answered: false }
    }

    async fn client(&self, index: usize) -> Result<Client, Failed> {
        let Member { channel, client } = &self.members[index];
        let mut client = client.lock().await;
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let options = ConnectOptions::new().with_require_leader(true).with_auto_token_refresh(true);
        let options = match &self.credentials {
            Some(Credentials { user, password }) => options.with_user(user, read_password(password)?),
            None => options,
        };
        let made = Client::from_channel(Channel::Tonic(channel.clone()), Some(options)).await;
        let made = made.map_err(Failed::Etcd)?;
        Ok(client.insert(made).clone())
    }

    /// Unless another call has done so.
    fn pass_over(&self, index: usize) {
        let next = (index + 1) % self.members.len();
        let _ = self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// What is dialled is a `http` URL, encrypted or not; requests say what they are.
fn endpoint_of(url: &str) -> Result<Endpoint> {
    let unusable = |error: &dyn std::fmt::Display| invalid(format!("the endpoint `{url}`: {error}"));
    let origin: Uri = url.parse().map_err(|error| unusable(&error))?;
    let default_port = if url.starts_with(HTTPS) { 443 } else { 80 };
    let host = origin.host().ok_or_else(|| unusable(&"it names no host"))?;
    let port = origin.port_u16().unwrap_or(default_port);
    let endpoint =
        Endpoint::from_shared(format!("http://{host}:{port}")).map_err(|error| unusable(&error))?;
    Ok(endpoint
        .origin(origin)
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(false))
}

/// The files are read for each connection, so that they may be replaced.
fn connector(files: &TlsFiles) -> Result<Connector> {
    let shown = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => {
            Some([("metastore.certificate", certificate.clone()), ("metastore.key", key.clone())])
        }
        _ => None,
    };
    let ca = files.ca.clone().map(|ca| ("metastore.ca", ca));
    ClientFiles::open(ca, shown).map(Connector::of_files).map_err(|error| invalid(error.message))
}

fn read_password(password: &Password) -> Result<String> {
    match password {
        Password::Text(secret) => Ok(secret.expose().to_owned()),
        Password::File(path) => {
            let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
            Ok(text.trim_end_matches(['\r', '\n']).to_owned())
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> MetaStoreError {
    invalid(format!("cannot read `{}`: {error}", path.display()))
}
