//! What to do with a request: the decision, without the doing.

use percent_encoding::percent_decode_str;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::{Response, create_response};
use tokio_tungstenite::tungstenite::http::{Method, Request, StatusCode};
use tokio_tungstenite::tungstenite::{self};

use super::head::Head;
use super::refusal::Refusal;
use crate::durability::Durability;

const PREFIX: &str = "/v1/streams/";
const MAX_PRODUCER: usize = 128;
const MAX_NAME: usize = 512;

/// A request that may be upgraded, if its stream can be opened.
#[derive(Debug)]
pub struct Opening {
    /// The stream's name as the client gave it, percent-decoded: one of the client's namespace.
    pub stream: String,
    pub producer: Option<String>,
    /// None: the stream's own.
    pub ack: Option<Durability>,
    /// The answer with status 101.
    pub response: Response,
}

/// Decides about a request by its method, path, query and headers.
///
/// Nothing here depends on who the client is or on which streams there are.
///
/// # Errors
/// 404 for a path that is no stream's, 405 for a method other than `GET`, 426 for a request without upgrade, 400 for
/// a wrong header or parameter. That there is such a stream is not known yet.
pub fn decide(head: &Head) -> Result<Opening, Refusal> {
    let name = head.target.path().strip_prefix(PREFIX).filter(|name| !name.is_empty() && !name.contains('/'));
    let Some(name) = name else {
        let message = format!("nothing is at `{}`", head.target.path());
        return Err(Refusal::new(StatusCode::NOT_FOUND, "unknown_path", &message, "use /v1/streams/{name}"));
    };
    if head.method != Method::GET {
        let message = format!("the method is {}", head.method);
        let hint = "open a WebSocket with GET";
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &message, hint)
            .with_header("Allow", "GET"));
    }
    let response = upgrade(head)?;
    let stream = stream_name(name)?;
    let (producer, ack) = parameters(head.target.query().unwrap_or_default())?;
    Ok(Opening { stream, producer, ack, response })
}

/// The answer 101 to a request that asks for a WebSocket of version 13.
fn upgrade(head: &Head) -> Result<Response, Refusal> {
    let mut request = Request::new(());
    *request.version_mut() = head.version;
    *request.headers_mut() = head.headers.clone();
    create_response(&request).map_err(|error| match error {
        tungstenite::Error::Protocol(
            ProtocolError::MissingSecWebSocketKey | ProtocolError::InvalidSecWebSocketKey,
        ) => Refusal::parameter(
            "Sec-WebSocket-Key",
            "the header is missing or not valid",
            "send 16 bytes in base64",
        ),
        error => {
            let hint = "open a WebSocket (ws://), version 13";
            Refusal::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", &error.to_string(), hint)
                .with_header("Upgrade", "websocket")
                .with_header("Connection", "Upgrade")
                .with_header("Sec-WebSocket-Version", "13")
        }
    })
}

fn stream_name(encoded: &str) -> Result<String, Refusal> {
    let hint = "percent-encode the name as UTF-8";
    match percent_decode_str(encoded).decode_utf8() {
        Err(_) => Err(Refusal::parameter("name", "the stream's name is not UTF-8", hint)),
        Ok(name) if name.len() > MAX_NAME || name.chars().any(char::is_control) => {
            Err(Refusal::parameter("name", "the stream's name is too long or has control characters", hint))
        }
        Ok(name) => Ok(name.into_owned()),
    }
}

fn parameters(query: &str) -> Result<(Option<String>, Option<Durability>), Refusal> {
    let (mut producer, mut ack) = (None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        // `+` stays a plus: no value has spaces, so those who encode for forms send `%2B` for it.
        let key = percent_decode_str(key).decode_utf8_lossy();
        let value = percent_decode_str(value).decode_utf8_lossy();
        let twice = match key.as_ref() {
            "producer" => producer.replace(producer_id(&value)?).is_some(),
            "ack" => ack.replace(durability(&value)?).is_some(),
            other => {
                return Err(Refusal::parameter(
                    other,
                    "there is no such parameter",
                    "use `producer` and `ack`",
                ));
            }
        };
        if twice {
            return Err(Refusal::parameter(&key, "the parameter is given twice", "give it once"));
        }
    }
    Ok((producer, ack))
}

pub(crate) fn producer_id(value: &str) -> Result<String, Refusal> {
    if (1..=MAX_PRODUCER).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(value.to_owned())
    } else {
        let hint = "use 1 to 128 visible ASCII characters without spaces";
        Err(Refusal::parameter("producer", "the producer's id is not valid", hint))
    }
}

fn durability(value: &str) -> Result<Durability, Refusal> {
    Durability::from_name(value).ok_or_else(|| {
        Refusal::parameter("ack", "there is no such durability", "use `received`, `wal` or `object_store`")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, Version};

    use super::*;

    fn head(target: &str) -> Head {
        let mut headers = HeaderMap::new();
        headers.insert("connection", HeaderValue::from_static("keep-alive, Upgrade"));
        headers.insert("upgrade", HeaderValue::from_static("websocket"));
        headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
        headers.insert("sec-websocket-key", HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        Head { method: Method::GET, target: target.parse().unwrap(), version: Version::HTTP_11, headers }
    }

    fn status(head: &Head) -> u16 {
        decide(head)
            .map_or_else(|refusal| refusal.status.as_u16(), |opening| opening.response.status().as_u16())
    }

    fn wrong_parameter(target: &str) -> String {
        let refusal = decide(&head(target)).unwrap_err();
        assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
        let body: serde_json::Value = serde_json::from_str(&refusal.body).unwrap();
        body["error"]["parameter"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_good_request_is_upgraded() {
        let opening = decide(&head("/v1/streams/public.ticks")).unwrap();
        assert_eq!((opening.stream.as_str(), opening.producer, opening.ack), ("public.ticks", None, None));
        assert_eq!(opening.response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let opening = decide(&head("/v1/streams/a%2Fb%C3%A9?producer=p%2B1+2&ack=object_store")).unwrap();
        assert_eq!(opening.stream, "a/bé");
        assert_eq!(
            (opening.producer.as_deref(), opening.ack),
            (Some("p+1+2"), Some(Durability::ObjectStore))
        );
    }

    #[test]
    fn other_paths_are_not_found() {
        for path in ["/", "/v1/streams", "/v1/streams/", "/v1/streams/a/b", "/v1/streams/a/", "/v2/streams/a"]
        {
            assert_eq!(status(&head(path)), 404, "{path}");
        }
    }

    #[test]
    fn other_methods_and_plain_requests_are_told_what_to_do() {
        let mut post = head("/v1/streams/a");
        post.method = Method::POST;
        assert_eq!(status(&post), 405);
        for missing in ["connection", "upgrade", "sec-websocket-version"] {
            let mut plain = head("/v1/streams/a");
            plain.headers.remove(missing);
            assert_eq!(status(&plain), 426, "{missing}");
        }
        let mut old = head("/v1/streams/a");
        old.version = Version::HTTP_10;
        assert_eq!(status(&old), 426);
        let mut keyless = head("/v1/streams/a");
        keyless.headers.remove("sec-websocket-key");
        assert_eq!(status(&keyless), 400);
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        assert_eq!(wrong_parameter("/v1/streams/a?ack=disk"), "ack");
        assert_eq!(wrong_parameter("/v1/streams/a?ack"), "ack");
        assert_eq!(wrong_parameter("/v1/streams/a?ack=wal&ack=wal"), "ack");
        assert_eq!(wrong_parameter("/v1/streams/a?producer="), "producer");
        assert_eq!(wrong_parameter("/v1/streams/a?producer=a%20b"), "producer");
        assert_eq!(wrong_parameter("/v1/streams/a?producer=%C3%A9"), "producer");
        assert_eq!(wrong_parameter(&format!("/v1/streams/a?producer={}", "p".repeat(129))), "producer");
        assert_eq!(wrong_parameter("/v1/streams/a?acks=wal"), "acks");
        assert_eq!(wrong_parameter("/v1/streams/%FF"), "name");
        assert_eq!(wrong_parameter("/v1/streams/a%00"), "name");
        assert_eq!(status(&head(&format!("/v1/streams/a?producer={}", "p".repeat(128)))), 101);
    }

    proptest! {
        #[test]
        fn every_target_is_answered(rest in "[ -~]{0,40}") {
            if let Ok(target) = format!("/v1/streams/{rest}").parse() {
                let status = status(&Head { target, ..head("/") });
                prop_assert!([101, 400, 404].contains(&status), "{status}");
            }
        }
    }
}
