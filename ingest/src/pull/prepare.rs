//! What a dial needs and that may have changed since the last: secrets and certificates.

use std::sync::Arc;

use polarway_common::config::Secret;
use rustls::ClientConfig;
use serde_json::Value;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};

use super::dial::DialError;
use super::policy::FeedPolicy;
use super::secrets::Secrets;
use super::spec::{FeedSpec, HeaderText, secret_name};
use super::tls::client_config;

/// A dial's texts and trust.
#[derive(Debug)]
pub(super) struct Prepared {
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The messages of the subscription, secrets filled in.
    pub subscription: Vec<Secret>,
    pub tls: Option<Arc<ClientConfig>>,
    pub redactor: Redactor,
}

/// `secure`: with TLS. Reads files: not for the runtime's threads.
pub(super) fn prepare(spec: &FeedSpec, policy: &FeedPolicy, secure: bool) -> Result<Prepared, DialError> {
    let mut used = Redactor::default();
    let mut headers = Vec::with_capacity(spec.headers.len());
    for (name, text) in &spec.headers {
        let fault = || DialError::Header(name.clone());
        let value = match text {
            HeaderText::Plain(text) => HeaderValue::from_str(text),
            HeaderText::Secret(secret) => HeaderValue::from_str(used.get(&*policy.secrets, secret)?.expose()),
        };
        let mut value = value.map_err(|_| fault())?;
        value.set_sensitive(true);
        headers.push((HeaderName::from_bytes(name.as_bytes()).map_err(|_| fault())?, value));
    }
    let mut subscription = Vec::with_capacity(spec.subscribe.len());
    for message in &spec.subscribe {
        subscription.push(Secret::new(match message {
            Value::String(text) => text.clone(),
            message => filled(message, &*policy.secrets, &mut used)?.to_string(),
        }));
    }
    let tls = if secure {
        Some(Arc::new(client_config(spec.ca.as_deref(), policy.certificates.as_ref())?))
    } else {
        None
    };
    Ok(Prepared { headers, subscription, tls, redactor: used })
}

/// The message with its secrets in place of their names.
fn filled(message: &Value, secrets: &dyn Secrets, used: &mut Redactor) -> Result<Value, DialError> {
    if let Some(name) = secret_name(message) {
        return Ok(Value::String(used.get(secrets, name)?.expose().to_owned()));
    }
    Ok(match message {
        Value::Array(values) => {
            Value::Array(values.iter().map(|value| filled(value, secrets, used)).collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| Ok((name.clone(), filled(value, secrets, used)?)))
                .collect::<Result<_, DialError>>()?,
        ),
        other => other.clone(),
    })
}

/// Removes the secrets that were sent from what a server answers: some repeat what they do not like.
#[derive(Debug, Default)]
pub(super) struct Redactor(Vec<Secret>);

impl Redactor {
    fn get(&mut self, secrets: &dyn Secrets, name: &str) -> Result<Secret, DialError> {
        let secret = secrets.get(name)?;
        self.0.push(secret.clone());
        Ok(secret)
    }

    pub fn redacted(&self, text: String) -> String {
        let secrets = self.0.iter().map(Secret::expose).filter(|secret| !secret.is_empty());
        secrets.fold(text, |text, secret| text.replace(secret, "***"))
    }
}
