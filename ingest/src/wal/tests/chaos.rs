//! Random work on random faults, deaths and power losses: what was promised must hold.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::sim::Sim;
use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// Payload sizes of records that are enqueued together.
    Burst(Vec<usize>),
    /// How much of what is acknowledged, in hundredths.
    Trim(usize),
    /// The process dies during the next burst.
    DieAfter(u32),
    Reopen {
        power_lost: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(0..200_usize, 1..12).prop_map(Step::Burst),
        1 => (0..=100_usize).prop_map(Step::Trim),
        1 => (1..12_u32).prop_map(Step::DieAfter),
        2 => any::<bool>().prop_map(|power_lost| Step::Reopen { power_lost }),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    In(Position),
    Absent,
    Unknown,
}

struct Model {
    sim: Arc<Sim>,
    faults: u64,
    /// By id.
    fates: Vec<Fate>,
    trimmed: Position,
}

impl Model {
    fn burst(&mut self, wal: &Wal, sizes: &[usize]) {
        let tickets: Vec<_> = sizes
            .iter()
            .map(|size| {
                let id = self.fates.len() as u64;
                self.fates.push(Fate::Unknown);
                (id as usize, wal.enqueue(payload(id, *size)).unwrap())
            })
            .collect();
        for (id, ticket) in tickets {
            match run(ticket) {
                Ok(position) => {
                    self.fates[id] = Fate::In(position);
                    // What the documentation of `Uncertain` says.
                    self.settle_unknown(id);
                }
                Err(error) if error.may_be_replayed() => {
                    assert!(matches!(error, WalError::Uncertain { .. }), "{error}");
                }
                Err(error) => {
                    assert!(matches!(error, WalError::NotWritten { .. }), "{error}");
                    self.fates[id] = Fate::Absent;
                }
            }
        }
    }

    fn settle_unknown(&mut self, before: usize) {
        for fate in &mut self.fates[..before] {
            if *fate == Fate::Unknown {
                *fate = Fate::Absent;
            }
        }
    }

    fn trim(&mut self, wal: &Wal, hundredths: usize) {
        let acknowledged: Vec<_> = self.fates.iter().filter_map(position_of).collect();
        let upto = acknowledged.get(acknowledged.len() * hundredths / 100).copied().unwrap_or(wal.end());
        self.trimmed = self.trimmed.max(upto);
        let _ = run(wal.trim(upto));
    }

    fn open(&mut self, at: &Path) -> Wal {
        self.sim.live();
        for attempt in 0.. {
            self.sim.set_faults(if attempt < 3 { self.faults } else { 0 });
            match reopen(Arc::new(Arc::clone(&self.sim)), at) {
                Ok((wal, _, replayed)) => {
                    self.sim.set_faults(self.faults);
                    self.check(&replayed);
                    return wal;
                }
                Err(error) => assert!(matches!(error, WalError::Io { .. }) && attempt < 3, "{error}"),
            }
        }
        unreachable!()
    }

    fn check(&mut self, replayed: &Replayed) {
        let ids = ids(replayed);
        assert!(ids.is_sorted_by(|a, b| a < b), "twice or out of order: {ids:?}");
        for (id, fate) in self.fates.iter_mut().enumerate() {
            let found = ids.binary_search(&(id as u64)).ok().map(|i| replayed[i].0);
            match (*fate, found) {
                (Fate::In(position), Some(found)) => assert_eq!(position, found, "record {id} moved"),
                (Fate::In(position), None) => assert!(position < self.trimmed, "record {id} is lost"),
                (Fate::Absent, found) => assert_eq!(found, None, "record {id} was said to be absent"),
                // Open settles it for good.
                (Fate::Unknown, Some(position)) => *fate = Fate::In(position),
                (Fate::Unknown, None) => *fate = Fate::Absent,
            }
        }
    }
}

fn position_of(fate: &Fate) -> Option<Position> {
    if let Fate::In(position) = fate { Some(*position) } else { None }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_acknowledged_record_comes_back_once_and_in_order(
        seed: u64,
        faults in prop_oneof![Just(0_u64), 1..400_u64],
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut model = Model { sim: Sim::new(seed), faults, fates: Vec::new(), trimmed: Position(0) };
        let mut wal = model.open(directory.path());
        for step in steps.into_iter().chain([Step::Reopen { power_lost: true }]) {
            match step {
                Step::Burst(sizes) => model.burst(&wal, &sizes),
                Step::Trim(hundredths) => model.trim(&wal, hundredths),
                Step::DieAfter(operations) => model.sim.die_after(operations),
                Step::Reopen { power_lost } => {
                    drop(wal);
                    if power_lost {
                        model.sim.lose_power();
                    }
                    wal = model.open(directory.path());
                }
            }
        }
    }
}
