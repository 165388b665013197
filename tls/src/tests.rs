//! Real handshakes over loopback.

use std::net::SocketAddr;
use std::path::Path;

use polarway_common::ErrorKind;
use polarway_common::config::TlsConfig;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;

const PROCESS: &str = "polarway-process";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate with these names, and its key.
fn issue(authority: &Authority, names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

struct Files {
    directory: TempDir,
    config: TlsConfig,
}

impl Files {
    fn new(shown: &(String, String), ca: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| Some(directory.path().join(name));
        let config = TlsConfig {
            certificate: path("certificate.pem"),
            key: path("key.pem"),
            ca: path("ca.pem"),
            ..TlsConfig::default()
        };
        let files = Self { directory, config };
        files.write("certificate.pem", &shown.0);
        files.write("key.pem", &shown.1);
        files.write("ca.pem", ca);
        files
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Also with what other processes would not take.
    async fn tls(&self) -> Tls {
        Tls::unchecked(&self.config).await
    }
}

/// What a server has seen of one connection: whether it is a process's, or why there is none. What is sent comes back.
type Seen = JoinHandle<Result<bool, std::io::Error>>;

async fn serving(tls: &Tls, protocol: Protocol) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = tls.clone();
    let seen = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut accepted = tls.accept(socket, protocol).await?.expect("there is TLS");
        let mut bytes = [0; 4];
        accepted.stream.read_exact(&mut bytes).await?;
        accepted.stream.write_all(&bytes).await?;
        accepted.stream.flush().await?;
        Ok(accepted.by_process)
    });
    (address, seen)
}

/// Connects, and sees that what it sends comes back.
async fn dialled(connector: Connector, host: &str, port: u16) -> Result<(), ConnectError> {
    let uri = format!("http://{host}:{port}").parse().unwrap();
    let mut stream = connector.oneshot(uri).await?.into_inner();
    let echo = async {
        stream.write_all(b"ping").await?;
        stream.flush().await?;
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await?;
        match &bytes {
            b"ping" => Ok(()),
            _ => Err(std::io::Error::other("something else comes back")),
        }
    };
    echo.await.map_err(|cause| ConnectError::Handshake { place: "echo".to_owned(), cause })
}

#[tokio::test]
async fn row_47_a_process_is_known_by_authority_and_name_whatever_its_address() {
    let ca = authority();
    let ours = Files::new(&issue(&ca, &[PROCESS]), &ca.pem()).tls().await;
    let (address, seen) = serving(&ours, Protocol::Grpc).await;
    dialled(ours.connector(), "127.0.0.1", address.port()).await.unwrap();
    assert!(seen.await.unwrap().unwrap());

    // A certificate of the same authority without the name is a user's.
    let user = Files::new(&issue(&ca, &["ana"]), &ca.pem()).tls().await;
    let (address, seen) = serving(&ours, Protocol::Grpc).await;
    dialled(user.connector(), "127.0.0.1", address.port()).await.unwrap();
    assert!(!seen.await.unwrap().unwrap());
    // And no process is taken in by it.
    let (address, seen) = serving(&user, Protocol::Grpc).await;
    let error = dialled(ours.connector(), "127.0.0.1", address.port()).await.unwrap_err();
    assert!(handshake_failure(&error).is_some(), "{error}");
    assert!(seen.await.unwrap().is_err());

    // Nor by one of another authority, in neither direction.
    let other = authority();
    let theirs = Files::new(&issue(&other, &[PROCESS]), &ca.pem()).tls().await;
    for (server, client) in [(&ours, &theirs), (&theirs, &ours)] {
        let (address, seen) = serving(server, Protocol::Grpc).await;
        assert!(dialled(client.connector(), "127.0.0.1", address.port()).await.is_err());
        assert!(seen.await.unwrap().is_err());
    }
    assert_eq!(ours.failed_handshakes().unwrap()[0], ("grpc", 1));
    assert!(ours.metrics().contains("polarway_tls_handshakes_failed_total{protocol=\"grpc\"} 1\n"));
}

#[tokio::test]
async fn row_47_users_know_a_server_by_its_host_and_are_shown_what_they_trust() {
    let (ca, public_ca) = (authority(), authority());
    let mut files = Files::new(&issue(&ca, &[PROCESS]), &ca.pem());
    let (certificate, key) = issue(&public_ca, &["localhost"]);
    files.write("public.pem", &certificate);
    files.write("public-key.pem", &key);
    files.write("public-ca.pem", &public_ca.pem());
    files.config.public_certificate = Some(files.path("public.pem"));
    files.config.public_key = Some(files.path("public-key.pem"));
    let tls = files.tls().await;
    let trust = Trust::of_file(&files.path("public-ca.pem")).unwrap();
    let (address, seen) = serving(&tls, Protocol::Grpc).await;
    dialled(Connector::trusting(&trust), "localhost", address.port()).await.unwrap();
    assert!(!seen.await.unwrap().unwrap(), "a user is no process");
    // Processes are shown theirs.
    let (address, seen) = serving(&tls, Protocol::Grpc).await;
    dialled(tls.connector(), "127.0.0.1", address.port()).await.unwrap();
    assert!(seen.await.unwrap().unwrap());
    // One that it does not trust.
    let (address, seen) = serving(&tls, Protocol::Grpc).await;
    let wrong = Trust::of_file(&files.path("ca.pem")).unwrap();
    let error = dialled(Connector::trusting(&wrong), "localhost", address.port()).await.unwrap_err();
    assert!(handshake_failure(&error).unwrap().contains("certificate"), "{error}");
    assert!(seen.await.unwrap().is_err());
    // Another name.
    let (address, seen) = serving(&tls, Protocol::Grpc).await;
    let error = dialled(Connector::trusting(&trust), "127.0.0.1", address.port()).await.unwrap_err();
    assert!(handshake_failure(&error).unwrap().contains("name"), "{error}");
    assert!(seen.await.unwrap().is_err());
}

#[tokio::test]
async fn row_47_neither_side_speaks_plainly_to_the_other() {
    let ca = authority();
    let files = Files::new(&issue(&ca, &[PROCESS, "127.0.0.1"]), &ca.pem());
    let tls = files.tls().await;
    let (address, seen) = serving(&tls, Protocol::Http).await;
    assert!(dialled(Connector::plain(), "127.0.0.1", address.port()).await.is_err());
    assert!(seen.await.unwrap().is_err());

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let plain = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut socket = Tls::default().accept(socket, Protocol::Grpc).await.unwrap().unwrap_err();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let trust = Trust::of_file(&files.path("ca.pem")).unwrap();
    let error = dialled(Connector::trusting(&trust), "127.0.0.1", port).await.unwrap_err();
    assert!(handshake_failure(&error).unwrap().contains("does not speak TLS"), "{error}");
    plain.await.unwrap();
}

#[tokio::test]
async fn row_47_files_are_replaced_as_a_whole_and_open_connections_stay() {
    let (old_ca, new_ca) = (authority(), authority());
    let files = Files::new(&issue(&old_ca, &[PROCESS]), &old_ca.pem());
    let tls = files.tls().await;
    let old = Files::new(&issue(&old_ca, &[PROCESS]), &old_ca.pem()).tls().await;
    let new = Files::new(&issue(&new_ca, &[PROCESS]), &new_ca.pem()).tls().await;
    let stop = CancellationToken::new();
    let following = tokio::spawn(tls.clone().follow(stop.clone()));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (accepting, open) = (tls.clone(), old.connector());
    let serving = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let tls = accepting.clone();
            tokio::spawn(async move {
                let mut accepted = tls.accept(socket, Protocol::Grpc).await.ok()?.ok()?;
                let mut bytes = [0; 4];
                while accepted.stream.read_exact(&mut bytes).await.is_ok() {
                    accepted.stream.write_all(&bytes).await.ok()?;
                    accepted.stream.flush().await.ok()?;
                }
                Some(())
            });
        }
    });
    let uri = format!("http://127.0.0.1:{port}").parse().unwrap();
    let mut before = open.oneshot(uri).await.unwrap().into_inner();

    // Half of a new pair changes nothing.
    let (certificate, key) = issue(&new_ca, &[PROCESS]);
    files.write("certificate.pem", &certificate);
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    dialled(old.connector(), "127.0.0.1", port).await.unwrap();
    files.write("key.pem", &key);
    files.write("ca.pem", &new_ca.pem());
    while dialled(new.connector(), "127.0.0.1", port).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(dialled(old.connector(), "127.0.0.1", port).await.is_err());
    let mut bytes = [0; 4];
    before.write_all(b"more").await.unwrap();
    before.flush().await.unwrap();
    before.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"more");
    stop.cancel();
    following.await.unwrap().unwrap();
    serving.abort();
}

/// What tonic connects by itself trusts who is trusted then, and does not wait for who says nothing.
#[tokio::test]
async fn row_47_what_others_dial_follows_the_files_and_ends() {
    let (old, new) = (authority(), authority());
    let files = Files::new(&issue(&old, &[PROCESS]), &old.pem());
    let tls = files.tls().await;
    let dial = |address: SocketAddr| {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
        tls.on_endpoint(endpoint).unwrap()
    };
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    assert!(dial(mute.local_addr().unwrap()).connect().await.is_err());

    let both = format!("{}{}", old.pem(), new.pem());
    let theirs = Files::new(&issue(&new, &[PROCESS]), &both).tls().await;
    let (address, seen) = serving(&theirs, Protocol::Grpc).await;
    let endpoint = dial(address);
    assert!(endpoint.connect().await.is_err());
    assert!(seen.await.unwrap().is_err());
    let stop = CancellationToken::new();
    let following = tokio::spawn(tls.clone().follow(stop.clone()));
    files.write("ca.pem", &both);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = dial(listener.local_addr().unwrap());
    let accepting = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            if let Ok(Ok(accepted)) = theirs.accept(socket, Protocol::Grpc).await {
                return accepted;
            }
        }
    });
    while endpoint.connect().await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(accepting.await.unwrap().by_process);
    stop.cancel();
    following.await.unwrap().unwrap();
}

#[tokio::test]
async fn row_47_what_does_not_fit_is_named() {
    let ca = authority();
    let (certificate, key) = issue(&ca, &[PROCESS]);
    let (_, other_key) = issue(&ca, &[PROCESS]);
    for (name, text, named) in [
        ("key.pem", other_key.as_str(), "`tls.key`"),
        ("key.pem", "", "`tls.key`"),
        ("certificate.pem", "no certificate", "`tls.certificate`"),
        ("ca.pem", key.as_str(), "`tls.ca`"),
    ] {
        let files = Files::new(&(certificate.clone(), key.clone()), &ca.pem());
        files.write(name, text);
        let error = Tls::load(&files.config).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Configuration);
        assert!(error.message.contains(named) && error.message.contains(name), "{error}");
        assert!(!error.message.contains("PRIVATE"), "{error}");
    }
    // What other processes would not take.
    let other = authority();
    for shown in [issue(&other, &[PROCESS]), issue(&ca, &["another-name"])] {
        let error = Tls::load(&Files::new(&shown, &ca.pem()).config).await.unwrap_err();
        assert!(error.message.contains("`tls.certificate`"), "{error}");
    }
    let files = Files::new(&(certificate, key), &ca.pem());
    std::fs::remove_file(files.path("ca.pem")).unwrap();
    assert!(Tls::load(&files.config).await.unwrap_err().message.contains("`tls.ca`"));
    assert!(Trust::of_file(Path::new("/nowhere")).unwrap_err().message.contains("/nowhere"));
    assert!(!Tls::load(&TlsConfig::default()).await.unwrap().is_on());
}

#[tokio::test]
async fn row_47_a_client_s_files_count_as_they_are_when_it_dials() {
    let (first, second) = (authority(), authority());
    let files = Files::new(&issue(&first, &["127.0.0.1"]), &first.pem());
    let server = |authority: &Authority| Files::new(&issue(authority, &["127.0.0.1"]), &authority.pem());
    let open = ClientFiles::open(Some(("metastore.ca", files.path("ca.pem"))), None).unwrap();
    let connector = Connector::of_files(open);
    let (address, seen) = serving(&server(&first).tls().await, Protocol::Grpc).await;
    dialled(connector.clone(), "127.0.0.1", address.port()).await.unwrap();
    seen.await.unwrap().unwrap();
    files.write("ca.pem", &second.pem());
    let (address, seen) = serving(&server(&second).tls().await, Protocol::Grpc).await;
    dialled(connector.clone(), "127.0.0.1", address.port()).await.unwrap();
    seen.await.unwrap().unwrap();
    // What cannot be read leaves what was there.
    files.write("ca.pem", "");
    let (address, seen) = serving(&server(&second).tls().await, Protocol::Grpc).await;
    dialled(connector, "127.0.0.1", address.port()).await.unwrap();
    seen.await.unwrap().unwrap();
}
