//! Whole lives of feeds, without a network and without waiting.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::gap::{Gap, GapKind};
use super::super::spec::{Expected, FeedSpec};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Fixed(f64);

impl Jitter for Fixed {
    fn fraction(&mut self) -> f64 {
        self.0
    }
}

/// A session and the time it believes in.
struct World {
    session: Session,
    start: Instant,
    passed: Duration,
    jitter: Fixed,
    gaps: Vec<Gap>,
}

impl World {
    fn new(change: impl FnOnce(&mut FeedSpec)) -> Self {
        Self::since(None, change)
    }

    fn since(last_message_micros: Option<i64>, change: impl FnOnce(&mut FeedSpec)) -> Self {
        let mut spec = FeedSpec::new("wss://host/");
        change(&mut spec);
        let start = Instant::now();
        let now = Now { instant: start, micros: 0 };
        let session = Session::new(SessionOptions::new(&spec, last_message_micros), now);
        Self { session, start, passed: Duration::ZERO, jitter: Fixed(1.0), gaps: vec![] }
    }

    fn now(&self) -> Now {
        Now { instant: self.start + self.passed, micros: i64::try_from(self.passed.as_micros()).unwrap() }
    }

    /// The commands without the gaps, which are kept.
    fn on(&mut self, event: Event) -> Vec<Command> {
        let (commands, mut others) = (self.session.on(event, self.now(), &mut self.jitter), vec![]);
        for command in commands {
            match command {
                Command::Gap(gap) => self.gaps.push(gap),
                command => others.push(command),
            }
        }
        others
    }

    /// Goes on to the next deadline.
    fn sleep(&mut self) -> Vec<Command> {
        let deadline = self.session.deadline().unwrap();
        self.passed = self.passed.max(deadline - self.start);
        self.on(Event::Tick)
    }

    fn pass(&mut self, time: Duration) -> Vec<Command> {
        self.passed += time;
        self.on(Event::Tick)
    }

    fn dial(&mut self) {
        assert_eq!(self.sleep(), [Command::Dial]);
        assert_eq!(self.on(Event::Dialled), [Command::Subscribe]);
    }

    fn hear(&mut self) {
        let now = self.now().instant;
        assert_eq!(self.on(Event::Heard(now)), []);
    }

    fn lose(&mut self, detail: &str) {
        assert_eq!(self.on(Event::Lost { detail: detail.into() }), [Command::Hangup(Hangup::Gracefully)]);
    }

    fn seconds(&self) -> u64 {
        self.passed.as_secs()
    }
}

fn seconds(micros: Option<i64>) -> i64 {
    micros.unwrap() / 1_000_000
}

#[test]
fn dials_that_fail_come_at_growing_capped_delays() {
    let mut world = World::new(|spec| {
        (spec.backoff_min, spec.backoff_max) = (SECOND.into(), (20 * SECOND).into());
    });
    let mut dials = vec![];
    for _ in 0..8 {
        assert_eq!(world.sleep(), [Command::Dial]);
        assert_eq!(world.session.deadline(), None, "the dial has its own time limit");
        dials.push(world.seconds());
        world.on(Event::NotDialled { detail: "no route".into(), refused: false, retry_after: None });
    }
    assert_eq!(dials, [0, 1, 3, 7, 15, 31, 51, 71]);
    assert_eq!(world.gaps, [], "nothing was lost before there was a connection");
}

#[test]
fn delays_begin_anew_only_after_a_connection_that_lived() {
    let mut world = World::new(|spec| {
        (spec.backoff_min, spec.healthy_after) = (SECOND.into(), (10 * SECOND).into());
    });
    let mut dials = vec![];
    for life in [0, 9, 9, 10, 0, 60] {
        world.dial();
        dials.push(world.seconds());
        world.passed += life * SECOND;
        world.hear();
        world.lose("gone");
    }
    world.dial();
    dials.push(world.seconds());
    let delays: Vec<_> = dials.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(delays, [1, 9 + 2, 9 + 4, 10 + 1, 2, 60 + 1]);
}

#[test]
fn a_connection_that_was_never_subscribed_is_not_healthy() {
    let mut world = World::new(|spec| {
        spec.subscribe_ack = vec![[("/ok".parse().unwrap(), Expected::Exists(true))].into()];
        (spec.backoff_min, spec.healthy_after) = (SECOND.into(), SECOND.into());
        spec.subscribe_timeout = (30 * SECOND).into();
    });
    for delay in [1, 2, 4] {
        world.dial();
        world.passed += 20 * SECOND;
        world.lose("gone");
        let before = world.passed;
        assert_eq!(world.session.deadline().unwrap() - world.start, before + delay * SECOND);
    }
}

#[test]
fn a_server_that_asks_for_time_gets_it() {
    let mut world = World::new(|spec| spec.backoff_max = SECOND.into());
    let refuse = |world: &mut World, seconds: u64| {
        assert_eq!(world.sleep(), [Command::Dial]);
        let retry_after = Some(Duration::from_secs(seconds));
        world.on(Event::NotDialled { detail: "HTTP 429".into(), refused: true, retry_after });
        world.session.deadline().unwrap() - world.now().instant
    };
    assert_eq!(refuse(&mut world, 120), 120 * SECOND);
    assert_eq!(refuse(&mut world, 1_000_000), 3600 * SECOND);
    assert_eq!(refuse(&mut world, 0), SECOND);
    let kinds: Vec<_> = world.gaps.iter().map(|gap| gap.kind).collect();
    assert_eq!(kinds, [GapKind::Refused], "the same refusal is told once");
    assert_eq!((world.gaps[0].from_micros, world.gaps[0].detail.as_str()), (None, "HTTP 429"));
}

#[test]
fn every_loss_is_a_gap_from_the_last_message_to_the_first() {
    let mut world = World::new(|_| {});
    world.dial();
    world.passed += 5 * SECOND;
    world.on(Event::Read { rows: true });
    world.passed += 2 * SECOND;
    world.lose("reset");
    assert_eq!(world.sleep(), [Command::Dial]);
    world.on(Event::NotDialled { detail: "no route".into(), refused: false, retry_after: None });
    world.dial();
    world.passed += 3 * SECOND;
    assert_eq!(world.gaps, []);
    world.on(Event::Read { rows: false });
    let [gap] = &world.gaps[..] else { panic!("{:?}", world.gaps) };
    assert_eq!((gap.kind, gap.detail.as_str()), (GapKind::Disconnected, "reset"));
    assert_eq!((seconds(gap.from_micros), gap.to_micros), (5, world.now().micros));
    // A connection without messages counts from its beginning.
    world.passed += SECOND;
    world.lose("closed");
    world.dial();
    world.on(Event::Read { rows: true });
    assert_eq!(world.gaps.len(), 2);
    world.on(Event::Read { rows: true });
    assert_eq!(world.gaps.len(), 2);
}

#[test]
fn the_first_connection_counts_from_its_beginning() {
    let mut world = World::new(|_| {});
    assert_eq!(world.sleep(), [Command::Dial]);
    world.on(Event::NotDialled { detail: "no route".into(), refused: false, retry_after: None });
    world.dial();
    let dialled = world.now().micros;
    world.passed += SECOND;
    world.lose("closed");
    world.dial();
    world.on(Event::Read { rows: true });
    let [gap] = &world.gaps[..] else { panic!("{:?}", world.gaps) };
    assert_eq!((gap.from_micros, gap.detail.as_str()), (Some(dialled), "closed"));
}

#[test]
fn a_time_in_which_the_feed_did_not_run_is_a_gap() {
    let mut world = World::since(Some(-7_000_000), |_| {});
    world.dial();
    world.on(Event::Read { rows: true });
    let [gap] = &world.gaps[..] else { panic!("{:?}", world.gaps) };
    assert_eq!(
        (seconds(gap.from_micros), gap.to_micros, gap.detail.as_str()),
        (-7, 0, "the feed was not running")
    );
}

#[test]
fn an_open_gap_is_told_at_the_end() {
    let mut world = World::new(|_| {});
    world.dial();
    world.on(Event::Read { rows: true });
    assert_eq!(world.on(Event::Stop), [Command::Hangup(Hangup::Gracefully)]);
    assert!(world.session.is_stopped() && world.gaps.is_empty());
    assert_eq!((world.session.deadline(), world.on(Event::Tick)), (None, vec![]));

    let mut world = World::new(|_| {});
    world.dial();
    world.lose("reset");
    assert_eq!(world.on(Event::Stop), []);
    assert_eq!(world.gaps[0].detail, "reset; the feed was stopped before a message came");
}

#[test]
fn pings_and_heartbeats_go_out_at_their_intervals_and_silence_is_death() {
    let mut world = World::new(|spec| {
        spec.ping_interval = (10 * SECOND).into();
        (spec.heartbeat, spec.heartbeat_interval) = (Some("ping".into()), (15 * SECOND).into());
        spec.dead_after = (25 * SECOND).into();
    });
    world.dial();
    assert_eq!((world.sleep(), world.seconds()), (vec![Command::Ping], 10));
    assert_eq!((world.sleep(), world.seconds()), (vec![Command::Heartbeat], 15));
    world.hear();
    assert_eq!((world.sleep(), world.seconds()), (vec![Command::Ping], 20));
    // Together: neither is forgotten.
    assert_eq!((world.sleep(), world.seconds()), (vec![Command::Ping, Command::Heartbeat], 30));
    assert_eq!((world.sleep(), world.seconds()), (vec![Command::Hangup(Hangup::AtOnce)], 40));
    world.dial();
    world.on(Event::Read { rows: true });
    assert_eq!(
        (world.gaps[0].kind, world.gaps[0].detail.as_str()),
        (GapKind::Disconnected, "the peer is dead: no byte for 25s")
    );
}

#[test]
fn a_feed_with_pongs_and_no_rows_is_silent() {
    let mut world = World::new(|spec| {
        (spec.ping_interval, spec.dead_after) = (SECOND.into(), (3 * SECOND).into());
        spec.silent_after = (10 * SECOND).into();
    });
    world.dial();
    world.passed += 4 * SECOND;
    world.hear();
    world.on(Event::Read { rows: true });
    let mut commands = vec![];
    while world.session.deadline().unwrap() < world.start + 14 * SECOND {
        commands.extend(world.sleep());
        world.hear();
        world.on(Event::Read { rows: false });
    }
    assert!(commands.iter().all(|command| *command == Command::Ping));
    world.passed = 14 * SECOND;
    assert!(world.on(Event::Tick).contains(&Command::Hangup(Hangup::Gracefully)));
    let gap = &world.gaps[0];
    assert_eq!((gap.kind, seconds(gap.from_micros), seconds(Some(gap.to_micros))), (GapKind::Silent, 4, 14));
}

#[test]
fn silence_while_the_sink_is_slow_means_nothing() {
    let mut world = World::new(|spec| spec.dead_after = (20 * SECOND).into());
    world.dial();
    world.passed += 1000 * SECOND;
    world.on(Event::Resumed);
    assert_eq!(world.on(Event::Tick), [Command::Ping]);
    assert_eq!(world.pass(20 * SECOND), [Command::Hangup(Hangup::AtOnce)]);
}

fn with_acks(count: usize) -> World {
    World::new(|spec| {
        let ack = || [("/ok".parse().unwrap(), Expected::Exists(true))].into();
        spec.subscribe_ack = (0..count).map(|_| ack()).collect();
        spec.subscribe_timeout = (5 * SECOND).into();
    })
}

#[test]
fn a_subscription_that_is_not_acknowledged_is_refused() {
    let mut world = with_acks(2);
    world.dial();
    world.on(Event::Acknowledged(0b11));
    assert_eq!((world.sleep(), world.seconds()), (vec![Command::Hangup(Hangup::Gracefully)], 5));
    assert_eq!(world.gaps[0].detail, "the subscription was not acknowledged within 5s");
    assert_eq!(world.gaps[0].kind, GapKind::Refused);
    world.dial();
    world.on(Event::Acknowledged(0b11));
    world.on(Event::Acknowledged(0b11));
    world.on(Event::Read { rows: true });
    assert_eq!(world.gaps.len(), 2, "subscribed at last");
    assert_eq!(world.sleep(), [Command::Ping]);
}

#[test]
fn what_is_said_before_the_subscription_ends_no_gap() {
    let mut world = with_acks(1);
    world.dial();
    world.on(Event::Acknowledged(1));
    world.on(Event::Read { rows: true });
    world.lose("reset");
    world.dial();
    world.on(Event::Read { rows: false });
    assert_eq!(world.gaps, []);
    let detail = "the server refused the subscription".to_owned();
    assert_eq!(world.on(Event::Refused { detail }), [Command::Hangup(Hangup::Gracefully)]);
    world.dial();
    world.on(Event::Acknowledged(1));
    world.on(Event::Read { rows: true });
    let kinds: Vec<_> = world.gaps.iter().map(|gap| (gap.kind, gap.detail.as_str())).collect();
    assert_eq!(
        kinds,
        [(GapKind::Refused, "the server refused the subscription"), (GapKind::Disconnected, "reset")]
    );
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Tick),
        2 => Just(Event::Dialled),
        1 => (any::<bool>(), prop::option::of(0_u64..100)).prop_map(|(refused, after)| Event::NotDialled {
            detail: "no".into(), refused, retry_after: after.map(Duration::from_secs),
        }),
        2 => any::<bool>().prop_map(|rows| Event::Read { rows }),
        1 => any::<u64>().prop_map(Event::Acknowledged),
        1 => Just(Event::Refused { detail: "refused".into() }),
        1 => Just(Event::Lost { detail: "lost".into() }),
        1 => Just(Event::Resumed),
    ]
}

proptest! {
    /// Whatever comes in whatever order: one connection at a time, and there is always a next thing to do.
    #[test]
    fn a_session_never_gets_stuck(events in prop::collection::vec((any_event(), 0_u64..30), 1..200), acks in 0_usize..=64) {
        let mut world = with_acks(acks);
        let (mut dialling, mut open) = (false, false);
        for (event, pause) in events {
            world.passed += Duration::from_secs(pause);
            let dialled = event == Event::Dialled && dialling;
            if matches!(event, Event::Dialled | Event::NotDialled { .. }) && dialling {
                (dialling, open) = (false, dialled);
            }
            for command in world.on(event) {
                match command {
                    Command::Dial => {
                        prop_assert!(!dialling && !open);
                        dialling = true;
                    }
                    Command::Hangup(_) => {
                        prop_assert!(open);
                        open = false;
                    }
                    _ => prop_assert!(open),
                }
            }
            prop_assert_eq!(world.session.deadline().is_none(), dialling);
        }
        for gap in &world.gaps {
            prop_assert!(gap.from_micros.is_none_or(|from| from <= gap.to_micros));
        }
    }
}
