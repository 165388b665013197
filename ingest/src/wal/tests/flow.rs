//! Queue, groups, limits, trimming, closing.

use std::pin::pin;
use std::task::{Context, Waker};

use super::sim::Sim;
use super::*;
use crate::wal::disk::RealDisk;
use crate::wal::writer::GROUP_BYTES;

fn is_pending<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[test]
fn round_trip_over_several_segments() {
    let directory = tempfile::tempdir().unwrap();
    let sizes = [0, 1, 100, 390, 1000, 5, 0, 300, 70_000, 3];
    let mut expected = Replayed::new();
    for round in 0..3 {
        let (wal, recovered, replayed) = reopen(Arc::new(RealDisk), directory.path()).unwrap();
        assert_eq!(recovered.torn_bytes, 0);
        assert_eq!(replayed, expected);
        for size in sizes {
            let bytes = payload(round, size);
            let position = run(wal.append(bytes.clone())).unwrap();
            assert_eq!(wal.end(), position.after(bytes.len()));
            expected.push((position, bytes.to_vec()));
        }
    }
    assert!(std::fs::read_dir(directory.path()).unwrap().count() > 9);
}

#[test]
fn an_empty_payload_is_a_record() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, ..) = reopen(Arc::new(RealDisk), directory.path()).unwrap();
    for _ in 0..3 {
        run(wal.append(Bytes::new())).unwrap();
    }
    drop(wal);
    assert_eq!(reopen(Arc::new(RealDisk), directory.path()).unwrap().1.records, 3);
}

#[test]
fn what_waits_while_a_group_is_written_is_the_next_group() {
    let directory = tempfile::tempdir().unwrap();
    let sim = Sim::new(0);
    let roomy = WalOptions { segment_bytes: 1 << 30, ..options(directory.path()) };
    let (wal, ..) = reopen_with(Arc::new(Arc::clone(&sim)), roomy).unwrap();
    let before = sim.counts();
    sim.hold();
    let mut tickets = vec![wal.enqueue(payload(0, 100)).unwrap()];
    sim.wait_until_held();
    tickets.extend((1..1000).map(|id| wal.enqueue(payload(id, 100)).unwrap()));
    sim.release();
    for ticket in tickets {
        run(ticket).unwrap();
    }
    let after = sim.counts();
    assert_eq!((after.writes - before.writes, after.syncs - before.syncs), (2, 2));
}

#[test]
fn a_group_is_bounded_in_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let sim = Sim::new(0);
    let roomy = WalOptions { segment_bytes: 1 << 30, ..options(directory.path()) };
    let (wal, ..) = reopen_with(Arc::new(Arc::clone(&sim)), roomy).unwrap();
    sim.hold();
    let first = wal.enqueue(payload(0, 0)).unwrap();
    sim.wait_until_held();
    let before = sim.counts();
    let large = Bytes::from(vec![7; GROUP_BYTES as usize / 4]);
    let tickets: Vec<_> = (0..8).map(|_| wal.enqueue(large.clone()).unwrap()).collect();
    sim.release();
    run(first).unwrap();
    for ticket in tickets {
        run(ticket).unwrap();
    }
    assert_eq!(sim.counts().writes - before.writes, 2);
}

#[test]
fn nothing_is_acknowledged_before_its_sync() {
    let directory = tempfile::tempdir().unwrap();
    let sim = Sim::new(0);
    let (wal, ..) = reopen(Arc::new(Arc::clone(&sim)), directory.path()).unwrap();
    sim.hold();
    let mut append = pin!(wal.append(payload(0, 5)));
    assert!(is_pending(append.as_mut()));
    sim.wait_until_held();
    assert!(is_pending(append.as_mut()));
    assert_eq!(wal.end(), Position(0));
    sim.release();
    assert_eq!(run(append).unwrap(), Position(0));
}

#[test]
fn a_full_queue_makes_appenders_wait() {
    let directory = tempfile::tempdir().unwrap();
    let sim = Sim::new(0);
    let narrow = WalOptions { queue: 1, ..options(directory.path()) };
    let (wal, ..) = reopen_with(Arc::new(Arc::clone(&sim)), narrow).unwrap();
    sim.hold();
    let first = wal.enqueue(payload(0, 0)).unwrap();
    sim.wait_until_held();
    let second = wal.enqueue(payload(1, 0)).unwrap();
    assert!(matches!(wal.enqueue(payload(2, 0)), Err(WalError::Busy)));
    let mut reserve = Box::pin(wal.reserve());
    assert!(is_pending(reserve.as_mut()));
    sim.release();
    run(async {
        let third = reserve.await.unwrap().enqueue(payload(3, 0)).unwrap();
        for ticket in [first, second, third] {
            ticket.await.unwrap();
        }
    });
    drop(wal);
    assert_eq!(ids(&reopen(Arc::new(sim), directory.path()).unwrap().2), [0, 1, 3]);
}

#[test]
fn full_then_trim_then_append() {
    let directory = tempfile::tempdir().unwrap();
    let small = WalOptions { max_bytes: 2000, ..options(directory.path()) };
    let (wal, ..) = reopen_with(Arc::new(RealDisk), small.clone()).unwrap();
    let mut last = Position(0);
    let error = loop {
        match run(wal.append(payload(1, 50))) {
            Ok(position) => last = position,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, WalError::Full { used, limit: 2000 } if used == wal.used_bytes()), "{error}");
    assert!((1800..2000).contains(&wal.used_bytes()));
    assert!(matches!(wal.enqueue(payload(1, 50)), Err(WalError::Full { .. })));

    // The record at `last` stays, and so does its segment.
    run(wal.trim(last)).unwrap();
    assert!(wal.used_bytes() < 800);
    run(wal.append(payload(2, 50))).unwrap();

    run(wal.trim(wal.end())).unwrap();
    assert_eq!(wal.used_bytes(), 32);
    let end = wal.end();
    drop(wal);
    let (wal, recovered, replayed) = reopen_with(Arc::new(RealDisk), small).unwrap();
    assert_eq!((recovered.begin, replayed.len(), wal.end()), (end, 0, end));
    assert_eq!(run(wal.append(payload(3, 50))).unwrap(), end);
}

#[test]
fn reserve_says_full_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let tiny = WalOptions { max_bytes: 100, ..options(directory.path()) };
    let (wal, ..) = reopen_with(Arc::new(RealDisk), tiny).unwrap();
    run(wal.append(payload(0, 40))).unwrap();
    assert!(matches!(run(wal.reserve()), Err(WalError::Full { used: 96, limit: 100 })));
}

#[test]
fn trimming_keeps_every_record_at_or_after_the_position() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, ..) = reopen(Arc::new(RealDisk), directory.path()).unwrap();
    let positions: Vec<_> = (0..50).map(|id| run(wal.append(payload(id, 60))).unwrap()).collect();
    run(wal.trim(positions[30])).unwrap();
    drop(wal);
    let ids = ids(&reopen(Arc::new(RealDisk), directory.path()).unwrap().2);
    assert!(ids[0] > 20 && ids[0] <= 30);
    assert_eq!(ids, (ids[0]..50).collect::<Vec<_>>());
}

#[test]
fn trimming_an_empty_log_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let sim = Sim::new(0);
    let (wal, ..) = reopen(Arc::new(Arc::clone(&sim)), directory.path()).unwrap();
    let before = sim.counts();
    run(wal.trim(Position(1000))).unwrap();
    assert_eq!((wal.end(), wal.used_bytes()), (Position(0), 32));
    assert_eq!(sim.counts().syncs, before.syncs);
}

#[test]
fn too_large_is_said_at_once_and_even_when_full() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, ..) = reopen(Arc::new(RealDisk), directory.path()).unwrap();
    let large = Bytes::from(vec![0; crate::wal::MAX_PAYLOAD + 1]);
    assert!(matches!(run(wal.append(large)), Err(WalError::TooLarge { .. })));
    drop(wal);
    let small = WalOptions { max_bytes: 100, ..options(directory.path()) };
    let (wal, ..) = reopen_with(Arc::new(RealDisk), small).unwrap();
    // 100 less a header of 32 and a frame of 16.
    assert!(matches!(wal.enqueue(payload(0, 45)), Err(WalError::TooLarge { bytes: 53, limit: 52 })));
    run(wal.append(payload(0, 44))).unwrap();
    run(wal.trim(wal.end())).unwrap();
    run(wal.append(payload(0, 44))).unwrap();
}

#[test]
fn a_second_writer_is_turned_away() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, ..) = reopen(Arc::new(RealDisk), directory.path()).unwrap();
    let error = reopen(Arc::new(RealDisk), directory.path()).unwrap_err();
    assert!(matches!(&error, WalError::Locked { directory: locked } if locked == directory.path()));
    run(wal.close()).unwrap();
    // Free as soon as it is closed, though the handle is still there.
    reopen(Arc::new(RealDisk), directory.path()).unwrap();
}

#[test]
fn closing_writes_what_is_queued() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, ..) = reopen(Arc::new(RealDisk), directory.path()).unwrap();
    let tickets: Vec<_> = (0..300).map(|id| wal.enqueue(payload(id, 30)).unwrap()).collect();
    run(wal.close()).unwrap();
    run(wal.close()).unwrap();
    for ticket in tickets {
        run(ticket).unwrap();
    }
    assert!(matches!(run(wal.append(Bytes::new())), Err(WalError::Closed)));
    assert!(matches!(run(wal.trim(Position(0))), Err(WalError::Closed)));
    let (_wal, _, replayed) = reopen(Arc::new(RealDisk), directory.path()).unwrap();
    assert_eq!(ids(&replayed), (0..300).collect::<Vec<_>>());
}

#[test]
fn closing_waits_for_permits_in_hand() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, ..) = reopen(Arc::new(RealDisk), directory.path()).unwrap();
    run(async {
        let permit = wal.reserve().await.unwrap();
        let mut close = pin!(wal.close());
        assert!(is_pending(close.as_mut()));
        let ticket = permit.enqueue(payload(5, 5)).unwrap();
        close.await.unwrap();
        ticket.await.unwrap();
    });
    assert_eq!(ids(&reopen(Arc::new(RealDisk), directory.path()).unwrap().2), [5]);
}

#[test]
fn dropping_writes_what_is_queued() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, ..) = reopen(Arc::new(RealDisk), directory.path()).unwrap();
    let tickets: Vec<_> = (0..300).map(|id| wal.enqueue(payload(id, 30)).unwrap()).collect();
    drop(wal);
    for ticket in tickets {
        run(ticket).unwrap();
    }
    assert_eq!(reopen(Arc::new(RealDisk), directory.path()).unwrap().1.records, 300);
}

#[test]
fn makes_its_directory_with_parents() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("a/b/c");
    let (wal, ..) = reopen(Arc::new(RealDisk), &deep).unwrap();
    run(wal.append(Bytes::new())).unwrap();
}

#[test]
fn senseless_options_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let good = options(directory.path());
    for bad in [
        WalOptions { queue: 0, ..good.clone() },
        WalOptions { segment_bytes: 32, ..good.clone() },
        WalOptions { max_bytes: 48, ..good.clone() },
    ] {
        assert!(matches!(reopen_with(Arc::new(RealDisk), bad), Err(WalError::Options(_))));
    }
}

#[test]
fn an_error_of_the_replay_function_is_passed_on() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, ..) = reopen(Arc::new(RealDisk), directory.path()).unwrap();
    run(wal.append(payload(0, 0))).unwrap();
    drop(wal);
    let failed = Wal::open(options(directory.path()), |_, _| Err(WalError::replay(std::fmt::Error)));
    assert!(matches!(failed, Err(WalError::Replay(_))));
    // And the lock is free again.
    reopen(Arc::new(RealDisk), directory.path()).unwrap();
}
