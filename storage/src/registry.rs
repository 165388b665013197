//! Object stores by URL, made on first use and shared by every query of the process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::DataFusionError;
use datafusion::execution::object_store::ObjectStoreRegistry;
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use parking_lot::RwLock;
use polarway_common::config::S3Config;
use polarway_common::{Error, ErrorKind};
use url::{Position, Url};

use crate::guard::{GuardedStore, StoreCounters};
use crate::http::NoRedirects;
use crate::policy::PathPolicy;

/// The stores that policy allows. Nothing can be registered at run time.
#[derive(Debug)]
pub struct PolicyRegistry {
    policy: Arc<PathPolicy>,
    s3: S3Config,
    list_ttl: Duration,
    counters: Arc<StoreCounters>,
    stores: RwLock<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl PolicyRegistry {
    /// Listings of remote stores are trusted for `list_ttl`.
    pub fn new(policy: Arc<PathPolicy>, s3: S3Config, list_ttl: Duration) -> Self {
        Self { policy, s3, list_ttl, counters: Arc::default(), stores: RwLock::default() }
    }

    pub fn counters(&self) -> Arc<StoreCounters> {
        Arc::clone(&self.counters)
    }

    fn build(&self, url: &Url) -> Result<Arc<dyn ObjectStore>, Error> {
        let fault = |error: object_store::Error| {
            Error::new(
                ErrorKind::Configuration,
                format!("cannot set up the store for `{}`: {error}", key(url)),
            )
        };
        let inner: Arc<dyn ObjectStore> = match url.scheme() {
            "file" => Arc::new(LocalFileSystem::new()),
            "s3" | "s3a" => Arc::new(self.s3_builder(url).build().map_err(fault)?),
            "gs" => {
                let builder = GoogleCloudStorageBuilder::from_env().with_url(url.as_str());
                Arc::new(builder.with_http_connector(NoRedirects).build().map_err(fault)?)
            }
            "az" | "abfs" | "abfss" | "adl" => {
                let builder = MicrosoftAzureBuilder::from_env().with_url(url.as_str());
                Arc::new(builder.with_http_connector(NoRedirects).build().map_err(fault)?)
            }
            "https" => {
                let builder = HttpBuilder::new().with_url(key(url));
                Arc::new(builder.with_http_connector(NoRedirects).build().map_err(fault)?)
            }
            other => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("no object store for scheme `{other}://`"),
                )
                .with_hint("use a path, s3://, gs://, az:// or https://"));
            }
        };
        let policy = Arc::clone(&self.policy);
        Ok(Arc::new(GuardedStore::new(inner, policy, self.counters(), url.clone(), self.list_ttl)))
    }

    /// Environment (`AWS_*`) first, then what `[storage.s3]` says.
    fn s3_builder(&self, url: &Url) -> AmazonS3Builder {
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(url.host_str().unwrap_or_default());
        if let Some(endpoint) = &self.s3.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = &self.s3.region {
            builder = builder.with_region(region);
        }
        if let Some(key) = &self.s3.access_key_id {
            builder = builder.with_access_key_id(key);
        }
        if let Some(secret) = &self.s3.secret_access_key {
            builder = builder.with_secret_access_key(secret.expose());
        }
        if let Some(token) = &self.s3.session_token {
            builder = builder.with_token(token.expose());
        }
        if self.s3.allow_http {
            builder = builder.with_allow_http(true);
        }
        builder.with_virtual_hosted_style_request(self.s3.virtual_hosted).with_http_connector(NoRedirects)
    }
}

fn key(url: &Url) -> String {
    url[..Position::BeforePath].to_owned()
}

impl ObjectStoreRegistry for PolicyRegistry {
    fn register_store(&self, url: &Url, _store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        tracing::warn!(url = %key(url), "ignored an object store registered at run time");
        None
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>, DataFusionError> {
        let external = |error: Error| DataFusionError::External(Box::new(error));
        self.policy.reaches_store(url).map_err(external)?;
        let key = key(url);
        if let Some(store) = self.stores.read().get(&key) {
            return Ok(Arc::clone(store));
        }
        let mut base = url.clone();
        base.set_path("/");
        let store = self.build(&base).map_err(external)?;
        Ok(Arc::clone(self.stores.write().entry(key).or_insert(store)))
    }
}
