//! The header `authorization`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The token in the header's value: after `Bearer` (RFC 6750), or as the password of `Basic` (RFC 7617), which is what
/// browsers and many drivers can send. None if it is neither.
pub fn token_of(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let (scheme, rest) = text.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return (!rest.is_empty()).then(|| rest.as_bytes().into());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(rest).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded.get(colon + 1..)?.to_vec().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_by_itself_or_as_a_password() {
        assert_eq!(token_of(b"Bearer abc").as_deref(), Some(&b"abc"[..]));
        assert_eq!(token_of(b"bearer  abc ").as_deref(), Some(&b"abc"[..]));
        // ana:a:b
        assert_eq!(token_of(b"Basic YW5hOmE6Yg==").as_deref(), Some(&b"a:b"[..]));
        for none in
            [&b""[..], b"abc", b"Bearer", b"Bearer ", b"Basic abc", b"Basic !", b"Digest abc", b"\xff\xff"]
        {
            assert_eq!(token_of(none), None, "{none:?}");
        }
    }
}
