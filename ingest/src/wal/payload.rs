//! What a record holds.

use bytes::Bytes;

/// The bytes of one record, in two parts: what comes before the rows is made apart from them, and putting both together
/// would copy the rows once more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payload {
    pub head: Bytes,
    pub body: Bytes,
}

impl Payload {
    #[allow(clippy::len_without_is_empty, reason = "a record may be empty, and nobody asks")]
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Both parts as one, as the log gives them back.
    #[cfg(test)]
    pub fn to_vec(&self) -> Vec<u8> {
        [&self.head[..], &self.body[..]].concat()
    }
}

impl From<Bytes> for Payload {
    fn from(body: Bytes) -> Self {
        Self { head: Bytes::new(), body }
    }
}
