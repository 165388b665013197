//! Who we are to etcd, and how we know that it is etcd.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use etcd_client::Permission;
use polarway_common::config::Secret;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use super::*;

const ROOT: &str = "root-password";
const OURS: &str = "our-password";

/// etcd with a user who may use our prefix and nothing else.
async fn guarded(flags: Options) -> Cluster {
    let cluster = Cluster::start_with(1, flags).await;
    let mut client = cluster.members[0].client().await;
    client.role_add("root").await.unwrap();
    client.user_add("root", ROOT, None).await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.role_add("polarway").await.unwrap();
    let ours = Permission::read_write("polarway/").with_prefix();
    client.role_grant_permission("polarway", ours).await.unwrap();
    client.user_add("polarway", OURS, None).await.unwrap();
    client.user_grant_role("polarway", "polarway").await.unwrap();
    client.auth_enable().await.unwrap();
    cluster
}

fn as_user(cluster: &Cluster, password: Password) -> EtcdConfig {
    let credentials = Some(Credentials { user: "polarway".into(), password });
    let patience = Patience { deadline: PATIENCE, retry_for: PATIENCE / 2 };
    EtcdConfig { credentials, patience, ..config(&cluster.urls()) }
}

fn text(password: &str) -> Password {
    Password::Text(Secret::new(password))
}

fn is_refused<T>(result: Result<T>) {
    let error = result.err().unwrap();
    assert!(matches!(error, MetaStoreError::NotAllowed { .. }) && !error.is_retryable(), "{error:?}");
    let told = format!("{error} {error:?}");
    assert!(!told.contains(OURS) && !told.contains("wrong-password"), "{told}");
}

#[tokio::test]
async fn a_user_may_use_its_prefix_and_nothing_else() {
    let cluster = guarded(Options::default()).await;
    let ours = as_user(&cluster, text(OURS));
    let store = EtcdMetaStore::connect(&ours).await.unwrap();
    let mut events = store.watch("", store.revision().await.unwrap()).await.unwrap();
    let lease = store.grant(PATIENCE).await.unwrap().id;
    store.txn(Txn::new().expect("a", Expect::Absent).put_leased("a", "1", lease)).await.unwrap();
    store.keep_alive(lease).await.unwrap();
    assert_eq!(store.list("").await.unwrap().entries.len(), 1);
    assert_eq!(next(&mut events).await.unwrap().unwrap().key, "a");
    store.revoke(lease).await.unwrap();
    assert_eq!(next(&mut events).await.unwrap().unwrap().kind, EventKind::Delete);

    is_refused(EtcdMetaStore::connect(&EtcdConfig { prefix: "others/".into(), ..ours.clone() }).await);
    let theirs = EtcdConfig { prefix: "others/".into(), ..ours };
    let theirs = EtcdMetaStore { connection: Arc::new(Connection::new(&theirs).unwrap()) };
    is_refused(theirs.txn(Txn::new().put("a", "1")).await);
    is_refused(theirs.list("").await);
    is_refused(theirs.watch("", 1).await);
}

#[tokio::test]
async fn who_is_nobody_to_etcd_is_refused() {
    let cluster = guarded(Options::default()).await;
    is_refused(EtcdMetaStore::connect(&as_user(&cluster, text("wrong-password"))).await);
    is_refused(EtcdMetaStore::connect(&config(&cluster.urls())).await);
    let missing = Password::File(cluster.path().join("nothing here"));
    let error = EtcdMetaStore::connect(&as_user(&cluster, missing)).await.unwrap_err();
    assert!(matches!(error, MetaStoreError::InvalidConfig { .. }), "{error}");
    assert!(error.to_string().contains("nothing here"), "{error}");

    let open = Cluster::start(1).await;
    is_refused(EtcdMetaStore::connect(&as_user(&open, text(OURS))).await);
}

#[tokio::test]
async fn a_login_that_etcd_has_forgotten_is_made_anew() {
    let cluster = guarded(Options::flags(["--auth-token-ttl", "1"])).await;
    let store = EtcdMetaStore::connect(&as_user(&cluster, text(OURS))).await.unwrap();
    let revision = put(&store, "a", "1").await;
    let asleep = Instant::now();
    while asleep.elapsed() < Duration::from_secs(4) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut events = store.watch("", revision).await.unwrap();
    put(&store, "a", "2").await;
    assert_eq!(next(&mut events).await.unwrap().unwrap().key, "a");
}

#[tokio::test]
async fn a_password_that_changed_in_its_file_is_read_again() {
    let cluster = guarded(Options::default()).await;
    let file = cluster.path().join("password");
    fs::write(&file, format!("{OURS}\n")).unwrap();
    let store = EtcdMetaStore::connect(&as_user(&cluster, Password::File(file.clone()))).await.unwrap();
    put(&store, "a", "1").await;
    // This ends all logins of the user.
    let root = etcd_client::ConnectOptions::new().with_user("root", ROOT);
    let mut root = etcd_client::Client::connect(cluster.urls(), Some(root)).await.unwrap();
    root.user_change_password("polarway", "changed").await.unwrap();
    fs::write(&file, "changed").unwrap();
    let mut refused = 0;
    while let Err(error) = store.txn(Txn::new().put("a", "2")).await {
        assert!(matches!(error, MetaStoreError::NotAllowed { .. }), "{error}");
        refused += 1;
        assert!(refused < 3, "the password is not read again");
    }
}

/// Certificates of a test's own authority, in files.
struct Certificates {
    directory: PathBuf,
}

impl Certificates {
    fn make(directory: &Path) -> Self {
        let mut authority = CertificateParams::new(vec![]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
        for name in ["server", "client"] {
            let mut params =
                CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &authority).unwrap();
            fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
            fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Self { directory: directory.to_owned() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

#[tokio::test]
async fn etcd_and_its_client_prove_who_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(directory.path());
    let path = |name: &str| certificates.path(name).display().to_string();
    let flags = [
        ["--cert-file".to_owned(), path("server.pem")],
        ["--key-file".to_owned(), path("server.key")],
        ["--trusted-ca-file".to_owned(), path("ca.pem")],
    ];
    let mut flags: Vec<_> = flags.into_iter().flatten().collect();
    flags.push("--client-cert-auth".to_owned());
    let cluster = Cluster::start_with(1, Options { flags, https: true }).await;
    let brief = Patience { deadline: Duration::from_secs(10), retry_for: Duration::from_millis(100) };
    let config = EtcdConfig { patience: brief, ..config(&cluster.urls()) };
    let pem = |name: &str| Some(certificates.path(name));

    let tls = TlsFiles { ca: pem("ca.pem"), certificate: pem("client.pem"), key: pem("client.key") };
    let store = EtcdMetaStore::connect(&EtcdConfig { tls: tls.clone(), ..config.clone() }).await.unwrap();
    put(&store, "a", "1").await;

    let anonymous = TlsFiles { certificate: None, key: None, ..tls.clone() };
    let foreign = TlsFiles { ca: None, ..tls.clone() };
    for tls in [anonymous, foreign] {
        let error = EtcdMetaStore::connect(&EtcdConfig { tls, ..config.clone() }).await.unwrap_err();
        assert!(matches!(error, MetaStoreError::Unavailable { .. }), "{error}");
    }
    let missing = TlsFiles { ca: pem("nothing here"), ..tls };
    let error = EtcdMetaStore::connect(&EtcdConfig { tls: missing, ..config }).await.unwrap_err();
    assert!(matches!(error, MetaStoreError::InvalidConfig { .. }), "{error}");
}
