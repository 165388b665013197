//! What is told of decisions, under the target `polarway::audit`. Nothing of a token or of a statement's values is in it.

use std::net::SocketAddr;

use polarway_common::{Caller, Error};

/// A request was refused because of who sent it.
pub fn denied(who: &str, action: &str, from: Option<SocketAddr>, error: &Error) {
    let from = from.map(|from| from.to_string());
    tracing::warn!(
        target: "polarway::audit",
        who,
        action,
        from,
        outcome = "denied",
        kind = error.kind.reason(),
        reason = error.message,
        "denied"
    );
}

/// Something was changed, or tried to be. What anybody does with an open server is not told.
pub fn changed<T>(caller: &Caller, action: &str, object: &str, outcome: &Result<T, Error>) {
    if caller.name().is_empty() {
        return;
    }
    let (outcome, kind) = match outcome {
        Ok(_) => ("done", None),
        Err(error) => ("failed", Some(error.kind.reason())),
    };
    tracing::info!(target: "polarway::audit", who = caller.owner(), action, object, outcome, kind, "changed");
}
