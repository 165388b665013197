//! Object stores as they are, without policy.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::HttpConnector;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::multipart::MultipartStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use polarway_common::config::S3Config;
use polarway_common::error::root_cause;
use polarway_common::{Error, ErrorKind};
use reqwest::Certificate;
use url::{Position, Url};

use crate::http::NoRedirects;
use crate::traced::Traced;
use crate::writes::WritableStore;

/// The store that `url` is in. For places that configuration names; what a statement names goes through
/// [`PolicyRegistry`](crate::registry::PolicyRegistry).
///
/// # Errors
/// `Configuration` when it cannot be set up, `Unsupported` for another scheme.
pub fn plain_store(url: &Url, s3: &S3Config) -> Result<Arc<dyn ObjectStore>, Error> {
    store_that_retries(url, s3, RetryConfig::default())
}

/// As [`plain_store`], for callers that decide themselves how often a request is sent again.
pub(crate) fn store_that_retries(
    url: &Url,
    s3: &S3Config,
    retry: RetryConfig,
) -> Result<Arc<dyn ObjectStore>, Error> {
    Ok(opened(url, s3, retry)?.0)
}

/// The store that `url` is in, to write to.
///
/// # Errors
/// As [`plain_store`]; `Unsupported` for one that cannot be written to.
pub(crate) fn writable_store(url: &Url, s3: &S3Config) -> Result<WritableStore, Error> {
    let (plain, multipart) = opened(url, s3, RetryConfig::default())?;
    if multipart.is_none() && url.scheme() != "file" {
        let told = format!("nothing can be written to `{}://`", url.scheme());
        return Err(Error::new(ErrorKind::Unsupported, told).with_hint("use a path, s3://, gs:// or az://"));
    }
    Ok(WritableStore { plain, multipart })
}

type Opened = (Arc<dyn ObjectStore>, Option<Arc<dyn MultipartStore>>);

/// A store, and the same as one whose uploads are completed in a step of its own.
fn opened(url: &Url, s3: &S3Config, retry: RetryConfig) -> Result<Opened, Error> {
    let fault = |error: object_store::Error| {
        Error::new(
            ErrorKind::Configuration,
            format!("cannot set up the store for `{}`: {error}", &url[..Position::BeforePath]),
        )
    };
    fn both<S: ObjectStore + MultipartStore>(store: S, url: &Url) -> Opened {
        let store = Arc::new(Traced::new(store, url));
        (Arc::clone(&store) as _, Some(store as _))
    }
    Ok(match url.scheme() {
        // What a disk does is no request.
        "file" => (Arc::new(LocalFileSystem::new()), None),
        "s3" | "s3a" => both(s3_builder(url, s3)?.with_retry(retry).build().map_err(fault)?, url),
        "gs" => {
            let builder = GoogleCloudStorageBuilder::from_env().with_url(url.as_str());
            let builder = builder.with_retry(retry).with_http_connector(NoRedirects::default());
            both(builder.build().map_err(fault)?, url)
        }
        "az" | "abfs" | "abfss" | "adl" => {
            let builder = MicrosoftAzureBuilder::from_env().with_url(url.as_str());
            let builder = builder.with_retry(retry).with_http_connector(NoRedirects::default());
            both(builder.build().map_err(fault)?, url)
        }
        "https" => {
            let builder = HttpBuilder::new().with_url(&url[..Position::BeforePath]);
            let builder = builder.with_retry(retry).with_http_connector(NoRedirects::default());
            (Arc::new(Traced::new(builder.build().map_err(fault)?, url)), None)
        }
        other => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("no object store for scheme `{other}://`"),
            )
            .with_hint("use a path, s3://, gs://, az:// or https://"));
        }
    })
}

/// Environment (`AWS_*`) first, then what `[storage.s3]` says.
fn s3_builder(url: &Url, s3: &S3Config) -> Result<AmazonS3Builder, Error> {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(url.host_str().unwrap_or_default());
    if let Some(endpoint) = &s3.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &s3.region {
        builder = builder.with_region(region);
    }
    if let Some(key) = &s3.access_key_id {
        builder = builder.with_access_key_id(key);
    }
    if let Some(secret) = &s3.secret_access_key {
        builder = builder.with_secret_access_key(secret.expose());
    }
    if let Some(token) = &s3.session_token {
        builder = builder.with_token(token.expose());
    }
    if s3.allow_http {
        builder = builder.with_allow_http(true);
    }
    let authorities = s3.ca.as_deref().map(authorities).transpose()?.unwrap_or_default();
    let connector = NoRedirects { authorities };
    Ok(builder.with_virtual_hosted_style_request(s3.virtual_hosted).with_http_connector(connector))
}

/// The certificates in the file that `storage.s3.ca` names.
fn authorities(path: &Path) -> Result<Vec<Certificate>, Error> {
    let fault = |cause: String| {
        Error::new(
            ErrorKind::Configuration,
            format!("the authorities `storage.s3.ca` ({}): {cause}", path.display()),
        )
    };
    let pem = fs::read(path).map_err(|error| fault(error.to_string()))?;
    let authorities = Certificate::from_pem_bundle(&pem).map_err(|error| fault(root_cause(&error)))?;
    if authorities.is_empty() {
        return Err(fault("it holds no certificate (PEM)".to_owned()));
    }
    // What is in a certificate is looked at when a client is made with it.
    let made = NoRedirects { authorities: authorities.clone() }.connect(&ClientOptions::new());
    made.map_err(|error| fault(root_cause(&error)))?;
    Ok(authorities)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_that_cannot_be_read_are_told_by_key_and_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let url = Url::parse("s3://lake").unwrap();
        let s3 = S3Config { region: Some("us-east-1".into()), ca: Some(path.clone()), ..S3Config::default() };
        let no_certificate = "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n";
        for text in [None, Some(""), Some("no PEM"), Some(no_certificate)] {
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            let error = plain_store(&url, &s3).map(drop).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Configuration, "{text:?}");
            for part in ["`storage.s3.ca`", &path.display().to_string()] {
                assert!(error.message.contains(part), "{error}");
            }
        }
    }
}
