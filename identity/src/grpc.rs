//! The guard of a gRPC port: it stands before all services, and tells them who calls.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures::future::Either;
use polarway_common::Error;
use polarway_proto::status::status_from_error;
use tonic::body::Body;
use tonic::codegen::http::header::AUTHORIZATION;
use tonic::codegen::http::{Extensions, Request, Response};
use tower::{Layer, Service};

use crate::audit;
use crate::connection::{ConnectionInfo, Link};
use crate::identity::Identity;
use crate::party::Party;

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callers {
    /// Users and processes: the method's handler looks closer.
    All,
    Processes,
    Nobody,
}

/// Says of a path, `/package.Service/Method`, who may call it.
pub type Rules = fn(&str) -> Callers;

/// See the module's page.
#[derive(Debug, Clone)]
pub struct Guard {
    identity: Identity,
    rules: Rules,
}

impl Guard {
    pub fn new(identity: Identity, rules: Rules) -> Self {
        Self { identity, rules }
    }

    /// # Errors
    /// `Unauthenticated`, `NotAllowed`.
    fn decide(&self, path: &str, authorization: Option<&[u8]>, link: Link) -> Result<Party, (String, Error)> {
        let party =
            self.identity.identify(authorization, link).map_err(|error| ("nobody".to_owned(), error))?;
        let allowed = match (self.rules)(path) {
            Callers::All => Ok(()),
            Callers::Processes => party.must_be_process(),
            // What is not known here is not there either.
            Callers::Nobody if self.identity.is_open() => Ok(()),
            Callers::Nobody => Err(Error::new(
                polarway_common::ErrorKind::NotAllowed,
                format!("`{path}` is not offered here"),
            )),
        };
        match allowed {
            Ok(()) => Ok(party),
            Err(error) => Err((party.name().to_owned(), error)),
        }
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: self.clone(), inner }
    }
}

/// A service behind a guard.
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    guard: Guard,
    inner: S,
}

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response<Body>, S::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let authorization = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
        let info = request.extensions().get::<ConnectionInfo>();
        let from = info.map(|info| info.remote);
        let decided = match info.map(|info| info.link) {
            Some(link) => self.guard.decide(request.uri().path(), authorization, link),
            None => Err(("nobody".to_owned(), Error::internal("a connection says nothing of itself"))),
        };
        match decided {
            Ok(party) => {
                request.extensions_mut().insert(party);
                Either::Right(self.inner.call(request))
            }
            Err((who, error)) => {
                audit::denied(&who, request.uri().path(), from, &error);
                Either::Left(ready(Ok(status_from_error(&error).into_http())))
            }
        }
    }
}

/// Who sends a call, as the guard has found out. Where there was none, nobody is let in.
///
/// # Errors
/// `Internal` on a port without a guard.
pub fn party_of(extensions: &Extensions) -> Result<Party, Error> {
    extensions.get::<Party>().cloned().ok_or_else(|| Error::internal("a call came past the guard"))
}

#[cfg(test)]
mod tests {
    use polarway_common::config::{IdentityConfig, Secret};
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    const PROCESS: &str = "the-secret-of-all-processes-0123";
    const ANA: &str = "a-token-of-ana-0123456789";

    fn rules(path: &str) -> Callers {
        match path {
            "/users/x" => Callers::All,
            "/processes/x" => Callers::Processes,
            _ => Callers::Nobody,
        }
    }

    /// The gRPC status of an answer, and who it was that the service saw.
    async fn called(identity: &Identity, path: &str, token: Option<&str>) -> (String, String) {
        let inner = service_fn(|request: Request<()>| async move {
            let seen = party_of(request.extensions()).unwrap().name().to_owned();
            let mut response = Response::new(Body::default());
            response.headers_mut().insert("seen", seen.parse().unwrap());
            Ok::<_, std::convert::Infallible>(response)
        });
        let mut request = Request::builder().uri(format!("http://x{path}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request = request.extension(ConnectionInfo::plain(([127, 0, 0, 1], 1).into()));
        let guarded = Guard::new(identity.clone(), rules).layer(inner);
        let answer = guarded.oneshot(request.body(()).unwrap()).await.unwrap();
        let header = |name: &str| {
            answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        (header("grpc-status"), header("seen"))
    }

    #[tokio::test]
    async fn row_47_a_call_is_let_in_by_who_sends_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        std::fs::write(&path, format!("[[token]]\nname = 'ana'\nrole = 'read'\ntoken = '{ANA}'\n")).unwrap();
        let config = IdentityConfig {
            tokens: Some(path),
            process_secret: Some(Secret::new(PROCESS)),
            trusted_network: false,
        };
        let identity = Identity::load(&config, &polarway_tls::Tls::default()).await.unwrap();
        let (unauthenticated, denied) = (("16".to_owned(), String::new()), ("7".to_owned(), String::new()));
        let seen = |name: &str| (String::new(), name.to_owned());
        for path in ["/users/x", "/processes/x", "/others/x"] {
            assert_eq!(called(&identity, path, None).await, unauthenticated);
            assert_eq!(called(&identity, path, Some("wrong-token-0123456789")).await, unauthenticated);
        }
        assert_eq!(called(&identity, "/users/x", Some(ANA)).await, seen("ana"));
        assert_eq!(called(&identity, "/users/x", Some(PROCESS)).await, seen("process"));
        assert_eq!(called(&identity, "/processes/x", Some(PROCESS)).await, seen("process"));
        assert_eq!(called(&identity, "/processes/x", Some(ANA)).await, denied);
        assert_eq!(called(&identity, "/others/x", Some(PROCESS)).await, denied);
        assert_eq!(called(&Identity::open(), "/processes/x", None).await, seen("anyone"));
    }
}
