//! Streams over a real log and a real metadata store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use object_store::memory::InMemory;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use polarway_common::{Supervisor, SystemClock};
use polarway_metastore::{EmbeddedMetaStore, MetaStore};
use polarway_storage::directory::ObjectDirectory;
use polarway_storage::streams::{Claimant, Ownership, Previous, StreamError};
use proptest::prelude::*;
use tokio::task::JoinHandle;

use super::*;
use crate::durability::Durability;
use crate::hot::samples::{rows, schema};
use crate::ownership::Tenure;
use crate::seal::Layout;

const NEVER: SealPolicy = SealPolicy { rows: u64::MAX, bytes: u64::MAX, age: Duration::MAX };

struct Stage {
    directory: tempfile::TempDir,
    meta: Arc<dyn MetaStore>,
    store: ObjectDirectory,
    seal: SealPolicy,
    hot_limit: usize,
    log_limit: u64,
    grace: Duration,
    key: Option<KeyOptions>,
    tenure: Tenure,
}

/// A stream with its work beside.
struct Running {
    live: Arc<Live>,
    follow: JoinHandle<()>,
}

impl Stage {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let meta = EmbeddedMetaStore::open(directory.path().join("meta.redb")).await.unwrap();
        Self {
            meta: Arc::new(meta),
            store: ObjectDirectory::new(Arc::new(InMemory::new()), Path::from("streams/s"), None),
            seal: NEVER,
            hot_limit: usize::MAX,
            log_limit: 1 << 30,
            grace: Duration::ZERO,
            key: None,
            tenure: Tenure::alone(),
            directory,
        }
    }

    async fn open_in(&self, log: &str) -> Running {
        let options = StreamOptions {
            id: "s".into(),
            name: "public.s".into(),
            schema: schema(),
            layout: Layout::default(),
            seal: self.seal,
            log: self.directory.path().join(log),
            log_limit: self.log_limit,
            hot_limit: self.hot_limit,
            grace: self.grace,
            key: self.key.clone(),
            retention: None,
            clock: Arc::new(SystemClock),
            tenure: self.tenure.clone(),
        };
        let claimant = Claimant { node: "here".into(), address: log.into(), fence: None };
        let ownership =
            Ownership::claim(Arc::clone(&self.meta), self.store.clone(), "s", &claimant, Previous::Own)
                .await
                .unwrap();
        let (live, following) = Live::open(options, ownership).await.unwrap();
        let follower = Arc::clone(&live);
        let follow = tokio::spawn(async move { follower.follow(following).await });
        Running { live, follow }
    }

    async fn open(&self) -> Running {
        self.open_in("log").await
    }

    /// All rows that a query of the stream would see now.
    async fn ids(&self, live: &Live) -> Vec<i64> {
        let view = live.view();
        let mut batches: Vec<RecordBatch> = vec![];
        for segment in &view.manifest().segments {
            let content = self.store.read(&segment.path).await.unwrap();
            assert_eq!(content.len() as u64, segment.bytes);
            let reader = ParquetRecordBatchReaderBuilder::try_new(content).unwrap().build().unwrap();
            batches.extend(reader.map(Result::unwrap));
        }
        assert!(view.hot.is_whole());
        batches.extend(view.hot.runs.iter().filter_map(|run| run.part(view.hot.from, view.hot.to)));
        batches
            .iter()
            .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
            .collect()
    }
}

impl Running {
    async fn append(&self, from: u64, count: usize) -> Appended {
        self.live.append(rows(from, count), None, &[]).await.unwrap()
    }

    async fn send(&self, number: u64, from: u64, count: usize) -> Appended {
        let frames = [FrameRows { number, rows: count }];
        self.live.append(rows(from, count), Some(&"p".into()), &frames).await.unwrap()
    }

    async fn close(self) {
        self.live.close().await.unwrap();
        self.follow.await.unwrap();
    }
}

#[tokio::test]
async fn acknowledged_rows_are_there_after_a_restart() {
    let stage = Stage::new().await;
    let running = stage.open().await;
    assert_eq!(running.live.last("p"), 0);
    for number in 1..=10 {
        let appended = running.send(number, (number - 1) * 5, 5).await;
        assert_eq!(stage.ids(&running.live).await.len() as u64, number * 5, "seen at once");
        running.live.reached(appended, Durability::Wal).await.unwrap();
        assert_eq!(running.live.last("p"), number);
    }
    running.close().await;
    let again = stage.open().await;
    assert_eq!(stage.ids(&again.live).await, (0..50).collect::<Vec<_>>());
    assert_eq!(again.live.last("p"), 10);
    again.close().await;
}

#[tokio::test]
async fn frames_that_are_there_are_not_taken_again() {
    let stage = Stage::new().await;
    let running = stage.open().await;
    let frame = |number, rows| FrameRows { number, rows };
    let producer: Arc<str> = "p".into();
    let first = [frame(1, 2), frame(2, 0), frame(3, 3)];
    assert_eq!(running.live.append(rows(0, 5), Some(&producer), &first).await.unwrap().rows, 5);
    // The last two of these and one more.
    let second = [frame(2, 0), frame(3, 3), frame(7, 4)];
    let appended = running.live.append(rows(2, 7), Some(&producer), &second).await.unwrap();
    assert_eq!(appended.rows, 4);
    let again = running.live.append(rows(2, 7), Some(&producer), &second).await.unwrap();
    assert_eq!(again.rows, 0);
    running.live.reached(again, Durability::Wal).await.unwrap();
    assert_eq!(running.live.last("p"), 7, "an acknowledgement of what was there waits for it");
    assert_eq!(stage.ids(&running.live).await, (0..9).collect::<Vec<_>>());
    running.close().await;
}

#[tokio::test]
async fn sealed_rows_leave_memory_and_the_log() {
    let stage = Stage::new().await;
    let running = stage.open().await;
    let appended = running.send(4, 0, 1000).await;
    running.live.reached(appended, Durability::Wal).await.unwrap();
    let before = running.live.log_bytes();
    assert!(running.live.seal().await.unwrap());
    running.live.reached(appended, Durability::ObjectStore).await.unwrap();
    assert!(!running.live.seal().await.unwrap(), "there is nothing more to seal");
    assert_eq!(running.live.hot_bytes(), 0);
    assert!(running.live.log_bytes() < before / 10, "{} of {before}", running.live.log_bytes());
    running.append(1000, 10).await;
    assert_eq!(stage.ids(&running.live).await, (0..1010).collect::<Vec<_>>());
    running.close().await;
    let again = stage.open().await;
    assert_eq!(stage.ids(&again.live).await, (0..1010).collect::<Vec<_>>());
    assert_eq!(again.live.last("p"), 4, "the log does not tell it any more");
    again.close().await;
}

#[tokio::test]
async fn rows_are_sealed_when_their_time_has_come() {
    let mut stage = Stage::new().await;
    stage.seal.age = Duration::from_millis(50);
    let running = stage.open().await;
    let keeper = Arc::clone(&running.live);
    let keep = tokio::spawn(async move { keeper.keep().await });
    let appended = running.append(0, 3).await;
    running.live.reached(appended, Durability::ObjectStore).await.unwrap();
    assert_eq!(stage.ids(&running.live).await, [0, 1, 2]);
    running.close().await;
    keep.await.unwrap();
}

#[tokio::test]
async fn sealed_rows_that_are_still_in_memory_are_no_reason_to_seal() {
    let mut stage = Stage::new().await;
    stage.grace = Duration::from_secs(3600);
    stage.seal.bytes = 10_000;
    let running = stage.open().await;
    let many = running.append(0, 1000).await;
    running.live.reached(many, Durability::Wal).await.unwrap();
    assert!(running.live.seal_due(std::time::Instant::now()).await.unwrap());
    assert!(running.live.hot_bytes() > 10_000, "they stay for queries that were planned before");
    let one = running.append(1000, 1).await;
    running.live.reached(one, Durability::Wal).await.unwrap();
    assert!(!running.live.seal_due(std::time::Instant::now()).await.unwrap());
    assert_eq!(stage.ids(&running.live).await, (0..1001).collect::<Vec<_>>());
    running.close().await;
}

#[tokio::test]
async fn for_want_of_room_the_oldest_sealed_rows_leave_first() {
    let mut stage = Stage::new().await;
    stage.grace = Duration::from_secs(3600);
    stage.hot_limit = 100_000;
    let running = stage.open().await;
    let mut places = vec![0];
    while places.len() < 2 || running.live.held(0, 1).is_some() {
        let appended = running.append(places[places.len() - 1], 100).await;
        running.live.reached(appended, Durability::Wal).await.unwrap();
        assert!(running.live.seal().await.unwrap());
        places.push(running.live.durable());
    }
    let held: Vec<bool> =
        places.windows(2).map(|seal| running.live.held(seal[0], seal[1]).is_some()).collect();
    assert!(held.len() > 4 && !held[0], "{held:?}");
    assert!(held[2..].iter().all(|held| *held), "{held:?}");
    assert!(running.live.hot_bytes() < stage.hot_limit / 2);
    running.close().await;
}

#[tokio::test]
async fn without_room_the_sender_waits() {
    let mut stage = Stage::new().await;
    stage.hot_limit = 100_000;
    let running = stage.open().await;
    let mut taken = 0;
    while running.live.hot_bytes() < stage.hot_limit {
        let appended = running.append(taken, 100).await;
        running.live.reached(appended, Durability::Wal).await.unwrap();
        taken += 100;
    }
    let live = Arc::clone(&running.live);
    let waiting = tokio::spawn(async move { live.append(rows(taken, 100), None, &[]).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished() && running.live.hot_bytes() < 2 * stage.hot_limit);
    assert!(running.live.seal_due(std::time::Instant::now()).await.unwrap(), "what others wait for is due");
    waiting.await.unwrap().unwrap();
    assert_eq!(stage.ids(&running.live).await.len() as u64, taken + 100);
    running.close().await;
}

#[tokio::test]
async fn a_full_log_takes_nothing_until_rows_are_sealed() {
    let mut stage = Stage::new().await;
    stage.log_limit = 256 << 10;
    let running = stage.open().await;
    let mut taken = 0;
    let mut acknowledged = 0;
    let error = loop {
        match running.live.append(rows(taken, 100), None, &[]).await {
            Ok(appended) => {
                taken += 100;
                running.live.reached(appended, Durability::Wal).await.unwrap();
                acknowledged += 100;
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LiveError::Log { .. }), "{error:?}");
    assert!(running.live.seal().await.unwrap());
    running.append(acknowledged, 100).await;
    assert_eq!(stage.ids(&running.live).await, (0..acknowledged as i64 + 100).collect::<Vec<_>>());
    running.close().await;
}

#[tokio::test]
async fn who_was_owner_before_seals_nothing() {
    let mut stage = Stage::new().await;
    stage.seal.rows = 1;
    let old = stage.open_in("old").await;
    let appended = old.append(0, 5).await;
    old.live.reached(appended, Durability::Wal).await.unwrap();
    let new = stage.open_in("new").await;
    let error = old.live.seal().await.unwrap_err();
    assert!(matches!(error, LiveError::Sealed(StreamError::Fenced { .. })), "{error:?}");
    assert_eq!(new.live.view().manifest().segments.len(), 0);
    old.live.keep().await;
    assert!(matches!(old.live.append(rows(5, 1), None, &[]).await, Err(LiveError::Moved { .. })));
    old.close().await;
    new.close().await;
}

#[tokio::test]
async fn rows_of_another_shape_are_refused() {
    let stage = Stage::new().await;
    let running = stage.open().await;
    let other = rows(0, 1).project(&[1]).unwrap();
    assert!(matches!(running.live.append(other, None, &[]).await, Err(LiveError::Rows(_))));
    assert_eq!(stage.ids(&running.live).await, [] as [i64; 0]);
    running.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn senders_and_seals_at_once_lose_and_double_nothing() {
    let mut stage = Stage::new().await;
    stage.seal = SealPolicy { rows: 500, ..NEVER };
    stage.hot_limit = 200_000;
    let stage = Arc::new(stage);
    let running = stage.open().await;
    let keeper = Arc::clone(&running.live);
    let keep = tokio::spawn(async move { keeper.keep().await });
    let senders: Vec<_> = (0..8u64)
        .map(|sender| {
            let live = Arc::clone(&running.live);
            tokio::spawn(async move {
                let producer: Arc<str> = format!("p{sender}").into();
                for number in 1..=100u64 {
                    let frames = [FrameRows { number, rows: 10 }];
                    let batch = rows(sender * 1000 + (number - 1) * 10, 10);
                    let appended = live.append(batch, Some(&producer), &frames).await.unwrap();
                    if number % 10 == 0 {
                        live.reached(appended, Durability::Wal).await.unwrap();
                    }
                }
            })
        })
        .collect();
    let watched = Arc::clone(&running.live);
    let watching = Arc::clone(&stage);
    let watch = tokio::spawn(async move {
        let mut last = 0;
        while last < 8000 {
            let ids = watching.ids(&watched).await;
            assert!(ids.len() >= last, "rows went missing while others were sealed");
            last = ids.len();
            let unique: std::collections::BTreeSet<_> = ids.iter().collect();
            assert_eq!(unique.len(), last, "rows are seen twice");
        }
    });
    for sender in senders {
        sender.await.unwrap();
    }
    watch.await.unwrap();
    running.close().await;
    keep.await.unwrap();
    let again = stage.open().await;
    let mut ids = stage.ids(&again.live).await;
    ids.sort_unstable();
    assert_eq!(ids, (0..8000).collect::<Vec<_>>());
    again.close().await;
}

#[derive(Debug, Clone)]
enum Step {
    Send { producer: u8, rows: usize },
    Resend { producer: u8 },
    Seal,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..3, 0usize..40).prop_map(|(producer, rows)| Step::Send { producer, rows }),
        1 => (0u8..3).prop_map(|producer| Step::Resend { producer }),
        1 => Just(Step::Seal),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_history_gives_each_row_once(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let stage = Stage::new().await;
            let mut running = stage.open().await;
            let mut sent: u64 = 0;
            let mut last: BTreeMap<u8, (u64, u64, usize)> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Send { producer, rows: count } => {
                        let number = last.get(&producer).map_or(0, |(number, ..)| *number) + 1;
                        last.insert(producer, (number, sent, count));
                        let frames = [FrameRows { number, rows: count }];
                        let name: Arc<str> = format!("p{producer}").into();
                        let appended = running.live.append(rows(sent, count), Some(&name), &frames).await.unwrap();
                        assert_eq!(appended.rows, count);
                        sent += count as u64;
                    }
                    Step::Resend { producer } => {
                        let Some((number, from, count)) = last.get(&producer).copied() else { continue };
                        let frames = [FrameRows { number, rows: count }];
                        let name: Arc<str> = format!("p{producer}").into();
                        let appended = running.live.append(rows(from, count), Some(&name), &frames).await.unwrap();
                        assert_eq!(appended.rows, 0);
                    }
                    Step::Seal => {
                        running.live.seal().await.unwrap();
                    }
                    Step::Restart => {
                        running.close().await;
                        running = stage.open().await;
                        for (producer, (number, ..)) in &last {
                            assert_eq!(running.live.last(&format!("p{producer}")), *number);
                        }
                    }
                }
                assert_eq!(stage.ids(&running.live).await, (0..sent as i64).collect::<Vec<_>>());
            }
            running.close().await;
        });
    }
}

#[tokio::test]
async fn rows_that_come_again_are_known_by_their_key() {
    let mut stage = Stage::new().await;
    stage.key = Some(KeyOptions { columns: vec![0], rows: 1000 });
    let running = stage.open().await;
    let appended = running.append(0, 10).await;
    running.live.reached(appended, Durability::Wal).await.unwrap();
    assert!(running.live.seal().await.unwrap());
    assert_eq!(running.append(5, 10).await.rows, 5);
    let again = running.send(1, 0, 15).await;
    assert_eq!(again.rows, 0);
    running.live.reached(again, Durability::Wal).await.unwrap();
    assert_eq!(running.live.last("p"), 1, "the frame counts");
    running.close().await;

    // What is sealed and what is in the log is known after a restart.
    let running = stage.open().await;
    assert_eq!(running.append(0, 20).await.rows, 5);
    assert_eq!(stage.ids(&running.live).await, (0..20).collect::<Vec<_>>());
    running.close().await;
}

#[tokio::test]
async fn who_is_not_registered_takes_and_acknowledges_nothing() {
    let supervisor = Supervisor::new();
    let (tenure, clock) = crate::ownership::tenure_of_member(&supervisor).await;
    let mut stage = Stage::new().await;
    stage.tenure = tenure.clone();
    let running = stage.open().await;
    let suspended = running.live.append(rows(0, 1), None, &[]).await;
    assert!(matches!(suspended, Err(LiveError::Suspended { .. })), "{suspended:?}");
    tenure.confirm(tenure.lease().unwrap());
    let (sealed, open) = (running.append(0, 5).await, running.append(5, 5).await);
    running.live.reached(open, Durability::Wal).await.unwrap();
    // As after SIGCONT: by the clock the lease has ended, and no task has noticed.
    clock.advance(Duration::from_secs(3600));
    let refused = running.live.reached(open, Durability::Wal).await;
    assert!(matches!(refused, Err(LiveError::Suspended { .. })), "{refused:?}");
    assert!(matches!(running.live.append(rows(10, 1), None, &[]).await, Err(LiveError::Suspended { .. })));
    // What is sealed is the stream's, whoever has it.
    assert!(running.live.seal().await.unwrap());
    running.live.reached(sealed, Durability::Wal).await.unwrap();
    running.live.give_up(Some("there:1".into())).await.unwrap();
    let moved = running.live.append(rows(10, 1), None, &[]).await.unwrap_err();
    assert_eq!(moved.to_string(), "stream `public.s` has another owner at there:1");
    running.follow.await.unwrap();
}
