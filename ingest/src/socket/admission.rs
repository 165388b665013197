//! Who may write.

use polarway_common::{Error, Role};
use polarway_identity::connection::ConnectionInfo;
use polarway_identity::{Identity, Party, audit};
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;

use super::head::Head;
use super::refusal::Refusal;

/// Who sends a request, if it may write to streams.
///
/// # Errors
/// 401 for whoever is not known, 403 for who may not write. Neither depends on which stream is asked for.
pub(super) fn admit(identity: &Identity, head: &Head, info: ConnectionInfo) -> Result<Party, Refusal> {
    let refused = |who: &str, error: &Error| {
        audit::denied(who, head.target.path(), Some(info.remote), error);
        Refusal::of_caller(error)
    };
    let authorization = head.headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let party = identity.identify(authorization, info.link).map_err(|error| refused("nobody", &error))?;
    match may_write(&party) {
        Ok(()) => Ok(party),
        Err(error) => Err(refused(party.name(), &error)),
    }
}

fn may_write(party: &Party) -> Result<(), Error> {
    party.caller()?.must_be(Role::Write, "writing to a stream")
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::http::{HeaderMap, Method, Version};

    use super::*;
    use crate::identified::{ANA, PROCESS, RUTH, identified};

    fn status(identity: &Identity, authorization: Option<&str>) -> Option<(u16, String)> {
        let mut headers = HeaderMap::new();
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        }
        let target = "/v1/streams/ticks".parse().unwrap();
        let head = Head { method: Method::GET, target, version: Version::HTTP_11, headers };
        let refusal = admit(identity, &head, ConnectionInfo::plain(([127, 0, 0, 1], 1).into())).err()?;
        let body: serde_json::Value = serde_json::from_str(&refusal.body).unwrap();
        assert!(!body["error"]["hint"].as_str().unwrap().is_empty());
        assert!(!refusal.body.contains("0123456789"), "{}", refusal.body);
        let asks = refusal.headers == [("WWW-Authenticate", "Bearer".to_owned())];
        assert_eq!(asks, refusal.status.as_u16() == 401);
        Some((refusal.status.as_u16(), body["error"]["kind"].as_str().unwrap().to_owned()))
    }

    #[tokio::test]
    async fn row_47_only_users_who_may_write_are_let_in() {
        let (identity, _file) = identified().await;
        let unauthenticated = Some((401, "unauthenticated".to_owned()));
        let not_allowed = Some((403, "not_allowed".to_owned()));
        assert_eq!(status(&identity, None), unauthenticated);
        assert_eq!(status(&identity, Some("Bearer a-wrong-token-0123456789")), unauthenticated);
        assert_eq!(status(&identity, Some(ANA)), unauthenticated, "a token alone is no header");
        assert_eq!(status(&identity, Some(&format!("Bearer {RUTH}"))), not_allowed);
        assert_eq!(status(&identity, Some(&format!("Bearer {PROCESS}"))), not_allowed);
        assert_eq!(status(&identity, Some(&format!("Bearer {ANA}"))), None);
        assert_eq!(status(&Identity::open(), None), None);
    }
}
