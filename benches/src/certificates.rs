//! Certificates for our processes: an authority made for the run, and one certificate of it.

use std::fs;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

use crate::failure::{Context, Result};

/// What processes look for in each other's certificates, and where clients dial.
const NAMES: [&str; 3] = ["polarway-process", "localhost", "127.0.0.1"];

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";
const CA: &str = "ca.pem";

/// The files, in a directory that goes with this value.
#[derive(Debug)]
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// Makes an authority, a certificate that is good for a process on this machine, and its key.
    ///
    /// # Errors
    /// They cannot be made or written.
    pub fn make() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "authority of a benchmark");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let mut params = CertificateParams::new(NAMES.map(str::to_owned).to_vec())?;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2100, 1, 1);
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &authority)?;
        let directory = tempfile::tempdir().context(|| "making a directory for certificates")?;
        let made = Self { directory };
        for (name, text) in
            [(CERTIFICATE, certificate.pem()), (KEY, key.serialize_pem()), (CA, authority.pem())]
        {
            fs::write(made.path(name), text).context(|| format!("writing {name}"))?;
        }
        Ok(made)
    }

    /// Settings of a process that shows and trusts them.
    pub fn settings(&self) -> Vec<String> {
        let files = [("tls.certificate", CERTIFICATE), ("tls.key", KEY), ("tls.ca", CA)];
        files.map(|(key, name)| format!("{key}={}", self.path(name).display())).to_vec()
    }

    /// The file with the authority, for clients.
    pub fn ca(&self) -> PathBuf {
        self.path(CA)
    }

    #[cfg(test)]
    pub(crate) fn shown(&self) -> [PathBuf; 2] {
        [CERTIFICATE, KEY].map(|name| self.path(name))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_files_that_go_with_the_value() {
        let certificates = Certificates::make().unwrap();
        let settings = certificates.settings();
        let files: Vec<(&str, PathBuf)> = settings
            .iter()
            .filter_map(|setting| setting.split_once('='))
            .map(|(key, path)| (key, path.into()))
            .collect();
        assert_eq!(
            files.iter().map(|(key, _)| *key).collect::<Vec<_>>(),
            ["tls.certificate", "tls.key", "tls.ca"]
        );
        assert!(files.iter().all(|(_, path)| fs::read_to_string(path).unwrap().starts_with("-----BEGIN ")));
        drop(certificates);
        assert!(files.iter().all(|(_, path)| !path.exists()));
    }
}
