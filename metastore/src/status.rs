//! What a gRPC status tells, whichever server it comes from.

use std::error::Error;

use tonic::{ConnectError, Status};

/// Whether it is certain that the call did not leave this process.
pub(crate) fn never_sent(status: &Status) -> bool {
    causes(status).any(|cause| cause.is::<ConnectError>())
}

/// The status as one sentence.
pub(crate) fn told(status: &Status) -> String {
    let mut text = match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    };
    // The first words are general ("transport error"); what happened is at the end.
    if let Some(cause) = causes(status).last().map(ToString::to_string)
        && !text.contains(&cause)
    {
        text.push_str(": ");
        text.push_str(&cause);
    }
    text
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |cause| (*cause).source())
}
