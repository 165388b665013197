//! An S3 server of one's own authority.

use std::net::SocketAddr;
use std::sync::Arc;

use polarway_tests::Setup;
use polarway_tests::pki::Pki;
use polarway_tests::s3::S3Server;
use rustls::ServerConfig;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Speaks TLS to those that connect, and passes on what they say to `server`; to the end of the test.
async fn encrypted(pki: &Pki, server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pki.leaf.certificate().clone()], pki.leaf.private_key())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((caller, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Who does not trust the certificate goes.
                let mut caller = acceptor.accept(caller).await.ok()?;
                let mut server = TcpStream::connect(server).await.ok()?;
                copy_bidirectional(&mut caller, &mut server).await.ok()
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_an_s3_server_is_known_by_the_authority_that_is_named() {
    let (s3, pki) = (S3Server::start().await, Pki::make());
    let directory = s3.bucket("lake").join("t");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("a.csv"), "n\n1\n2\n").unwrap();
    let endpoint = format!("https://{}", encrypted(&pki, s3.address).await);
    let setup = || {
        let setup = s3.configure(Setup::up().allow("s3://lake/t"));
        setup.env("POLARWAY_STORAGE__S3__ENDPOINT", &endpoint)
    };
    let sql = "SELECT sum(n) FROM 's3://lake/t/a.csv'";
    let trusting = setup().env("POLARWAY_STORAGE__S3__CA", pki.ca().display().to_string()).start().await;
    assert_eq!(trusting.session().await.value(sql).await, "3");
    assert!(!s3.take_requests().is_empty());
    // Requests are made again for a while.
    let others = setup().set("query.timeout", "10s").start().await;
    assert!(others.session().await.query(sql).await.is_err());
    assert!(s3.take_requests().is_empty());
}
