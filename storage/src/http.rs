//! The HTTP client of object stores. It follows no redirects: policy looked at the address that was asked, and nobody
//! would ask it about the one that a server sends us to.

use std::time::Duration;

use object_store::client::{HttpClient, HttpConnector};
use object_store::{ClientConfigKey as Key, ClientOptions, Error, Result};
use polarway_common::units::HumanDuration;
use reqwest::{Certificate, Client, NoProxy, Proxy, redirect};

const USER_AGENT: &str = concat!("polarway/", env!("CARGO_PKG_VERSION"));

/// Makes clients with the options that `object_store`'s own have; only the order of a host's addresses is left to
/// the system. A redirect is an error.
#[derive(Debug, Clone, Default)]
pub struct NoRedirects {
    /// Who is trusted beside the system's authorities. Here, since a connector cannot read those of [`ClientOptions`].
    pub authorities: Vec<Certificate>,
}

impl HttpConnector for NoRedirects {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .user_agent(options.get_config_value(&Key::UserAgent).unwrap_or_else(|| USER_AGENT.to_owned()))
            .https_only(!is_set(options, Key::AllowHttp)?)
            .danger_accept_invalid_certs(is_set(options, Key::AllowInvalidCertificates)?)
            // A compressed body has another length than the object.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate();
        for authority in &self.authorities {
            builder = builder.add_root_certificate(authority.clone());
        }
        if let Some(headers) = options.get_default_headers() {
            builder = builder.default_headers(headers.clone());
        }
        if let Some(url) = options.get_config_value(&Key::ProxyUrl) {
            if let Some(pem) = options.get_config_value(&Key::ProxyCaCertificate) {
                builder = builder.add_root_certificate(Certificate::from_pem(pem.as_bytes()).map_err(fault)?);
            }
            let excluded = options.get_config_value(&Key::ProxyExcludes);
            let excluded = excluded.and_then(|hosts| NoProxy::from_string(&hosts));
            builder = builder.proxy(Proxy::all(url.as_str()).map_err(fault)?.no_proxy(excluded));
        }
        if let Some(timeout) = value(options, Key::Timeout, duration)? {
            builder = builder.timeout(timeout);
        }
        if let Some(timeout) = value(options, Key::ConnectTimeout, duration)? {
            builder = builder.connect_timeout(timeout);
        }
        if let Some(timeout) = value(options, Key::PoolIdleTimeout, duration)? {
            builder = builder.pool_idle_timeout(timeout);
        }
        if let Some(most) = value(options, Key::PoolMaxIdlePerHost, |text| text.parse::<usize>().ok())? {
            builder = builder.pool_max_idle_per_host(most);
        }
        if let Some(interval) = value(options, Key::Http2KeepAliveInterval, duration)? {
            builder = builder.http2_keep_alive_interval(interval);
        }
        if let Some(timeout) = value(options, Key::Http2KeepAliveTimeout, duration)? {
            builder = builder.http2_keep_alive_timeout(timeout);
        }
        if is_set(options, Key::Http2KeepAliveWhileIdle)? {
            builder = builder.http2_keep_alive_while_idle(true);
        }
        if let Some(size) = value(options, Key::Http2MaxFrameSize, |text| text.parse::<u32>().ok())? {
            builder = builder.http2_max_frame_size(size);
        }
        if is_set(options, Key::Http1Only)? {
            builder = builder.http1_only();
        }
        if is_set(options, Key::Http2Only)? {
            builder = builder.http2_prior_knowledge();
        }
        builder.build().map(HttpClient::new).map_err(fault)
    }
}

fn value<T>(options: &ClientOptions, key: Key, read: fn(&str) -> Option<T>) -> Result<Option<T>> {
    let Some(text) = options.get_config_value(&key) else { return Ok(None) };
    match read(&text) {
        Some(value) => Ok(Some(value)),
        None => Err(Error::Generic {
            store: "HTTP",
            source: format!("`{text}` is no value for the client's option {key:?}").into(),
        }),
    }
}

fn is_set(options: &ClientOptions, key: Key) -> Result<bool> {
    Ok(value(options, key, flag)?.unwrap_or_default())
}

/// The words that `object_store` takes.
fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "on" | "yes" | "y" => Some(true),
        "0" | "false" | "off" | "no" | "n" => Some(false),
        _ => None,
    }
}

fn duration(text: &str) -> Option<Duration> {
    text.parse::<HumanDuration>().ok().map(HumanDuration::get)
}

fn fault(error: reqwest::Error) -> Error {
    Error::Generic { store: "HTTP", source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::execution::object_store::ObjectStoreRegistry;
    use object_store::http::HttpBuilder;
    use object_store::path::Path;
    use object_store::{GetOptions, ObjectStore};
    use polarway_common::config::{S3Config, Secret};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use url::Url;

    use super::*;
    use crate::policy::PathPolicy;
    use crate::registry::PolicyRegistry;

    /// A server that sends everybody to `target`.
    async fn redirecting_to(target: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = format!(
            "HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = [0u8; 8192];
                let _ = socket.read(&mut request).await;
                let _ = socket.write_all(answer.as_bytes()).await;
                let _ = socket.shutdown().await;
            }
        });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn row_11_a_redirect_is_not_followed() {
        let trap = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        trap.set_nonblocking(true).unwrap();
        let server = redirecting_to(format!("http://{}/latest/", trap.local_addr().unwrap())).await;

        let options = ClientOptions::new().with_allow_http(true);
        let plain = HttpBuilder::new()
            .with_url(server.as_str())
            .with_client_options(options)
            .with_http_connector(NoRedirects::default())
            .build()
            .unwrap();
        let s3 = S3Config {
            endpoint: Some(server),
            region: Some("us-east-1".into()),
            access_key_id: Some("key".into()),
            secret_access_key: Some(Secret::new("secret")),
            allow_http: true,
            ..S3Config::default()
        };
        let policy = Arc::new(PathPolicy::new(&["s3://lake".to_owned()]).unwrap());
        let registry = PolicyRegistry::new(policy, s3, Duration::ZERO);
        let lake = registry.get_store(&Url::parse("s3://lake").unwrap()).unwrap();
        let plain: Arc<dyn ObjectStore> = Arc::new(plain);
        for store in [plain, lake] {
            let error =
                store.get_opts(&Path::from("x.csv"), GetOptions::default()).await.unwrap_err().to_string();
            assert!(error.contains("302"), "{error}");
        }
        assert!(trap.accept().is_err(), "the redirect was followed");
    }

    #[test]
    fn options_of_the_store_reach_the_client() {
        let plain = ClientOptions::new();
        assert_eq!(value(&plain, Key::Timeout, duration).unwrap(), Some(Duration::from_secs(30)));
        assert!(!is_set(&plain, Key::AllowHttp).unwrap() && is_set(&plain, Key::Http1Only).unwrap());
        let set = plain.with_config(Key::AllowHttp, "yes").with_config(Key::ConnectTimeout, "1s 500ms");
        assert!(is_set(&set, Key::AllowHttp).unwrap());
        assert_eq!(value(&set, Key::ConnectTimeout, duration).unwrap(), Some(Duration::from_millis(1500)));
        let wrong = set.with_config(Key::Timeout, "soon");
        assert!(NoRedirects::default().connect(&wrong).unwrap_err().to_string().contains("soon"));
    }
}
