//! Object stores as they are, without policy.

use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::multipart::MultipartStore;
use object_store::{ObjectStore, RetryConfig};
use polarway_common::config::S3Config;
use polarway_common::{Error, ErrorKind};
use url::{Position, Url};

use crate::http::NoRedirects;
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
    fn both<S: ObjectStore + MultipartStore>(store: S) -> Opened {
        let store = Arc::new(store);
        (Arc::clone(&store) as _, Some(store as _))
    }
    Ok(match url.scheme() {
        "file" => (Arc::new(LocalFileSystem::new()), None),
        "s3" | "s3a" => both(s3_builder(url, s3).with_retry(retry).build().map_err(fault)?),
        "gs" => {
            let builder = GoogleCloudStorageBuilder::from_env().with_url(url.as_str());
            both(builder.with_retry(retry).with_http_connector(NoRedirects).build().map_err(fault)?)
        }
        "az" | "abfs" | "abfss" | "adl" => {
            let builder = MicrosoftAzureBuilder::from_env().with_url(url.as_str());
            both(builder.with_retry(retry).with_http_connector(NoRedirects).build().map_err(fault)?)
        }
        "https" => {
            let builder = HttpBuilder::new().with_url(&url[..Position::BeforePath]);
            let builder = builder.with_retry(retry).with_http_connector(NoRedirects);
            (Arc::new(builder.build().map_err(fault)?), None)
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
fn s3_builder(url: &Url, s3: &S3Config) -> AmazonS3Builder {
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
    builder.with_virtual_hosted_style_request(s3.virtual_hosted).with_http_connector(NoRedirects)
}
