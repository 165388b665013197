//! A feed, from its options to its end.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::UNIX_EPOCH;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use polarway_common::{Clock, Error as CommonError, ErrorKind};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::batch::FeedSink;
use super::driver::Run;
use super::gather::Gather;
use super::map::{MapError, Mapper};
use super::options::PullOptions;
use super::policy::{FeedPolicy, PolicyError};
use super::session::{Jitter, Now, Session, SessionOptions};
use super::spec::FeedSpec;
use super::status::FeedStatus;

/// Why a feed cannot run.
#[derive(Debug, Error)]
pub enum PullError {
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error("rows do not fit their columns: {0}")]
    Rows(#[from] ArrowError),
}

impl From<PullError> for CommonError {
    fn from(error: PullError) -> Self {
        match error {
            PullError::Policy(error) => error.into(),
            PullError::Map(error) => CommonError::new(ErrorKind::TypeMismatch, error.to_string()),
            PullError::Rows(error) => CommonError::internal(error.to_string()),
        }
    }
}

/// How a feed ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All that was read is stored.
    Stored,
    /// The sink did not take the last batch in the time it had.
    NotStored { rows: usize },
}

/// A feed, ready to run.
#[derive(Debug)]
pub struct PullFeed {
    pub(super) name: String,
    pub(super) url: Url,
    pub(super) spec: Arc<FeedSpec>,
    pub(super) policy: Arc<FeedPolicy>,
    pub(super) options: PullOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) jitter: Box<dyn Jitter>,
    pub(super) status: Arc<FeedStatus>,
    pub(super) gather: Gather,
}

impl PullFeed {
    /// # Errors
    /// [`PullError`] where the policy does not allow the URL, or the options do not fit the columns.
    pub fn new(
        name: impl Into<String>,
        spec: FeedSpec,
        schema: SchemaRef,
        policy: Arc<FeedPolicy>,
        options: PullOptions,
        clock: Arc<dyn Clock>,
        jitter: Box<dyn Jitter>,
    ) -> Result<Self, PullError> {
        let url = policy.admit(&spec.url)?;
        let gather = Gather::new(Mapper::new(&spec, schema)?);
        let (spec, status) = (Arc::new(spec), Arc::default());
        Ok(Self { name: name.into(), url, spec, policy, options, clock, jitter, status, gather })
    }

    /// The feed's counters.
    #[must_use]
    pub fn status(&self) -> Arc<FeedStatus> {
        Arc::clone(&self.status)
    }

    /// Runs until shutdown.
    ///
    /// # Errors
    /// [`PullError::Rows`], a defect.
    pub async fn run(self, sink: Arc<dyn FeedSink>, shutdown: CancellationToken) -> Result<Ended, PullError> {
        let now = now(&*self.clock);
        let session = Session::new(SessionOptions::new(&self.spec, self.options.last_message_micros), now);
        let status = Arc::clone(&self.status);
        let ended = Run { feed: self, session, link: None, commands: Vec::new(), sink, shutdown }.run().await;
        status.connected.store(0, Relaxed);
        ended
    }
}

pub(super) fn now(clock: &dyn Clock) -> Now {
    let wall = clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { instant: clock.now(), micros: i64::try_from(wall.as_micros()).unwrap_or(i64::MAX) }
}
