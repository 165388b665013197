use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use polarway_common::Attempt;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::assemble::Assembly;
use super::super::record::longest;
use super::super::testing::{content, file, id};
use super::super::{FileKind, FileName, Limits, MAX_SEGMENT, Output, OutputFile, Pack, Packer, Record};

const AGE: Duration = Duration::from_secs(2);

fn limits(target: u64) -> Limits {
    Limits { target, max_age: AGE }
}

/// An output that is only planned.
fn planned(run: &str, task: u32, lengths: &[(u64, Vec<u64>)]) -> Output {
    let files = lengths.iter().zip(0..).map(|((length, cuts), partition)| OutputFile {
        name: FileName { partition: Some(partition), kind: FileKind::Data },
        path: "none".into(),
        length: *length,
        cuts: cuts.clone(),
    });
    let summary = Bytes::from_static(b"summary");
    Output { id: id(run, task), memo: None, summary, files: files.collect() }
}

fn small(run: &str, task: u32, length: u64) -> Output {
    planned(run, task, &[(length, Vec::new())])
}

fn tasks(pack: &Pack) -> Vec<u32> {
    pack.outputs.iter().map(|output| output.id.task).collect()
}

/// The lengths of an output's files, and their cuts.
type Lengths = Vec<(u64, Vec<u64>)>;

fn files(most: u64) -> impl Strategy<Value = Lengths> {
    let file = (0..=most, vec(0..=most, 0..6)).prop_map(|(length, mut cuts)| {
        cuts.sort_unstable();
        (length, cuts)
    });
    vec(file, 0..4)
}

/// Outputs of two queries, each with the milliseconds since the one before.
fn arrivals(most: u64) -> impl Strategy<Value = Vec<(bool, u64, Lengths)>> {
    vec((any::<bool>(), 0..1500_u64, files(most)), 1..24)
}

fn check_layout(pack: &Pack, target: u64) -> Result<(), TestCaseError> {
    let mut counts = vec![0; pack.outputs.len()];
    let mut next: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    let mut boundaries: BTreeSet<(usize, usize, u64)> = BTreeSet::new();
    for (object, seq) in pack.objects.iter().zip(pack.objects[0].seq..) {
        prop_assert_eq!(object.seq, seq);
        let mut offset = 0;
        for piece in &object.pieces {
            prop_assert_eq!(piece.offset, offset, "no gaps in an object");
            prop_assert!(piece.length > 0 && piece.length <= MAX_SEGMENT);
            let start = next.entry((piece.output, piece.file)).or_default();
            prop_assert_eq!(piece.start, *start, "no gaps in a file");
            *start += piece.length;
            boundaries.insert((piece.output, piece.file, *start));
            offset += piece.length;
            counts[piece.output] += 1;
        }
        prop_assert_eq!(object.bytes, offset);
        prop_assert!(object.bytes <= target);
    }
    for (index, output) in pack.outputs.iter().enumerate() {
        prop_assert_eq!(&output.id.run, &pack.run);
        for (file, described) in output.files.iter().enumerate() {
            prop_assert_eq!(next.remove(&(index, file)).unwrap_or(0), described.length);
            for cut in described.cuts.iter().filter(|cut| **cut > 0 && **cut <= described.length) {
                prop_assert!(boundaries.contains(&(index, file, *cut)), "a cut is within a segment");
            }
        }
    }
    prop_assert!(pack.objects.len() == 1 || pack.outputs.len() == 1);
    let records = pack.outputs.iter().zip(counts).map(|(output, count)| longest(output, count));
    let of_others: u64 = records.rev().skip(1).sum();
    prop_assert!(
        pack.objects.last().unwrap().bytes + of_others <= target,
        "more than the target and one record"
    );
    Ok(())
}

proptest! {
    #[test]
    fn limits_order_and_ages_hold(arrivals in arrivals(3 * MAX_SEGMENT), target in 1024..5 * MAX_SEGMENT) {
        let mut packer = Packer::new(limits(target));
        let mut now = Instant::now();
        let mut since: BTreeMap<(String, u32), Instant> = BTreeMap::new();
        let mut packs: Vec<Pack> = Vec::new();
        let mut waiting: u64 = 0;
        for (task, (first, millis, files)) in (0..).zip(arrivals) {
            now += Duration::from_millis(millis);
            let run = if first { "a" } else { "b" };
            let output = planned(run, task, &files);
            waiting += output.bytes();
            since.insert((run.to_owned(), task), now);
            packer.add(output, now);
            while let Some(pack) = packer.next(now) {
                let of_run: Vec<_> = since.iter().filter(|((run, _), _)| *run == pack.run).collect();
                prop_assert!(now - *of_run[0].1 >= AGE, "not due");
                let bytes = pack.bytes();
                waiting -= bytes;
                for output in &pack.outputs {
                    since.remove(&(pack.run.clone(), output.id.task));
                }
                packs.push(pack);
            }
            prop_assert_eq!(packer.waiting_bytes(), waiting);
            prop_assert!(since.values().all(|since| now - *since < AGE), "one waits too long");
            prop_assert_eq!(packer.deadline(), since.values().min().map(|since| *since + AGE));
        }
        packer.flush_all();
        while let Some(pack) = packer.next(now) {
            packs.push(pack);
        }
        prop_assert_eq!((packer.waiting_bytes(), packer.deadline()), (0, None));

        let mut last: BTreeMap<String, u32> = BTreeMap::new();
        let mut seqs = BTreeSet::new();
        let mut count = 0;
        for pack in &packs {
            check_layout(pack, target)?;
            for output in &pack.outputs {
                let before = last.insert(pack.run.clone(), output.id.task);
                prop_assert!(before.is_none_or(|before| before < output.id.task), "out of order");
                count += 1;
            }
            prop_assert!(pack.objects.iter().all(|object| seqs.insert(object.seq)), "a name is used twice");
        }
        prop_assert_eq!(last.values().copied().max().map_or(0, |max| max + 1) as usize, count);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_byte_is_where_its_record_says(
        outputs in vec(vec((0..300_usize, vec(0..300_u64, 0..4)), 0..3), 1..8),
        target in 150..900_u64,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut packer = Packer::new(limits(target));
        let now = Instant::now();
        for (task, lengths) in (0..).zip(&outputs) {
            let mut output = small("q", task, 0);
            output.files = lengths.iter().zip(0..).map(|((length, cuts), partition)| {
                let mut cuts = cuts.clone();
                cuts.sort_unstable();
                let name = FileName { partition: Some(partition), kind: FileKind::Data };
                file(directory.path(), name, &format!("{task}-{partition}"), &content(task * 10 + partition, *length), cuts)
            }).collect();
            packer.add(output, now);
        }
        packer.flush("q");
        let mut objects: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        let mut records = Vec::new();
        while let Some(pack) = packer.next(now) {
            let (outputs, numbers) = (pack.outputs.clone(), pack.objects.iter().map(|o| o.seq).collect::<Vec<_>>());
            let mut assembly = Assembly::new(Arc::new(pack));
            for (index, seq) in numbers.iter().enumerate() {
                let (bytes, places) = assembly.object(index).unwrap();
                prop_assert_eq!(places.is_empty(), index + 1 < numbers.len(), "records are in the last object");
                for (output, place) in outputs.iter().zip(&places) {
                    let range = place.offset as usize..(place.offset + place.length) as usize;
                    records.push((output.clone(), Record::decode(&bytes[range], place.crc).unwrap()));
                }
                let one_record = places.last().map_or(0, |place| place.length);
                prop_assert!(bytes.len() as u64 <= target + one_record);
                objects.insert(*seq, bytes);
            }
        }
        prop_assert_eq!(records.len(), outputs.len());
        for (output, record) in records {
            prop_assert_eq!((&output.memo, &output.summary), (&record.memo, &record.summary));
            for described in &output.files {
                let stored = record.file(described.name).unwrap();
                let mut bytes = Vec::new();
                for segment in &stored.segments {
                    let part = &objects[&segment.object][segment.offset as usize..][..segment.length as usize];
                    prop_assert_eq!(crc32c::crc32c(part), segment.crc);
                    bytes.extend_from_slice(part);
                }
                prop_assert_eq!(bytes, std::fs::read(&described.path).unwrap());
            }
        }
    }
}

#[test]
fn a_pack_waits_for_its_age_however_much_there_is() {
    let (mut packer, start) = (Packer::new(limits(1000)), Instant::now());
    packer.add(small("q", 0, 100), start);
    packer.add(small("q", 1, 100), start + AGE / 2);
    assert_eq!(packer.next(start + AGE / 2), None);
    assert_eq!(packer.deadline(), Some(start + AGE));
    assert_eq!(tasks(&packer.next(start + AGE).unwrap()), [0, 1]);
    assert_eq!((packer.deadline(), packer.waiting_bytes()), (None, 0));

    packer.add(small("q", 2, 999), start);
    packer.add(small("q", 3, 1), start + AGE / 2);
    assert_eq!(packer.next(start + AGE / 2), None, "a query that is over by then has nothing written");
    assert_eq!(tasks(&packer.next(start + AGE).unwrap()), [2]);
    assert_eq!(packer.next(start + AGE), None, "what does not fit waits for its own time");
    assert_eq!(tasks(&packer.next(start + AGE + AGE / 2).unwrap()), [3]);
}

#[test]
fn a_flush_makes_due_what_waits_and_nothing_later() {
    let (mut packer, now) = (Packer::new(limits(1000)), Instant::now());
    packer.flush("q");
    packer.add(small("q", 0, 900), now);
    packer.add(small("r", 1, 10), now);
    assert_eq!(packer.next(now), None);
    packer.flush("q");
    packer.add(small("q", 2, 90), now);
    assert_eq!(tasks(&packer.next(now).unwrap()), [0], "with its record it leaves no room");
    assert_eq!(packer.next(now), None);
    packer.flush_all();
    assert_eq!(tasks(&packer.next(now).unwrap()), [1], "the oldest first");
    assert_eq!(tasks(&packer.next(now).unwrap()), [2]);
}

#[test]
fn an_attempt_that_is_over_is_forgotten() {
    let (mut packer, now) = (Packer::new(limits(1000)), Instant::now());
    packer.add(small("q", 0, 10), now);
    packer.add(small("r", 1, 20), now);
    let first = Attempt { run: "q".into(), number: id("q", 0).attempt };
    let second = Attempt { number: first.number + 1, ..first.clone() };
    let mut again = small("q", 2, 40);
    again.id.attempt = second.number;
    packer.add(again, now);
    assert_eq!(packer.forget(&first), [id("q", 0)]);
    assert!(packer.forget(&first).is_empty());
    assert_eq!(packer.waiting_bytes(), 60);
    packer.flush_all();
    assert_eq!(tasks(&packer.next(now).unwrap()), [1]);
    assert_eq!(packer.forget(&second).len(), 1);
    assert_eq!(packer.next(now), None);
}

#[test]
fn an_age_without_end_is_never_over() {
    let (mut packer, now) = (Packer::new(Limits { target: 0, max_age: Duration::MAX }), Instant::now());
    packer.add(small("q", 0, 0), now);
    assert_eq!((packer.next(now), packer.deadline()), (None, None));
    packer.add(small("q", 1, 3), now);
    assert_eq!((packer.next(now), packer.deadline()), (None, None));
    packer.flush_all();
    assert_eq!(tasks(&packer.next(now).unwrap()), [0]);
    let pack = packer.next(now).unwrap();
    assert_eq!(pack.objects.len(), 3, "a target of nothing is one of a byte");
}

#[test]
fn a_pack_without_one_output_is_laid_out_anew() {
    let (mut packer, now) = (Packer::new(limits(1000)), Instant::now());
    (0..3).for_each(|task| packer.add(small("q", task, 10), now));
    packer.flush("q");
    let pack = packer.next(now).unwrap();
    let (output, rest) = pack.without(1, 1000);
    let rest = rest.unwrap();
    assert_eq!((output.id.task, tasks(&rest), rest.bytes(), rest.first()), (1, vec![0, 2], 20, 0));
    let (_, rest) = rest.without(0, 1000);
    assert_eq!(rest.unwrap().without(0, 1000).1, None);
}
