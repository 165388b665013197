//! Each fault by itself: what the caller is told, and that the log goes on.

use std::fs;

use super::sim::{Op, Sim};
use super::*;

struct Bench {
    directory: tempfile::TempDir,
    sim: Arc<Sim>,
    wal: Wal,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sim = Sim::new(1);
        let (wal, ..) = reopen(Arc::new(Arc::clone(&sim)), directory.path()).unwrap();
        let bench = Self { directory, sim, wal };
        bench.append(0).unwrap();
        bench
    }

    fn append(&self, id: u64) -> Result<Position, WalError> {
        run(self.wal.append(payload(id, 20)))
    }

    fn segments(&self) -> usize {
        fs::read_dir(self.directory.path()).unwrap().count() - 1
    }

    fn replayed(self, power_lost: bool) -> Vec<u64> {
        assert!(self.sim.all_failed(), "a fault of the script never came");
        drop(self.wal);
        if power_lost {
            self.sim.lose_power();
        }
        ids(&reopen(Arc::new(self.sim), self.directory.path()).unwrap().2)
    }
}

#[test]
fn a_failed_write_is_taken_back_and_the_segment_goes_on() {
    let bench = Bench::new();
    bench.sim.fail(&[Op::Write]);
    assert!(matches!(bench.append(1), Err(WalError::NotWritten { .. })));
    bench.append(2).unwrap();
    assert_eq!(bench.segments(), 1);
    assert_eq!(bench.replayed(true), [0, 2]);
}

#[test]
fn a_failed_sync_is_not_tried_again_on_the_same_bytes() {
    let bench = Bench::new();
    bench.sim.fail(&[Op::Sync]);
    assert!(matches!(bench.append(1), Err(WalError::NotWritten { .. })));
    bench.append(2).unwrap();
    assert_eq!(bench.segments(), 2);
    assert_eq!(bench.replayed(true), [0, 2]);
}

#[test]
fn what_can_not_be_cut_off_is_bounded_by_the_next_segment() {
    for power_lost in [false, true] {
        let bench = Bench::new();
        bench.sim.fail(&[Op::Sync, Op::SetLen]);
        assert!(matches!(bench.append(1), Err(WalError::NotWritten { .. })));
        assert_eq!(bench.segments(), 2);
        assert!(bench.wal.used_bytes() > 2 * 32 + 44, "what is left behind counts");
        assert_eq!(bench.replayed(power_lost), [0]);
    }
}

#[test]
fn what_can_neither_be_cut_off_nor_bounded_is_uncertain_until_the_next_success() {
    let bench = Bench::new();
    bench.sim.fail(&[Op::Sync, Op::SetLen, Op::Open]);
    let error = bench.append(1).unwrap_err();
    assert!(matches!(error, WalError::Uncertain { .. }) && error.may_be_replayed());
    bench.append(2).unwrap();
    assert_eq!(bench.replayed(false), [0, 2]);
}

#[test]
fn the_same_holds_for_the_first_group_of_a_segment() {
    let directory = tempfile::tempdir().unwrap();
    let sim = Sim::new(2);
    let (wal, ..) = reopen(Arc::new(Arc::clone(&sim)), directory.path()).unwrap();
    sim.fail(&[Op::Sync, Op::SetLen, Op::Open]);
    let bench = Bench { directory, sim, wal };
    assert!(matches!(bench.append(1), Err(WalError::Uncertain { .. })));
    bench.append(2).unwrap();
    assert_eq!(bench.segments(), 1);
    assert_eq!(bench.replayed(true), [2]);
}

#[test]
fn the_log_recovers_by_itself_when_space_returns() {
    let bench = Bench::new();
    bench.sim.set_faults(1000);
    for id in 1..20 {
        bench.append(id).unwrap_err();
    }
    bench.sim.set_faults(0);
    for id in 20..40 {
        bench.append(id).unwrap();
    }
    let expected: Vec<_> = [0].into_iter().chain(20..40).collect();
    assert_eq!(bench.replayed(true), expected);
}

#[test]
fn a_new_segment_is_durable_before_its_first_acknowledgement() {
    for op in [Op::Open, Op::SetLen, Op::Write, Op::Sync, Op::SyncDirectory] {
        let bench = Bench::new();
        let mut expected = vec![0];
        while bench.wal.used_bytes() + 44 <= 400 {
            let id = expected.len() as u64;
            bench.append(id).unwrap();
            expected.push(id);
        }
        bench.sim.fail(&[op]);
        assert!(matches!(bench.append(90), Err(WalError::NotWritten { .. })), "{op:?}");
        bench.append(91).unwrap();
        expected.push(91);
        assert_eq!(bench.replayed(true), expected);
    }
}

#[test]
fn a_failed_trim_can_be_repeated() {
    for op in [Op::Remove, Op::SyncDirectory, Op::Open] {
        let bench = Bench::new();
        for id in 1..40 {
            bench.append(id).unwrap();
        }
        bench.sim.fail(&[op]);
        assert!(matches!(run(bench.wal.trim(bench.wal.end())), Err(WalError::Io { .. })), "{op:?}");
        run(bench.wal.trim(bench.wal.end())).unwrap();
        assert_eq!((bench.segments(), bench.wal.used_bytes()), (1, 32));
        bench.append(40).unwrap();
        assert_eq!(bench.replayed(true), [40]);
    }
}

#[test]
fn records_that_were_only_in_the_cache_are_made_durable_by_open() {
    let bench = Bench::new();
    // The sync fails, so the system takes the record for clean, and the process dies before the cut.
    bench.sim.fail(&[Op::Sync]);
    bench.sim.die_after(3);
    bench.append(1).unwrap_err();
    let Bench { directory, sim, wal } = bench;
    drop(wal);
    sim.live();
    let (wal, _, first) = reopen(Arc::new(Arc::clone(&sim)), directory.path()).unwrap();
    drop(wal);
    sim.lose_power();
    let (_wal, _, second) = reopen(Arc::new(sim), directory.path()).unwrap();
    assert_eq!(ids(&first), [0, 1]);
    assert_eq!(first, second);
}
