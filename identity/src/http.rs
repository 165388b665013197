//! The guard of an HTTP port. Browsers ask for name and password, which is the token.

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use polarway_common::{Error, ErrorKind, Role};

use crate::audit;
use crate::connection::{ConnectionInfo, Link};
use crate::identity::Identity;
use crate::party::Party;

/// What a path needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    pub role: Role,
    /// Whether what it shows or does is about the cluster with all its namespaces.
    pub whole: bool,
}

/// Says of a path what it needs; none for what everybody may ask.
pub type Rules = fn(&str) -> Option<Need>;

impl Need {
    /// # Errors
    /// `NotAllowed`.
    fn met_by(self, party: &Party, path: &str) -> Result<(), Error> {
        let (caller, what) = (party.caller()?, format!("`{path}`"));
        caller.must_be(self.role, &what)?;
        if self.whole { caller.must_be_of_default(&what) } else { Ok(()) }
    }
}

/// What a guard of HTTP goes by.
#[derive(Debug, Clone)]
pub struct Guard {
    pub identity: Identity,
    pub rules: Rules,
}

/// Lets a request in, and tells the handlers behind it who sends it (as an extension).
pub async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let Some(need) = (guard.rules)(path) else { return next.run(request).await };
    let authorization = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
    let info = request.extensions().get::<ConnectInfo<ConnectionInfo>>().map(|info| info.0);
    let (from, link) = (info.map(|info| info.remote), info.map_or(Link::Plain, |info| info.link));
    let denied = |who: &str, error: &Error| {
        audit::denied(who, path, from, error);
        refusal(error)
    };
    let party = match guard.identity.identify(authorization, link) {
        Ok(party) => party,
        Err(error) => return denied("nobody", &error),
    };
    if let Err(error) = need.met_by(&party, path) {
        return denied(party.name(), &error);
    }
    request.extensions_mut().insert(party);
    next.run(request).await
}

/// The answer to what is refused.
pub fn refusal(error: &Error) -> Response {
    let hint = error.hint.as_deref().unwrap_or_else(|| error.kind.hint());
    #[derive(serde::Serialize)]
    struct Told<'a> {
        kind: &'a str,
        message: &'a str,
        hint: &'a str,
    }
    let told = Json(Told { kind: error.kind.reason(), message: &error.message, hint });
    match error.kind {
        ErrorKind::Unauthenticated => {
            let ask = [(WWW_AUTHENTICATE, "Basic realm=\"polarway\", charset=\"UTF-8\"")];
            (StatusCode::UNAUTHORIZED, ask, told).into_response()
        }
        _ => (StatusCode::FORBIDDEN, told).into_response(),
    }
}
