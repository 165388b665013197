//! `[tls]` that cannot work: it is told by key and path before anybody listens.

use std::net::TcpListener;
use std::path::Path;

use polarway_tests::pki::{Material, NAMES, Pki};
use polarway_tests::process::command;
use tempfile::TempDir;

use crate::tls::output;

/// Everything that holds certificates and has an address of its own.
const ROLES: [&[&str]; 4] = [&["up"], &["scheduler"], &["executor"], &["executor", "--role", "ingest"]];

/// Keys of the configuration with their files.
type Files<'a> = [(&'static str, &'a Path); 5];

fn all<'a>(certificate: &'a Path, key: &'a Path, ca: &'a Path) -> Files<'a> {
    [
        ("tls.certificate", certificate),
        ("tls.key", key),
        ("tls.ca", ca),
        ("tls.public_certificate", certificate),
        ("tls.public_key", key),
    ]
}

/// The same with another file for one key.
fn with<'a>(mut files: Files<'a>, wrong: &str, path: &'a Path) -> Files<'a> {
    for file in files.iter_mut().filter(|(key, _)| *key == wrong) {
        file.1 = path;
    }
    files
}

/// Starts a process whose addresses are somebody else's, so that it would tell if it had tried to listen; gives what it tells
/// instead of starting.
async fn told(role: &[&str], settings: &[(&str, &Path)]) -> String {
    let taken = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [grpc, http, ws] = taken.each_ref().map(|listener| listener.local_addr().unwrap().to_string());
    let data = TempDir::new().unwrap();
    let mut arguments: Vec<String> = role.iter().map(|&text| text.to_owned()).collect();
    arguments.extend(["--listen".into(), grpc, "--http-listen".into(), http]);
    arguments.extend(["--data-dir".into(), data.path().display().to_string()]);
    arguments.extend(["--set".into(), format!("ingest.listen={ws}")]);
    for (key, path) in settings {
        arguments.extend(["--set".into(), format!("{key}={}", path.display())]);
    }
    let (status, told) = output(command(&arguments, &[])).await;
    assert_eq!(status, Some(1), "{role:?} {settings:?}: {told}");
    told
}

fn is_told_of(told: &str, key: &str) {
    assert!(told.contains(&format!("`{key}`")), "{key}: {told}");
    assert!(!told.contains("cannot listen"), "it was tried to listen before: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_half_of_tls_is_refused() {
    let pki = Pki::make();
    let (certificate, key, ca) = (pki.material.certificate(), pki.material.key(), pki.ca());
    let all = all(&certificate, &key, &ca);
    for bits in 1..1_usize << all.len() {
        let is_set = |index: usize| bits & (1 << index) != 0;
        let settings: Vec<_> =
            (0..all.len()).filter(|&index| is_set(index)).map(|index| all[index]).collect();
        let (of_processes, of_users) = (bits & 0b111, bits >> 3);
        let missing = match (of_processes, of_users) {
            (0b111, 0 | 0b11) => continue,
            (0 | 0b111, _) => "tls.public_certificate",
            _ => "tls.certificate",
        };
        is_told_of(&told(&["up"], &settings).await, missing);
    }
    for role in ROLES {
        is_told_of(&told(role, &all[..2]).await, "tls.ca");
    }
    // With all of it, and only then, the address is what is wrong.
    for role in ROLES {
        for settings in [&all[..3], &all[..], &[]] {
            let told = told(role, settings).await;
            assert!(told.contains("cannot listen"), "{role:?}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_files_that_cannot_be_used_are_refused() {
    let (pki, directory) = (Pki::make(), TempDir::new().unwrap());
    let another = Material::write(&pki.authority.issue(&NAMES), &[&pki.authority]);
    let (right, empty, nonsense) =
        (pki.ca(), directory.path().join("empty.pem"), directory.path().join("nonsense.pem"));
    std::fs::write(&empty, "").unwrap();
    std::fs::write(&nonsense, "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n").unwrap();
    let missing = directory.path().join("nothing-here.pem");
    let (certificate, key) = (pki.material.certificate(), pki.material.key());
    let given = all(&certificate, &key, &right);
    for (wrong, _) in given {
        for path in [missing.as_path(), &empty, &nonsense, directory.path()] {
            let told = told(&["up"], &with(given, wrong, path)).await;
            is_told_of(&told, wrong);
            assert!(told.contains(path.to_str().unwrap()), "{told}");
        }
    }
    // A key of another certificate, and none of an authority.
    let anothers = another.key();
    for wrong in ["tls.key", "tls.public_key"] {
        let told = told(&["up"], &with(given, wrong, &anothers)).await;
        is_told_of(&told, wrong);
        assert!(told.contains(anothers.to_str().unwrap()) && told.contains("does not fit"), "{told}");
    }
    is_told_of(&told(&["up"], &with(given, "tls.ca", &key)).await, "tls.ca");
    for role in ROLES {
        is_told_of(&told(role, &with(given, "tls.key", &anothers)).await, "tls.key");
        is_told_of(&told(role, &with(given, "tls.ca", &missing)).await, "tls.ca");
    }
    // A name that nobody can have.
    let mut settings = given.to_vec();
    settings.push(("tls.process_name", Path::new("10.0.0.1")));
    is_told_of(&told(&["up"], &settings).await, "tls.process_name");
}
