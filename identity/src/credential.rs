//! What a process shows to others of its cluster.

use polarway_common::Error;
use polarway_common::config::{IdentityConfig, Secret};
use polarway_tls::{Connector, Tls};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Error as TransportError};
use tonic::{Request, Status};

const AUTHORIZATION: &str = "authorization";

/// A channel whose calls say which process they are from.
pub type ProcessChannel = InterceptedService<Channel, Credential>;

/// See the module's page: its certificate, if there is TLS, and the secret of processes. One without either says nothing,
/// which suffices where nobody asks.
#[derive(Debug, Clone, Default)]
pub struct Credential {
    secret: Option<MetadataValue<Ascii>>,
    tls: Tls,
}

impl Credential {
    /// # Errors
    /// `Configuration` if the secret cannot be sent.
    pub fn of(config: &IdentityConfig, tls: &Tls) -> Result<Self, Error> {
        // A certificate says it all, and who does not know the secret would take it for a wrong token.
        let secret = config.process_secret.as_ref().filter(|_| !tls.is_on()).map(sent).transpose()?;
        Ok(Self { secret, tls: tls.clone() })
    }

    /// Dials a process, at a `http://` URL whether it is encrypted or not, and makes the calls say which process they are
    /// from.
    ///
    /// # Errors
    /// That nobody answers there, or another than is trusted.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<ProcessChannel, TransportError> {
        Ok(self.on(endpoint.connect_with_connector(self.connector()).await?))
    }

    /// Likewise, when it is first used.
    pub fn connect_lazy(&self, endpoint: &Endpoint) -> ProcessChannel {
        self.on(self.channel(endpoint))
    }

    /// A channel whose calls do not say which process they are from: the connection does, if it is encrypted.
    pub fn channel(&self, endpoint: &Endpoint) -> Channel {
        endpoint.connect_with_connector_lazy(self.connector())
    }

    fn connector(&self) -> Connector {
        self.tls.connector()
    }

    /// Makes the calls of a channel say which process they are from.
    pub fn on(&self, channel: Channel) -> ProcessChannel {
        InterceptedService::new(channel, self.clone())
    }

    /// Lets one call say it.
    pub fn sign<T>(&self, request: &mut Request<T>) {
        if let Some(value) = &self.secret {
            request.metadata_mut().insert(AUTHORIZATION, value.clone());
        }
    }
}

/// The header that says it.
fn sent(secret: &Secret) -> Result<MetadataValue<Ascii>, Error> {
    let mut value: MetadataValue<Ascii> = format!("Bearer {}", secret.expose()).parse().map_err(|_| {
        Error::new(
            polarway_common::ErrorKind::Configuration,
            "`identity.process_secret` has characters that cannot be sent",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
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
        let credential = Credential::of(&config, &Tls::default()).unwrap();
        let mut request = Request::new(());
        credential.sign(&mut request);
        let sent = request.metadata().get(AUTHORIZATION).unwrap();
        assert_eq!(sent.to_str().unwrap(), format!("Bearer {secret}"));
        assert!(!format!("{credential:?} {request:?}").contains(secret));
        let mut plain = Request::new(());
        Credential::of(&IdentityConfig::default(), &Tls::default()).unwrap().sign(&mut plain);
        assert!(plain.metadata().is_empty());
    }
}
