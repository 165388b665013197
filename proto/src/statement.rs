//! What a client says of a statement beside its text.

/// Header of a call: the name by which a statement is known that its client may send again, as in the IETF's draft "The
/// Idempotency-Key HTTP Header Field". Statements that change the catalog are carried out once for each name.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
