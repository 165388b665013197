//! A watch as its client reads it.

use futures::{StreamExt, stream};
use tonic::Streaming;

use super::fault;
use super::messages::{Step, WatchAnswer};
use crate::error::{MetaStoreError, Result};
use crate::store::{Event, WatchStream};

pub(super) const CUT_OFF: &str = "the watch was cut off";

/// The events of a watch that has been opened.
pub(super) fn events(answers: Streaming<WatchAnswer>, place: String) -> WatchStream {
    let events = stream::try_unfold((answers, place), |(mut answers, place)| async move {
        let event = next_event(&mut answers, &place).await?;
        Ok(event.map(|event| (event, (answers, place))))
    });
    events.boxed()
}

async fn next_event(answers: &mut Streaming<WatchAnswer>, place: &str) -> Result<Option<Event>> {
    let answer = answers.message().await.map_err(|status| fault::of_read(place, &status))?;
    let answer = answer.ok_or_else(|| fault::unavailable(place, CUT_OFF))?;
    match answer.step {
        Some(Step::Event(change)) => change.into_event().map(Some).ok_or_else(|| unreadable(place)),
        Some(Step::Failure(failure)) => Err(failure.into()),
        Some(Step::Closed(_)) => Ok(None),
        Some(Step::Opened(_)) | None => Err(unreadable(place)),
    }
}

pub(super) fn unreadable(place: &str) -> MetaStoreError {
    let detail = "a step of a watch is none that this version knows".to_owned();
    MetaStoreError::Engine { place: place.to_owned(), detail }
}
