//! The session itself.

use std::time::{Duration, Instant};

use super::super::gap::{Gap, GapKind};
use super::super::spec::FeedSpec;
use super::backoff::{Backoff, Jitter};
use super::event::{Command, Event, Hangup, Now};
use super::open::{Due, Open};

/// A server's wish to be left alone is followed so far.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// What a session needs of a feed's options. Times of zero are switched off.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// How many acknowledgements there are, at most 64.
    pub acks: usize,
    pub subscribe_timeout: Duration,
    pub ping_interval: Duration,
    pub heartbeat_interval: Option<Duration>,
    pub dead_after: Duration,
    pub silent_after: Duration,
    pub backoff: Backoff,
    /// When the last message came before this session, microseconds since 1970.
    pub last_message_micros: Option<i64>,
}

impl SessionOptions {
    #[must_use]
    pub fn new(spec: &FeedSpec, last_message_micros: Option<i64>) -> Self {
        let (min, max) = (spec.backoff_min.get(), spec.backoff_max.get());
        Self {
            acks: spec.subscribe_ack.len(),
            subscribe_timeout: spec.subscribe_timeout.get(),
            ping_interval: spec.ping_interval.get(),
            heartbeat_interval: spec.heartbeat.as_ref().map(|_| spec.heartbeat_interval.get()),
            dead_after: spec.dead_after.get(),
            silent_after: spec.silent_after.get(),
            backoff: Backoff::new(min, max, spec.healthy_after.get()),
            last_message_micros,
        }
    }
}

#[derive(Debug)]
enum State {
    /// Until the next attempt.
    Waiting(Instant),
    Dialling,
    Open(Open),
    Stopped,
}

/// A time without messages.
#[derive(Debug)]
struct Outage {
    from_micros: Option<i64>,
    detail: String,
}

/// The life of a feed over all its connections.
#[derive(Debug)]
pub struct Session {
    options: SessionOptions,
    state: State,
    outage: Option<Outage>,
    /// When the last message came, or when there was a connection for the first time.
    last_micros: Option<i64>,
    /// When the last row came.
    last_row_micros: Option<i64>,
    /// The refusal told last in this outage.
    refusal: Option<String>,
}

impl Session {
    /// A session that dials at its first tick.
    #[must_use]
    pub fn new(options: SessionOptions, now: Now) -> Self {
        let outage = options.last_message_micros.map(|micros| Outage {
            from_micros: Some(micros),
            detail: "the feed was not running".to_owned(),
        });
        let last_micros = options.last_message_micros;
        Self {
            options,
            state: State::Waiting(now.instant),
            outage,
            last_micros,
            last_row_micros: None,
            refusal: None,
        }
    }

    /// When to send the next [`Event::Tick`].
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting(until) => Some(*until),
            State::Open(open) => open.deadline(&self.options),
            State::Dialling | State::Stopped => None,
        }
    }

    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(self.state, State::Stopped)
    }

    /// Takes an event. Those that do not fit the state came too late and change nothing.
    pub fn on(&mut self, event: Event, now: Now, jitter: &mut dyn Jitter) -> Vec<Command> {
        let mut commands = Vec::new();
        match (&mut self.state, event) {
            (State::Stopped, _) => {}
            (_, Event::Stop) => self.stop(now, &mut commands),
            (State::Waiting(until), Event::Tick) if *until <= now.instant => {
                self.state = State::Dialling;
                commands.push(Command::Dial);
            }
            (State::Dialling, Event::Dialled) => {
                let acks = u32::try_from(self.options.acks).unwrap_or(u32::MAX);
                let waited_for = u64::MAX.checked_shl(acks).map_or(u64::MAX, |others| !others);
                self.state = State::Open(Open::new(waited_for, now.instant));
                // Nothing was lost before there was a connection.
                self.outage.take_if(|outage| outage.from_micros.is_none());
                self.last_micros = self.last_micros.or(Some(now.micros));
                commands.push(Command::Subscribe);
            }
            (State::Dialling, Event::NotDialled { detail, refused, retry_after }) => {
                if refused {
                    self.refused(&detail, now, &mut commands);
                }
                self.lose(detail, retry_after, now, jitter);
            }
            (State::Open(open), Event::Heard(at)) => open.heard(at),
            (State::Open(open), Event::Acknowledged(fulfilled)) => open.acknowledge(fulfilled, now.instant),
            (State::Open(open), Event::Resumed) => open.resume(now.instant),
            (State::Open(_), Event::Read { rows }) => self.read(rows, now, &mut commands),
            (State::Open(_), Event::Refused { detail }) => {
                self.refused(&detail, now, &mut commands);
                self.hang_up(Hangup::Gracefully, detail, now, jitter, &mut commands);
            }
            (State::Open(_), Event::Lost { detail }) => {
                self.hang_up(Hangup::Gracefully, detail, now, jitter, &mut commands);
            }
            (State::Open(_), Event::Tick) => self.tick(now, jitter, &mut commands),
            _ => {}
        }
        commands
    }

    fn read(&mut self, rows: bool, now: Now, commands: &mut Vec<Command>) {
        let State::Open(open) = &mut self.state else { return };
        if rows {
            open.rows(now.instant);
            self.last_row_micros = Some(now.micros);
        }
        // What a server says before it has taken the subscription is no sign that rows flow again.
        if open.subscribed.is_some() {
            self.refusal = None;
            if let Some(Outage { from_micros: Some(from), detail }) = self.outage.take() {
                commands.push(Command::Gap(disconnected(from, now, detail)));
            }
            self.last_micros = Some(now.micros);
        }
    }

    fn tick(&mut self, now: Now, jitter: &mut dyn Jitter, commands: &mut Vec<Command>) {
        while let State::Open(open) = &mut self.state {
            let Some(due) = open.due(&self.options, now.instant) else { return };
            match due {
                Due::Ping => {
                    open.pinged(now.instant);
                    commands.push(Command::Ping);
                }
                Due::Heartbeat => {
                    open.beaten(now.instant);
                    commands.push(Command::Heartbeat);
                }
                Due::Dead => {
                    let detail = format!("the peer is dead: no byte for {:?}", self.options.dead_after);
                    self.hang_up(Hangup::AtOnce, detail, now, jitter, commands);
                }
                Due::NotAcknowledged => {
                    let time = self.options.subscribe_timeout;
                    let detail = format!("the subscription was not acknowledged within {time:?}");
                    self.refused(&detail, now, commands);
                    self.hang_up(Hangup::Gracefully, detail, now, jitter, commands);
                }
                Due::Silent => {
                    let detail = format!("the feed is silent: no row for {:?}", self.options.silent_after);
                    let from_micros = self.last_row_micros.or(self.last_micros);
                    commands
                        .push(Command::Gap(Gap { from_micros, ..gap(GapKind::Silent, now, detail.clone()) }));
                    self.hang_up(Hangup::Gracefully, detail, now, jitter, commands);
                }
            }
        }
    }

    /// Tells a refusal, the same one once in an outage.
    fn refused(&mut self, detail: &str, now: Now, commands: &mut Vec<Command>) {
        if self.refusal.as_deref() != Some(detail) {
            self.refusal = Some(detail.to_owned());
            let from_micros = self.last_micros;
            commands.push(Command::Gap(Gap { from_micros, ..gap(GapKind::Refused, now, detail.to_owned()) }));
        }
    }

    fn hang_up(
        &mut self,
        how: Hangup,
        detail: String,
        now: Now,
        jitter: &mut dyn Jitter,
        commands: &mut Vec<Command>,
    ) {
        commands.push(Command::Hangup(how));
        self.lose(detail, None, now, jitter);
    }

    fn lose(&mut self, detail: String, retry_after: Option<Duration>, now: Now, jitter: &mut dyn Jitter) {
        if let State::Open(Open { subscribed: Some(since), .. }) = &self.state {
            self.options.backoff.lived(now.instant.saturating_duration_since(*since));
        }
        // An outage is told by what began it.
        self.outage.get_or_insert(Outage { from_micros: self.last_micros, detail });
        let wish = retry_after.unwrap_or(Duration::ZERO).min(LONGEST_RETRY_AFTER);
        let delay = self.options.backoff.next(jitter).max(wish);
        self.state = State::Waiting(now.instant.checked_add(delay).unwrap_or(now.instant));
    }

    fn stop(&mut self, now: Now, commands: &mut Vec<Command>) {
        if let Some(Outage { from_micros: Some(from), detail }) = self.outage.take() {
            let detail = format!("{detail}; the feed was stopped before a message came");
            commands.push(Command::Gap(disconnected(from, now, detail)));
        }
        if let State::Open(_) = &self.state {
            commands.push(Command::Hangup(Hangup::Gracefully));
        }
        self.state = State::Stopped;
    }
}

fn disconnected(from: i64, now: Now, detail: String) -> Gap {
    Gap { from_micros: Some(from), ..gap(GapKind::Disconnected, now, detail) }
}

fn gap(kind: GapKind, now: Now, detail: String) -> Gap {
    Gap { kind, key: None, expected: None, found: None, from_micros: None, to_micros: now.micros, detail }
}
