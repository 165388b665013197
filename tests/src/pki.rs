//! Certificates of a test's own authorities, in files as processes read them.

use std::ops::Range;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use crate::cluster::Setup;

/// What processes look for in each other's certificates unless they are told another name.
pub const PROCESS_NAME: &str = "polarway-process";
/// The names of a process of a test: what other processes look for, and where users dial it.
pub const NAMES: [&str; 3] = [PROCESS_NAME, "localhost", "127.0.0.1"];
/// The years in which a certificate is good; the second is the first in which it is not.
const VALID: Range<i32> = 2020..2100;

/// Somebody who issues certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct Leaf {
    certificate: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

/// What a process shows and whom it trusts, in three files of a directory of their own.
pub struct Material {
    directory: TempDir,
}

/// An authority, a certificate of it that is good for all processes of a test, and both in files.
pub struct Pki {
    pub authority: Authority,
    pub leaf: Leaf,
    pub material: Material,
}

impl Authority {
    pub fn make(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Python asks for it.
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub fn certificate(&self) -> &CertificateDer<'static> {
        self.issuer.der()
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for DNS names and addresses, to show as server and as client.
    pub fn issue(&self, names: &[&str]) -> Leaf {
        self.issue_for(names, VALID)
    }

    /// One that was good for some years and is not any more.
    pub fn issue_expired(&self, names: &[&str]) -> Leaf {
        self.issue_for(names, 2020..2021)
    }

    /// The same for the given years.
    pub fn issue_for(&self, names: &[&str], years: Range<i32>) -> Leaf {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(years.start, 1, 1);
        params.not_after = date_time_ymd(years.end, 1, 1);
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { certificate: certificate.der().clone(), pem: certificate.pem(), key }
    }
}

impl Leaf {
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }

    /// Whether a text shows the key, or a line of it.
    pub fn is_shown_in(&self, text: &str) -> bool {
        let pem = self.key.serialize_pem();
        pem.lines().filter(|line| !line.trim().is_empty()).any(|line| text.contains(line.trim()))
    }
}

impl Material {
    pub fn write(leaf: &Leaf, trusted: &[&Authority]) -> Self {
        let material = Self { directory: TempDir::new().unwrap() };
        material.show(leaf);
        material.trust(trusted);
        material
    }

    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Puts another certificate and its key in place of what is there: one file after the other, as it is done.
    pub fn show(&self, leaf: &Leaf) {
        self.show_certificate(leaf);
        self.show_key(leaf);
    }

    /// Only the certificate: until its key comes, the two do not fit each other.
    pub fn show_certificate(&self, leaf: &Leaf) {
        replace(&self.certificate(), &leaf.pem);
    }

    pub fn show_key(&self, leaf: &Leaf) {
        replace(&self.key(), &leaf.key.serialize_pem());
    }

    /// Trusts these and nobody else.
    pub fn trust(&self, authorities: &[&Authority]) {
        replace(&self.ca(), &authorities.iter().map(|authority| authority.pem()).collect::<String>());
    }

    /// All processes of `setup` show and trust what is in the files.
    #[must_use]
    pub fn on(&self, setup: Setup) -> Setup {
        setup
            .set("tls.certificate", self.certificate().display())
            .set("tls.key", self.key().display())
            .set("tls.ca", self.ca().display())
    }

    /// The same by the environment.
    #[must_use]
    pub fn in_environment(&self, setup: Setup) -> Setup {
        setup
            .env("POLARWAY_TLS__CERTIFICATE", self.certificate().display())
            .env("POLARWAY_TLS__KEY", self.key().display())
            .env("POLARWAY_TLS__CA", self.ca().display())
    }

    /// Users are shown what is in these files, and processes what is in others.
    #[must_use]
    pub fn for_users(&self, setup: Setup) -> Setup {
        setup
            .set("tls.public_certificate", self.certificate().display())
            .set("tls.public_key", self.key().display())
    }
}

impl Pki {
    pub fn make() -> Self {
        let authority = Authority::make("authority of a test");
        let leaf = authority.issue(&NAMES);
        let material = Material::write(&leaf, &[&authority]);
        Self { authority, leaf, material }
    }

    /// The file with the authority, for users.
    pub fn ca(&self) -> PathBuf {
        self.material.ca()
    }
}

/// As a file that is swapped: nobody reads half of it.
fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, path).unwrap();
}
