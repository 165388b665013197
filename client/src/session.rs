//! The id a server keeps a client's settings under.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// Sent with every call as the cookie `arrow_flight_session_id`, Flight's convention for sessions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionId(String);

impl SessionId {
    /// An id in the form of a random (version 4) UUID.
    pub fn random() -> Self {
        Self(random_uuid())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn cookie(&self) -> String {
        format!("arrow_flight_session_id={}", self.0)
    }
}

/// A random (version 4) UUID.
pub(crate) fn random_uuid() -> String {
    // The standard library keys every `RandomState` from the operating system's randomness.
    let high = RandomState::new().hash_one("high");
    let low = RandomState::new().hash_one("low");
    let high = (high & !0xf000) | 0x4000;
    let low = (low & !(0b11 << 62)) | (0b10 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_shape_of_a_uuid_and_differ() {
        let id = SessionId::random();
        let groups: Vec<usize> = id.as_str().split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        assert_eq!(id.as_str().as_bytes()[14], b'4');
        assert!(matches!(id.as_str().as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert_ne!(id, SessionId::random());
    }
}
