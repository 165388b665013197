//! A query's messages on their way to its client, with the query's fate tied to them: they end at a cancel or the
//! deadline even while the client reads nothing, and when the client is gone everything that works for it stops.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use arrow::ipc::root_as_message;
use arrow_flight::FlightData;
use futures::{FutureExt, StreamExt};
use polarway_common::{Error, Supervisor, TaskKind};
use polarway_engine::cpu::panic_text;
use polarway_engine::handover::{Giver, handover};
use polarway_proto::status::{error_from_status, status_from_error};
use tonic::Status;
use tracing::Instrument;

use crate::admission::Admitted;
use crate::direct::DataStream;
use crate::limits::{Deadline, cancelled, passed, too_late};
use crate::queries::{Query, Running};

/// Messages a query may be ahead of its client, besides those in the connection's window.
const AHEAD: usize = 2;

/// `stream`, supervised. Its query has been admitted and may run for `limit`; `admitted` is its place.
pub fn supervised(
    supervisor: &Supervisor,
    mut stream: DataStream,
    limit: Option<Duration>,
    running: Running,
    admitted: Option<Admitted>,
) -> DataStream {
    let deadline = running.query.deadline(limit);
    // A client must not take a torn stream for a whole one, whatever became of the task that fed it.
    let (giver, taken) = handover(AHEAD, || {
        status_from_error(&Error::internal("the server stopped sending before the result's end"))
    });
    let span = running.query.span();
    let pumping = async move {
        let outcome = pass_on(&mut stream, &giver, &running.query, deadline).await;
        running.finish(&outcome);
        // What worked for the query stops before its client is told.
        drop(stream);
        drop(admitted);
        drop(running);
        giver.end(outcome.map_err(|error| status_from_error(&error)));
        Ok(())
    };
    supervisor.spawn("query", TaskKind::Background, pumping.instrument(span));
    taken.boxed()
}

async fn pass_on(
    stream: &mut DataStream,
    giver: &Giver<FlightData, Status>,
    query: &Query,
    deadline: Deadline,
) -> Result<(), Error> {
    loop {
        let message = tokio::select! {
            biased;
            () = query.cancel.cancelled() => return Err(cancelled()),
            () = giver.closed() => return Err(cancelled()),
            message = next(stream) => message?,
            () = passed(deadline) => return Err(too_late(deadline)),
        };
        let Some(message) = message else { return Ok(()) };
        let (rows, bytes) = (rows_in(&message), message.data_body.len() as u64);
        let given = tokio::select! {
            biased;
            given = giver.give(message) => given,
            () = query.cancel.cancelled() => false,
            () = passed(deadline) => return Err(too_late(deadline)),
        };
        if !given {
            return Err(cancelled());
        }
        query.sends(rows, bytes);
    }
}

/// Rows of a message's batch; none in a schema or a dictionary.
fn rows_in(message: &FlightData) -> u64 {
    let header = root_as_message(&message.data_header).ok();
    let batch = header.and_then(|header| header.header_as_record_batch());
    batch.map_or(0, |batch| u64::try_from(batch.length()).unwrap_or(0))
}

/// The next message. Making it may run code that panics: the rest of the query's end must come all the same.
async fn next(stream: &mut DataStream) -> Result<Option<FlightData>, Error> {
    match AssertUnwindSafe(stream.next()).catch_unwind().await {
        Ok(message) => message.transpose().map_err(|status| error_from_status(&status)),
        Err(panic) => Err(Error::internal(format!("sending the result panicked: {}", panic_text(&panic)))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Poll;

    use futures::stream;
    use polarway_common::{Caller, ErrorKind};
    use polarway_proto::progress::QueryState;

    use super::*;
    use crate::queries::Queries;

    fn message() -> Result<FlightData, Status> {
        Ok(FlightData::default())
    }

    /// How many messages came, and the error after them.
    async fn read(mut stream: DataStream) -> (usize, Option<Error>) {
        let mut messages = 0;
        loop {
            match stream.next().await {
                Some(Ok(_)) => messages += 1,
                Some(Err(status)) => return (messages, Some(error_from_status(&status))),
                None => return (messages, None),
            }
        }
    }

    fn running(queries: &Arc<Queries>) -> Running {
        let running = queries.begin(&Caller::anyone(), "q-1", "select 1", "direct");
        running.admitted();
        running
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_not_the_end() {
        let (supervisor, queries) = (Supervisor::new(), Arc::new(Queries::default()));
        let boom = stream::poll_fn(|_| -> Poll<Option<Result<FlightData, Status>>> { panic!("boom") });
        let torn = stream::iter([message()]).chain(boom).boxed();
        let (messages, error) = read(supervised(&supervisor, torn, None, running(&queries), None)).await;
        assert_eq!(messages, 1);
        let error = error.expect("a torn stream ended as if it were whole");
        assert!(error.kind == ErrorKind::Internal && error.message.contains("boom"), "{error}");
        assert_eq!(queries.get(&Caller::anyone(), "q-1").unwrap().state(), QueryState::Failed);
    }

    #[tokio::test]
    async fn an_aborted_task_is_an_error_and_a_whole_stream_is_none() {
        let (supervisor, queries) = (Supervisor::new(), Arc::new(Queries::default()));
        let whole = stream::iter([message(), message(), message()]).boxed();
        let read_whole = read(supervised(&supervisor, whole, None, running(&queries), None)).await;
        assert_eq!((read_whole.0, read_whole.1.is_none()), (3, true));
        let stuck = stream::iter([message()]).chain(stream::pending()).boxed();
        let stuck = supervised(&supervisor, stuck, None, running(&queries), None);
        // Shutdown aborts what does not stop by itself.
        let _ = supervisor.shutdown(Duration::from_millis(20)).await;
        let (messages, error) = read(stuck).await;
        assert_eq!((messages, error.map(|error| error.kind)), (1, Some(ErrorKind::Internal)));
    }

    #[tokio::test]
    async fn row_07_the_error_reaches_a_client_that_reads_late() {
        let (supervisor, queries) = (Supervisor::new(), Arc::new(Queries::default()));
        let endless = stream::repeat_with(message).boxed();
        let limit = Some(Duration::from_millis(20));
        let stream = supervised(&supervisor, endless, limit, running(&queries), None);
        while queries.running() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (messages, error) = read(stream).await;
        assert_eq!((messages, error.map(|error| error.kind)), (AHEAD, Some(ErrorKind::DeadlineExceeded)));
    }
}
