//! One task a feed: waits, reads, and hands on; what the session decides is performed in [`perform`](super::perform).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use polarway_common::Clock;
use tokio_util::sync::CancellationToken;

use super::batch::FeedSink;
use super::deliver::deliver;
use super::feed::{Ended, PullError, PullFeed, now};
use super::link::{Link, Read};
use super::map::Mapped;
use super::session::{Command, Event, Session};
use super::status::add;

/// The longest piece of a server's message that a gap repeats, in characters.
const SHOWN: usize = 200;

/// A feed that runs.
pub(super) struct Run {
    pub(super) feed: PullFeed,
    pub(super) session: Session,
    pub(super) link: Option<Link>,
    /// To be performed, the gaps excepted.
    pub(super) commands: Vec<Command>,
    pub(super) sink: Arc<dyn FeedSink>,
    pub(super) shutdown: CancellationToken,
}

impl Run {
    pub(super) async fn run(mut self) -> Result<Ended, PullError> {
        loop {
            self.wait().await;
            // Rows go first: to hang up may take a while.
            let mut stored = self.hand_on().await?;
            while !self.commands.is_empty() {
                for command in std::mem::take(&mut self.commands) {
                    self.perform(command).await;
                }
                stored = match (stored, self.hand_on().await?) {
                    (Ended::Stored, later) => later,
                    (lost, _) => lost,
                };
            }
            if self.session.is_stopped() {
                return Ok(stored);
            }
            if stored != Ended::Stored {
                self.tell(Event::Stop);
                for command in std::mem::take(&mut self.commands) {
                    self.perform(command).await;
                }
                return Ok(stored);
            }
        }
    }

    /// Waits for the next thing to happen, and tells the session.
    async fn wait(&mut self) {
        let deadline = self.session.deadline();
        let clock = Arc::clone(&self.feed.clock);
        let read = async {
            match &mut self.link {
                Some(link) => link.next().await,
                None => std::future::pending().await,
            }
        };
        let read = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return self.tell(Event::Stop),
            read = read => Some(read),
            () = sleep_until(&*clock, deadline) => None,
        };
        if let Some(read) = read {
            self.read(read);
        }
        if let Some(link) = &self.link {
            let heard = link.heard();
            self.tell(Event::Heard(heard));
        }
        self.tell(Event::Tick);
    }

    /// Takes a message, and those that are there behind it while there is room.
    fn read(&mut self, first: Read) {
        let micros = now(&*self.feed.clock).micros;
        let (mut messages, mut rows, mut end) = (false, false, None);
        let mut next = Some(first);
        while let Some(read) = next.take() {
            match read {
                Read::Control => self.feed.gather.control(),
                Read::End(detail) => {
                    let detail = self.redacted(detail);
                    end = Some(Event::Lost { detail });
                }
                Read::Message(message) => match self.message(&message, micros) {
                    Mapped::Refused => {
                        let said = self.redacted(String::from_utf8_lossy(&message).into_owned());
                        let shown: String = said.chars().take(SHOWN).collect();
                        let detail = format!("the server refused the subscription: {shown}");
                        end = Some(Event::Refused { detail });
                    }
                    Mapped::Acknowledged(acks) => {
                        self.tell(Event::Acknowledged(acks));
                        messages = true;
                    }
                    Mapped::Skipped => messages = true,
                    Mapped::Rows(pushed) => {
                        messages = true;
                        rows |= pushed.rows + pushed.bad > 0;
                    }
                },
            }
            if end.is_none() && self.feed.gather.has_room(&self.feed.options) {
                next = self.link.as_mut().and_then(Link::ready);
            }
        }
        if messages {
            self.tell(Event::Read { rows });
        }
        if let Some(end) = end {
            self.tell(end);
        }
    }

    /// A text of the server without the secrets it was sent. Whole: a piece of a secret would not be found.
    fn redacted(&self, text: String) -> String {
        match &self.link {
            Some(link) => link.redacted(text),
            None => text,
        }
    }

    fn message(&mut self, message: &[u8], micros: i64) -> Mapped {
        let status = &self.feed.status;
        let mapped = self.feed.gather.message(message, micros);
        add(&status.messages, 1);
        add(&status.bytes, message.len());
        status.last_message_micros.store(micros, Relaxed);
        match mapped {
            Mapped::Rows(pushed) => {
                add(&status.rows, pushed.rows);
                add(&status.bad, pushed.bad);
            }
            Mapped::Refused | Mapped::Acknowledged(_) | Mapped::Skipped => add(&status.skipped, 1),
        }
        mapped
    }

    /// Tells the session; what it answers is performed later, but a gap joins the batch in the making.
    pub(super) fn tell(&mut self, event: Event) {
        if let Event::Lost { detail } | Event::Refused { detail } = &event {
            self.feed.status.fails(detail);
        }
        let now = now(&*self.feed.clock);
        for command in self.session.on(event, now, &mut *self.feed.jitter) {
            match command {
                Command::Gap(gap) => self.feed.gather.gap(gap),
                command => self.commands.push(command),
            }
        }
    }

    /// Hands on what has come, and waits until it is stored.
    async fn hand_on(&mut self) -> Result<Ended, PullError> {
        let feed = &mut self.feed;
        let Some(batch) = feed.gather.take(now(&*feed.clock).micros)? else { return Ok(Ended::Stored) };
        add(&feed.status.gaps, batch.gaps.len());
        let (options, status, jitter) = (&feed.options, &*feed.status, &mut *feed.jitter);
        let stored = deliver(&batch, &*self.sink, options, status, jitter, &self.shutdown).await;
        self.tell(Event::Resumed);
        if stored {
            return Ok(Ended::Stored);
        }
        tracing::error!(feed = self.feed.name, rows = batch.rows.num_rows(), "the last batch is not stored");
        Ok(Ended::NotStored { rows: batch.rows.num_rows() })
    }
}

async fn sleep_until(clock: &dyn Clock, deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline.saturating_duration_since(clock.now())).await,
        None => std::future::pending().await,
    }
}
