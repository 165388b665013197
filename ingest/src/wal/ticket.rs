//! The wait for a queued record to be durable.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::{Position, WalError};

/// A record that has its place in the order of the log but is not yet durable.
///
/// Completes with the position of the record once it is durable. The position is not known before: it
/// would be another one if a record ahead of it failed. Dropping a ticket does not take the record back.
#[derive(Debug)]
#[must_use = "the record is not durable before the ticket completes"]
pub struct Ticket(oneshot::Receiver<Result<Position, WalError>>);

pub(super) type Answer = oneshot::Sender<Result<Position, WalError>>;

impl Ticket {
    pub(super) fn new() -> (Answer, Self) {
        let (answer, ticket) = oneshot::channel();
        (answer, Self(ticket))
    }
}

impl Future for Ticket {
    type Output = Result<Position, WalError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // The writer answers everything that was queued, unless it panics.
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(WalError::Stopped)))
    }
}
