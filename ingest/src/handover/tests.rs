//! Logs that are handed over from owner to owner, with failures between any two steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use async_trait::async_trait;
use object_store::memory::InMemory;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use polarway_common::{Error, SystemClock};
use polarway_metastore::{EmbeddedMetaStore, MetaStore};
use polarway_storage::directory::ObjectDirectory;
use polarway_storage::streams::{Claimant, Committed, Ownership, Previous};
use proptest::prelude::*;
use tokio::task::JoinHandle;

use super::*;
use crate::durability::Durability;
use crate::hot::samples::{rows, schema};
use crate::ownership::Tenure;
use crate::seal::Layout;
use crate::stream::{FrameRows, Live, SealPolicy, StreamOptions};

/// Rows of a frame.
const FRAME: u64 = 3;
/// Where rows without a producer begin.
const NOBODYS: u64 = 1_000_000;

struct Stage {
    meta: Arc<dyn MetaStore>,
    store: ObjectDirectory,
    directory: tempfile::TempDir,
}

/// The owner of the stream.
struct Running {
    node: usize,
    live: Arc<Live>,
    follow: JoinHandle<()>,
}

fn name(node: usize) -> String {
    format!("node-{node}")
}

impl Stage {
    fn new() -> Self {
        Self {
            meta: Arc::new(EmbeddedMetaStore::in_memory().unwrap()),
            store: ObjectDirectory::new(Arc::new(InMemory::new()), Path::from("streams/s"), None),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn logs(&self, node: usize) -> std::path::PathBuf {
        self.directory.path().join(name(node))
    }

    /// Has a process claim the stream, or take it over from one that is gone.
    async fn open(&self, node: usize, gone: Option<usize>) -> Running {
        let claimant = Claimant { node: name(node), address: format!("{node}:1"), fence: None };
        let ownership = match gone {
            None => {
                let (meta, store) = (Arc::clone(&self.meta), self.store.clone());
                Ownership::claim(meta, store, "s", &claimant, Previous::Own).await.unwrap()
            }
            Some(gone) => {
                let streams = [("s".to_owned(), self.store.clone())];
                let taken = Ownership::take_over(&self.meta, &streams, &claimant, &name(gone)).await;
                taken.unwrap().unwrap().remove(0)
            }
        };
        let options = StreamOptions {
            id: "s".into(),
            name: "public.s".into(),
            schema: schema(),
            layout: Layout::default(),
            seal: SealPolicy { rows: u64::MAX, bytes: u64::MAX, age: Duration::MAX },
            log: directory_of(&self.logs(node), "s", ownership.log()),
            log_limit: 1 << 30,
            hot_limit: usize::MAX,
            grace: Duration::ZERO,
            key: None,
            retention: None,
            clock: Arc::new(SystemClock),
            tenure: Tenure::alone(),
        };
        let (live, following) = Live::open(options, ownership).await.unwrap();
        let follower = Arc::clone(&live);
        let follow = tokio::spawn(async move { follower.follow(following).await });
        Running { node, live, follow }
    }

    fn old_logs(&self) -> Vec<(usize, OldLog)> {
        let of = |node: usize| {
            let found = OldLog::all(&self.logs(node)).unwrap_or_default();
            found.into_iter().map(move |old| (node, old))
        };
        (0..NODES).flat_map(of).collect()
    }

    async fn hand_over(
        &self,
        node: usize,
        old: &OldLog,
        to: &Running,
        fault: Fault,
    ) -> Result<Outcome, HandoverError> {
        let logs = OldLogs { meta: Arc::clone(&self.meta), node: name(node), log_limit: 1 << 30 };
        let taker = |_: &_| Box::new(Faulty { live: Arc::clone(&to.live), fault }) as Box<dyn Taker>;
        logs.hand_over(old, &self.store, &schema(), taker).await
    }

    /// All rows that a query of the stream would see now, in order.
    async fn ids(&self, live: &Live) -> Vec<i64> {
        let view = live.view();
        let mut batches: Vec<RecordBatch> = vec![];
        for segment in &view.manifest().segments {
            let content = self.store.read(&segment.path).await.unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(content).unwrap().build().unwrap();
            batches.extend(reader.map(Result::unwrap));
        }
        assert!(view.hot.is_whole());
        batches.extend(view.hot.runs.iter().filter_map(|run| run.part(view.hot.from, view.hot.to)));
        let ids = batches.iter().map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec());
        let mut ids: Vec<i64> = ids.flatten().collect();
        ids.sort_unstable();
        ids
    }
}

impl Running {
    /// Frame `number` of the producer, acknowledged.
    async fn send(&self, number: u64) {
        let frames = [FrameRows { number, rows: FRAME as usize }];
        let sent = rows(number * FRAME, FRAME as usize);
        let appended = self.live.append(sent, Some(&"p".into()), &frames).await.unwrap();
        self.live.reached(appended, Durability::Wal).await.unwrap();
    }

    async fn send_without_producer(&self, from: u64, count: usize) {
        let appended = self.live.append(rows(NOBODYS + from, count), None, &[]).await.unwrap();
        self.live.reached(appended, Durability::Wal).await.unwrap();
    }

    async fn close(self) -> usize {
        self.live.close().await.unwrap();
        self.follow.await.unwrap();
        self.node
    }
}

/// After which step a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    BeforeTheFirst,
    HalfWay,
    BeforeTheAnswer,
    BeforeSettling,
    AfterSettling,
}

const FAULTS: [Fault; 6] = [
    Fault::BeforeTheFirst,
    Fault::HalfWay,
    Fault::BeforeTheAnswer,
    Fault::BeforeSettling,
    Fault::AfterSettling,
    Fault::None,
];

/// The owner in this process, whose calls fail as told.
struct Faulty {
    live: Arc<Live>,
    fault: Fault,
}

impl Faulty {
    fn fail_at(&self, fault: Fault) -> Result<(), Error> {
        if self.fault == fault { Err(Error::internal(format!("{fault:?}"))) } else { Ok(()) }
    }
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::internal(error.to_string())
}

#[async_trait]
impl Taker for Faulty {
    async fn taken(&self, _: &str, log: u64) -> Result<Option<u64>, Error> {
        self.fail_at(Fault::BeforeTheFirst)?;
        Ok(self.live.taken_in(log))
    }

    async fn take(&self, _: &str, log: u64, mut records: Vec<NumberedRecord>) -> Result<(), Error> {
        let half = records.split_off(records.len() / 2);
        let mut receiving = Receiving::new(&self.live, log);
        for record in records {
            receiving.take(record).await.map_err(internal)?;
        }
        self.fail_at(Fault::HalfWay)?;
        for record in half {
            receiving.take(record).await.map_err(internal)?;
        }
        receiving.finish().await.map_err(internal)?;
        self.fail_at(Fault::BeforeTheAnswer)
    }

    async fn settle(&self, _: &str, log: u64) -> Result<(), Error> {
        self.fail_at(Fault::BeforeSettling)?;
        self.live.settle_log(log).await.map_err(internal)?;
        self.fail_at(Fault::AfterSettling)
    }
}

fn frames(numbers: impl IntoIterator<Item = u64>) -> Vec<i64> {
    numbers.into_iter().flat_map(|number| (number * FRAME) as i64..((number + 1) * FRAME) as i64).collect()
}

/// Both processes may die between any two steps; only what the log holds and the owner lacks is taken.
#[tokio::test]
async fn each_row_is_taken_once_wherever_it_fails() {
    for first in FAULTS {
        for second in FAULTS {
            for restarted in [false, true] {
                let stage = Stage::new();
                let old = stage.open(0, None).await;
                for number in 1..=3 {
                    old.send(number).await;
                }
                assert!(old.live.seal().await.unwrap());
                for number in 4..=9 {
                    old.send(number).await;
                }
                old.send_without_producer(0, 4).await;
                old.close().await;
                let mut heir = stage.open(1, Some(0)).await;
                assert_eq!((heir.live.last("p"), heir.live.owed()), (3, 1));
                // The producer sends some of them again, and goes on.
                for number in [5, 6, 12] {
                    heir.send(number).await;
                }
                assert_eq!(stage.ids(&heir.live).await, frames([1, 2, 3, 5, 6, 12]));
                for fault in [first, second, Fault::None] {
                    for (node, old) in stage.old_logs().into_iter().filter(|(node, _)| *node == 0) {
                        let outcome = stage.hand_over(node, &old, &heir, fault).await;
                        let gone = matches!(outcome, Ok(Outcome::Gone));
                        assert!(gone || fault != Fault::None, "{outcome:?} after {first:?}, {second:?}");
                        assert_eq!(gone, !old.directory.exists());
                    }
                    if restarted {
                        let node = heir.close().await;
                        heir = stage.open(node, None).await;
                    }
                }
                let mut expected = frames((1..=9).chain([12]));
                expected.extend((0..4).map(|row| (NOBODYS + row) as i64));
                assert_eq!(stage.ids(&heir.live).await, expected, "after {first:?}, {second:?}");
                assert_eq!((heir.live.last("p"), heir.live.owed()), (12, 0));
                // What is handed over is not taken again from its producer.
                heir.send(9).await;
                assert_eq!(stage.ids(&heir.live).await, expected);
                heir.close().await;
            }
        }
    }
}

#[tokio::test]
async fn records_of_a_log_that_is_not_owed_are_refused() {
    let stage = Stage::new();
    let old = stage.open(0, None).await;
    old.send(1).await;
    old.close().await;
    let heir = stage.open(1, Some(0)).await;
    let (node, log) = stage.old_logs().remove(0);
    assert_eq!(stage.hand_over(node, &log, &heir, Fault::None).await.unwrap(), Outcome::Gone);
    // Sent by the process before it was killed, and read only now.
    let late = crate::stream::Record {
        generation: 0,
        place: 0,
        origin: crate::stream::Origin::default(),
        rows: rows(0, 3),
    };
    assert!(heir.live.take_in(1, 1, late).await.is_err());
    assert_eq!(stage.ids(&heir.live).await, frames([1]));
    let committed = Committed::load(stage.meta.as_ref(), &stage.store, "s").await.unwrap();
    assert_eq!(committed.manifest.producers, BTreeMap::from([("p".to_owned(), 1)]));
    let current = stage.old_logs();
    assert_eq!(current.len(), 1);
    assert_eq!(stage.hand_over(1, &current[0].1, &heir, Fault::None).await.unwrap(), Outcome::Current);
    heir.close().await;
}

const NODES: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Send {
        acknowledged: bool,
    },
    SendWithoutProducer {
        count: usize,
    },
    Seal,
    Restart,
    /// Of the other processes; and whether the producer has kept what was acknowledged.
    TakeOver {
        other: usize,
        kept: bool,
    },
    HandOver {
        which: usize,
        fault: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::bool::weighted(0.8).prop_map(|acknowledged| Step::Send { acknowledged }),
        2 => (1usize..5).prop_map(|count| Step::SendWithoutProducer { count }),
        2 => Just(Step::Seal),
        1 => Just(Step::Restart),
        2 => (1..NODES, any::<bool>()).prop_map(|(other, kept)| Step::TakeOver { other, kept }),
        3 => (0usize..4, 0..FAULTS.len()).prop_map(|(which, fault)| Step::HandOver { which, fault }),
    ]
}

async fn history(steps: Vec<Step>) {
    let stage = Stage::new();
    let mut owner = stage.open(0, None).await;
    let (mut next, mut acknowledged) = (1, 0);
    let mut must = BTreeSet::new();
    let mut nobodys = 0;
    for step in steps {
        match step {
            Step::Send { acknowledged: told } => {
                owner.send(next).await;
                if told {
                    acknowledged = acknowledged.max(next);
                    must.extend(frames([next]));
                    next += 1;
                }
            }
            Step::SendWithoutProducer { count } => {
                owner.send_without_producer(nobodys, count).await;
                must.extend((0..count as u64).map(|row| (NOBODYS + nobodys + row) as i64));
                nobodys += count as u64;
            }
            Step::Seal => drop(owner.live.seal().await.unwrap()),
            Step::Restart => {
                let node = owner.close().await;
                owner = stage.open(node, None).await;
            }
            Step::TakeOver { other, kept } => {
                let gone = owner.close().await;
                owner = stage.open((gone + other) % NODES, Some(gone)).await;
                let last = owner.live.last("p");
                // Both are true to the protocol: to go on after what the stream has, and after what was acknowledged.
                next = if kept { last + 1 } else { last.max(acknowledged) + 1 };
            }
            Step::HandOver { which, fault } => {
                let logs = stage.old_logs();
                let (node, old) = &logs[which % logs.len()];
                // A failure is part of it.
                let _ = stage.hand_over(*node, old, &owner, FAULTS[fault]).await;
            }
        }
    }
    for (node, old) in stage.old_logs() {
        let outcome = stage.hand_over(node, &old, &owner, Fault::None).await.unwrap();
        assert!(matches!(outcome, Outcome::Gone | Outcome::Current));
    }
    let ids = stage.ids(&owner.live).await;
    let unique: BTreeSet<i64> = ids.iter().copied().collect();
    assert_eq!(unique.len(), ids.len(), "rows are there twice: {ids:?}");
    let lost: Vec<&i64> = must.difference(&unique).collect();
    assert!(lost.is_empty(), "acknowledged rows are lost: {lost:?} of {ids:?}");
    assert_eq!((owner.live.owed(), stage.old_logs().len()), (0, 1));
    owner.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn any_history_of_owners_gives_each_acknowledged_row_once(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(history(steps));
    }
}
