//! What a process shows to others of its cluster.

use polarway_common::Error;
use polarway_common::config::{IdentityConfig, Secret};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

const AUTHORIZATION: &str = "authorization";

/// A channel whose calls say which process they are from.
pub type ProcessChannel = InterceptedService<Channel, Credential>;

/// See the module's page. A process without one says nothing, which suffices where nobody asks.
#[derive(Debug, Clone, Default)]
pub struct Credential(Option<MetadataValue<Ascii>>);

impl Credential {
    /// # Errors
    /// `Configuration` if the secret cannot be sent.
    pub fn of(config: &IdentityConfig) -> Result<Self, Error> {
        config.process_secret.as_ref().map(Self::from_secret).transpose().map(Option::unwrap_or_default)
    }

    fn from_secret(secret: &Secret) -> Result<Self, Error> {
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {}", secret.expose()).parse().map_err(|_| {
                Error::new(
                    polarway_common::ErrorKind::Configuration,
                    "`identity.process_secret` has characters that cannot be sent",
                )
            })?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }

    /// Makes the calls of a channel say which process they are from.
    pub fn on(&self, channel: Channel) -> ProcessChannel {
        InterceptedService::new(channel, self.clone())
    }

    /// Lets one call say it.
    pub fn sign<T>(&self, request: &mut Request<T>) {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert(AUTHORIZATION, value.clone());
        }
    }
}

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        self.sign(&mut request);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_47_the_secret_is_sent_and_not_shown() {
        let secret = "the-secret-of-all-processes-0123";
        let config =
            IdentityConfig { process_secret: Some(Secret::new(secret)), ..IdentityConfig::default() };
        let credential = Credential::of(&config).unwrap();
        let mut request = Request::new(());
        credential.sign(&mut request);
        let sent = request.metadata().get(AUTHORIZATION).unwrap();
        assert_eq!(sent.to_str().unwrap(), format!("Bearer {secret}"));
        assert!(!format!("{credential:?} {request:?}").contains(secret));
        let mut plain = Request::new(());
        Credential::of(&IdentityConfig::default()).unwrap().sign(&mut plain);
        assert!(plain.metadata().is_empty());
    }
}
