//! What a stream's declaration may choose.

/// How a [`Decoder`](super::Decoder) reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DecodeOptions {
    /// What becomes of fields that no column declares.
    pub unknown_fields: UnknownFields,
}

/// What becomes of fields that no column declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownFields {
    /// The row is bad.
    #[default]
    Reject,
    /// The field is skipped. It must still be JSON.
    Ignore,
}
