//! What our clients add to Flight SQL's `CommandStatementIngest`, as its options.

/// How long the handle of temporary rows lasts when nobody renews it, in milliseconds. The command's table is the handle's
/// id then, which the client makes up: `h_` and 32 hexadecimal digits.
pub const TTL_OPTION: &str = "polarway.ttl_ms";

/// With any value: no rows come. The answer is that of the same call under the same idempotency key before; if there was
/// none it is `NOT_FOUND`, and that call, should it still be on its way, is not carried out any more.
pub const OUTCOME_OPTION: &str = "polarway.outcome";
