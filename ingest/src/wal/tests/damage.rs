//! Bytes that are missing or changed: a torn tail is cut off, all else is said.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::sim::Sim;
use super::*;

/// A closed log of records with ids from zero, each in a group of its own.
struct Log {
    directory: tempfile::TempDir,
    records: Replayed,
}

impl Log {
    fn new(sizes: &[usize]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (wal, ..) = reopen(Arc::new(Sim::new(0)), directory.path()).unwrap();
        let append = |(id, size): (usize, &usize)| {
            let bytes = payload(id as u64, *size);
            (run(wal.append(bytes.clone())).unwrap(), bytes.to_vec())
        };
        let records = sizes.iter().enumerate().map(append).collect();
        drop(wal);
        Self { directory, records }
    }

    fn segments(&self) -> Vec<PathBuf> {
        let paths = fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some()).collect();
        paths.sort();
        paths
    }

    fn open(&self) -> Result<(Wal, Recovered, Replayed), WalError> {
        reopen(Arc::new(Sim::new(0)), self.directory.path())
    }

    fn edit(path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(path).unwrap();
        edit(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    /// Fails to open, twice the same way, and without a change to any file.
    fn assert_damaged(&self, path: &Path) -> u64 {
        let before: Vec<_> = self.segments().iter().map(|path| fs::read(path).unwrap()).collect();
        let mut offsets = [0; 2];
        for found in &mut offsets {
            match self.open().unwrap_err() {
                WalError::Damaged { path: at, offset, .. } if at == path => *found = offset,
                error => panic!("{error}"),
            }
        }
        assert_eq!(offsets[0], offsets[1]);
        let after: Vec<_> = self.segments().iter().map(|path| fs::read(path).unwrap()).collect();
        assert_eq!(before, after);
        offsets[0]
    }
}

fn base_of(path: &Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_cut_tail_gives_back_exactly_the_whole_records_before_it(
        sizes in prop::collection::vec(0..300_usize, 1..30),
        at: prop::sample::Index,
    ) {
        let log = Log::new(&sizes);
        let last = log.segments().pop().unwrap();
        let len = at.index(fs::metadata(&last).unwrap().len() as usize + 1);
        Log::edit(&last, |bytes| bytes.truncate(len));
        let end = base_of(&last) + (len as u64).saturating_sub(32);
        let (wal, _, replayed) = log.open().unwrap();
        let whole = log.records.iter().take_while(|(at, bytes)| at.after(bytes.len()).0 <= end).count();
        prop_assert_eq!(&replayed, &log.records[..whole]);
        // And the log goes on from there.
        run(wal.append(payload(99, 10))).unwrap();
        drop(wal);
        let (_wal, recovered, replayed) = log.open().unwrap();
        prop_assert_eq!(recovered.torn_bytes, 0);
        prop_assert_eq!(replayed.len(), whole + 1);
    }

    #[test]
    fn a_flipped_bit_is_damage_unless_it_is_in_the_last_record(
        sizes in prop::collection::vec(0..300_usize, 1..30),
        segment: prop::sample::Index,
        at: prop::sample::Index,
        bit in 0..8_u32,
    ) {
        let log = Log::new(&sizes);
        let segments = log.segments();
        let path = segment.get(&segments);
        let offset = at.index(fs::metadata(path).unwrap().len() as usize);
        Log::edit(path, |bytes| bytes[offset] ^= 1 << bit);
        let (last, _) = log.records.last().unwrap();
        if offset >= 32 && base_of(path) + offset as u64 - 32 >= last.0 {
            let (_wal, recovered, replayed) = log.open().unwrap();
            prop_assert_eq!(&replayed, &log.records[..log.records.len() - 1]);
            prop_assert!(recovered.torn_bytes > 0);
        } else {
            prop_assert!(log.assert_damaged(path) <= offset as u64);
        }
    }

    #[test]
    fn garbage_behind_the_end_is_cut_off(
        sizes in prop::collection::vec(0..100_usize, 1..10),
        garbage in prop::collection::vec(any::<u8>(), 1..300),
    ) {
        let log = Log::new(&sizes);
        Log::edit(&log.segments().pop().unwrap(), |bytes| bytes.extend(&garbage));
        let (_wal, recovered, replayed) = log.open().unwrap();
        prop_assert_eq!(replayed, log.records);
        prop_assert_eq!(recovered.torn_bytes, garbage.len() as u64);
    }
}

const MANY: [usize; 20] = [70; 20];

#[test]
fn a_gap_is_damage() {
    let log = Log::new(&MANY);
    let segments = log.segments();
    fs::remove_file(&segments[1]).unwrap();
    log.assert_damaged(&segments[0]);
}

#[test]
fn a_short_segment_with_one_behind_it_is_damage() {
    let log = Log::new(&MANY);
    let first = log.segments().remove(0);
    Log::edit(&first, |bytes| bytes.truncate(bytes.len() - 1));
    log.assert_damaged(&first);
}

#[test]
fn a_renamed_segment_is_damage() {
    let log = Log::new(&MANY);
    let last = log.segments().pop().unwrap();
    let other = last.with_file_name("00000000000000099999.wal");
    fs::rename(&last, &other).unwrap();
    assert!(matches!(log.open(), Err(WalError::Damaged { .. })));
    fs::rename(&other, last.with_file_name("7.wal")).unwrap();
    assert!(matches!(log.open(), Err(WalError::Damaged { reason: "not a segment's name", .. })));
}

#[test]
fn a_half_made_last_segment_is_a_torn_tail() {
    for half in [vec![], vec![0; 32], b"PLRWAL\r\n".to_vec()] {
        let log = Log::new(&MANY);
        let (last, bytes) = log.records.last().unwrap();
        let next = log.directory.path().join(format!("{:020}.wal", last.after(bytes.len()).0));
        fs::write(&next, &half).unwrap();
        let (wal, recovered, replayed) = log.open().unwrap();
        assert_eq!((replayed, recovered.torn_bytes), (log.records.clone(), half.len() as u64));
        run(wal.append(payload(20, 3))).unwrap();
        drop(wal);
        assert_eq!(log.open().unwrap().1.records, 21);
    }
}

#[test]
fn another_version_is_left_alone() {
    let log = Log::new(&[5]);
    let path = log.segments().remove(0);
    Log::edit(&path, |bytes| {
        bytes[8] = 2;
        let sum = crc32c::crc32c(&bytes[..28]);
        bytes[28..32].copy_from_slice(&sum.to_le_bytes());
    });
    let before = fs::read(&path).unwrap();
    assert!(matches!(log.open(), Err(WalError::Version { found: 2, known: 1, .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn other_files_are_ignored() {
    let log = Log::new(&[5]);
    fs::write(log.directory.path().join("notes.txt"), "x").unwrap();
    assert_eq!(log.open().unwrap().1.records, 1);
}

/// Records 0, then 1 to 5 as one group; returns the offset of record 3 in the only segment.
fn log_with_a_group() -> (Log, usize) {
    let directory = tempfile::tempdir().unwrap();
    let sim = Sim::new(0);
    let roomy = WalOptions { segment_bytes: 1 << 20, ..options(directory.path()) };
    let (wal, ..) = reopen_with(Arc::new(Arc::clone(&sim)), roomy).unwrap();
    sim.hold();
    let mut tickets = vec![wal.enqueue(payload(0, 9)).unwrap()];
    sim.wait_until_held();
    tickets.extend((1..6).map(|id| wal.enqueue(payload(id, 9)).unwrap()));
    sim.release();
    for ticket in tickets {
        run(ticket).unwrap();
    }
    (Log { directory, records: Vec::new() }, 32 + 3 * 33)
}

#[test]
fn a_hole_in_the_last_group_is_a_torn_tail() {
    let (log, third) = log_with_a_group();
    Log::edit(&log.segments()[0], |bytes| bytes[third..third + 33].fill(0));
    let (_wal, recovered, replayed) = log.open().unwrap();
    assert_eq!((ids(&replayed), recovered.torn_bytes), (vec![0, 1, 2], 3 * 33));
}

#[test]
fn a_hole_before_the_last_group_is_damage() {
    let (log, third) = log_with_a_group();
    let (wal, ..) = log.open().unwrap();
    run(wal.append(payload(6, 9))).unwrap();
    drop(wal);
    let path = &log.segments()[0];
    assert_eq!(log.segments().len(), 1);
    Log::edit(path, |bytes| bytes[third..third + 33].fill(0));
    assert_eq!(log.assert_damaged(path), third as u64);
}
