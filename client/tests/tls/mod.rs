//! What a client with TLS makes of a server without.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use polarway_client::{Client, ClientOptions, SessionId, Token};
use polarway_common::ErrorKind;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::support::FakeServer;

/// A file with an authority, which goes with this value.
struct Authority(PathBuf);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = Self(std::env::temp_dir().join(format!("polarway-ca-{}.pem", SessionId::random())));
        std::fs::write(&file.0, issuer.pem()).unwrap();
        file
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn row_47_a_client_with_tls_tells_a_server_without_nothing_and_does_not_try_for_long() {
    let server = FakeServer::start().await;
    let authority = Authority::new();
    let address = format!("https://{}", server.address);
    let options = ClientOptions {
        token: Some(Token::new("one").unwrap()),
        tls_ca: Some(authority.0.clone()),
        ..ClientOptions::to(address.parse().unwrap())
    };
    let began = Instant::now();
    let Err(error) = Client::connect(options).await else { panic!("connected") };
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!((error.kind, error.is_retryable()), (ErrorKind::Configuration, false), "{error}");
    assert!(error.message.contains(&address), "{error}");
    assert!(error.hint.unwrap().contains("http://"));
    assert!(server.seen.authorizations.lock().unwrap().is_empty());
}
