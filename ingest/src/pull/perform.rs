//! What a session decides, done to a connection.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use polarway_common::Clock;
use tokio_tungstenite::tungstenite::Message;
use url::Url;

use super::dial::{DialError, dial};
use super::driver::Run;
use super::link::Link;
use super::options::PullOptions;
use super::policy::FeedPolicy;
use super::prepare::prepare;
use super::session::{Command, Event};
use super::spec::{FeedSpec, Of};
use super::status::add;

impl Run {
    pub(super) async fn perform(&mut self, command: Command) {
        let timeout = self.feed.options.write_timeout;
        let sent = match (command, &mut self.link) {
            (Command::Dial, _) => return self.dial().await,
            (Command::Hangup(how), link) => {
                let link = link.take();
                self.feed.status.connected.store(0, Relaxed);
                if let Some(link) = link {
                    tracing::info!(feed = self.feed.name, ?how, "the connection of a feed ends");
                    link.close(how, self.feed.options.close_timeout).await;
                }
                return;
            }
            (Command::Subscribe, Some(link)) => link.subscribe(timeout).await,
            (Command::Ping, Some(link)) => link.send(Message::Ping(Bytes::new()), timeout).await,
            (Command::Heartbeat, Some(link)) => {
                let text = self.feed.spec.heartbeat.clone().unwrap_or_default();
                link.send(Message::text(text), timeout).await
            }
            (Command::Subscribe | Command::Ping | Command::Heartbeat | Command::Gap(_), _) => return,
        };
        if let Err(detail) = sent {
            self.tell(Event::Lost { detail });
        }
    }

    async fn dial(&mut self) {
        add(&self.feed.status.dials, 1);
        let dialled = {
            let feed = &self.feed;
            let files = (Arc::clone(&feed.spec), Arc::clone(&feed.policy));
            let dialled = Box::pin(connect(&feed.url, files, &feed.options, &feed.clock));
            let shutdown = self.shutdown.clone();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return self.tell(Event::Stop),
                dialled = dialled => dialled,
            }
        };
        match dialled {
            Ok(link) => {
                add(&self.feed.status.connects, 1);
                self.feed.status.connected.store(1, Relaxed);
                if self.feed.spec.sequence.as_ref().is_some_and(|place| place.of == Of::Message) {
                    self.feed.gather.forget_sequences();
                }
                self.link = Some(link);
                self.tell(Event::Dialled);
            }
            Err(error) => {
                tracing::warn!(feed = self.feed.name, %error, "a feed is not reached");
                let (refused, retry_after) = match &error {
                    DialError::Refused { retry_after, .. } => (true, *retry_after),
                    _ => (false, None),
                };
                self.feed.status.fails(&error.to_string());
                self.tell(Event::NotDialled { detail: error.to_string(), refused, retry_after });
            }
        }
    }
}

/// Gets what a dial needs, and dials. Takes parts of a feed, since a whole one cannot be shared between threads.
async fn connect(
    url: &Url,
    (spec, policy): (Arc<FeedSpec>, Arc<FeedPolicy>),
    options: &PullOptions,
    clock: &Arc<dyn Clock>,
) -> Result<Link, DialError> {
    let secure = url.scheme() != "ws";
    let prepared = tokio::task::spawn_blocking(move || prepare(&spec, &policy, secure))
        .await
        .map_err(|error| DialError::Task(error.to_string()))??;
    dial(url, prepared, options, clock).await
}
