//! Whom a feed trusts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::support::{Server, Setup, numbers, upgrade};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

fn issuer() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Serves `localhost` with a certificate of the issuer.
async fn serve(issuer: &CertifiedIssuer<'static, KeyPair>) -> Server {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Server::start(move |_, stream, heard| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let mut peer = upgrade(stream, &heard).await;
            peer.send(r#"{"n":1}"#).await;
            peer.stay().await;
        }
    })
    .await
}

fn setup(server: &Server, host: &str, certificates: Option<&Path>) -> Setup {
    let mut setup = Setup::new(server, numbers());
    setup.url = format!("wss://{host}:{}/feed", server.port);
    setup.policy.allowed = vec![format!("wss://{host}:{}/", server.port)];
    setup.policy.certificates = certificates.map(Path::to_path_buf);
    setup
}

#[tokio::test]
async fn a_given_authority_is_trusted_for_its_names_and_no_other_authority_is() {
    let (ours, other) = (issuer(), issuer());
    let server = serve(&ours).await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ours.pem"), ours.pem()).unwrap();
    std::fs::write(directory.path().join("other.pem"), other.pem()).unwrap();
    std::fs::write(directory.path().join("empty.pem"), "").unwrap();
    let path = Some(directory.path());

    let feed = setup(&server, "localhost", path).run(&[("ca", "ours.pem")]);
    feed.sink.until("a row over TLS", |sink| sink.rows() == 1).await;
    feed.stop().await;

    for (host, path, options, why) in [
        ("localhost", path, &[("ca", "other.pem")][..], "invalid peer certificate"),
        ("localhost", path, &[("ca", "missing.pem")], "`missing.pem` cannot be read"),
        ("localhost", path, &[("ca", "empty.pem")], "it holds none"),
        ("localhost", None, &[("ca", "ours.pem")], "no directory is configured"),
        // The system does not know our authority.
        ("localhost", path, &[], ""),
        // The certificate is for another name.
        ("127.0.0.1", path, &[("ca", "ours.pem")], "not valid for name"),
    ] {
        let feed = setup(&server, host, path).run(options);
        feed.sink.until("some dials", |_| feed.status.dials.load(Relaxed) >= 3).await;
        assert_eq!((feed.status.connects.load(Relaxed), feed.sink.rows()), (0, 0), "{host} {options:?}");
        let error = feed.status.snapshot().last_error.unwrap_or_default();
        assert!(error.contains(why), "{error}");
        feed.stop().await;
    }
    assert_eq!(server.heard.lock().requests.len(), 1, "nothing is said to who is not trusted");
}
