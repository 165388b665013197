use std::path::Path as LocalPath;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use polarway_common::{Attempt, ErrorKind, Supervisor, SystemClock};
use polarway_metastore::{KeyPrefix, MetaStore};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::super::index::{forget_run, lookup, of_run};
use super::super::testing::{FaultyStore, Turn, end_run, id, meta_with, output, store_over};
use super::super::{Limits, ShuffleError, ShuffleStore, UploadSettings, Uploader};

const LONG: Duration = Duration::from_secs(30);

/// All that an uploader needs. Nothing is due by age.
struct Stage {
    directory: TempDir,
    objects: Arc<FaultyStore>,
    store: Arc<ShuffleStore>,
    meta: Arc<dyn MetaStore>,
    supervisor: Supervisor,
    uploader: Uploader,
}

impl Stage {
    async fn new(objects: FaultyStore) -> Self {
        Self::with(objects, 1024, LONG * 100).await
    }

    async fn with(objects: FaultyStore, queue: usize, max_age: Duration) -> Self {
        let objects = Arc::new(objects);
        let store = Arc::new(store_over(Arc::clone(&objects) as Arc<dyn ObjectStore>));
        let meta = meta_with(&["q", "r"]).await;
        let supervisor = Supervisor::new();
        let settings = UploadSettings { limits: Limits { target: 10_000, max_age }, queue };
        let (clock, meta2) = (Arc::new(SystemClock), Arc::clone(&meta));
        let uploader =
            Uploader::start(settings, Arc::clone(&store), meta2, "w@1", clock, &supervisor).unwrap();
        Self { directory: tempfile::tempdir().unwrap(), objects, store, meta, supervisor, uploader }
    }

    fn path(&self) -> &LocalPath {
        self.directory.path()
    }

    async fn submit(&self, run: &str, task: u32, length: usize) {
        self.uploader.submit(output(self.path(), run, task, length)).await;
    }

    async fn is_stored(&self, run: &str, task: u32) -> bool {
        lookup(self.meta.as_ref(), &id(run, task)).await.unwrap().is_some()
    }

    async fn keys(&self) -> usize {
        self.meta.list(&KeyPrefix::Shuffle.encode()).await.unwrap().entries.len()
    }
}

fn gated(permits: usize) -> FaultyStore {
    FaultyStore { gate: Some(Semaphore::new(permits)), ..FaultyStore::new() }
}

/// Until a condition holds, which it does soon.
async fn until(holds: impl AsyncFn() -> bool) {
    for _ in 0..1000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never holds");
}

#[tokio::test]
async fn outputs_of_a_query_share_an_object() {
    let stage = Stage::new(FaultyStore::new()).await;
    for task in 0..4 {
        stage.submit("q", task, 100).await;
    }
    stage.submit("r", 9, 100).await;
    assert_eq!(stage.uploader.metrics().waiting_bytes, 5 * 109);
    assert_eq!(stage.uploader.flush("q", LONG).await, 0);
    assert_eq!(stage.objects.objects().await, ["q/w@1/00000000.pack"]);
    assert_eq!(of_run(stage.meta.as_ref(), "q").await.unwrap().len(), 4);
    let found = lookup(stage.meta.as_ref(), &id("q", 3)).await.unwrap().unwrap().entry;
    assert_eq!((found.memo, found.bytes), (Some([3; 16]), 109));
    assert!(!stage.is_stored("r", 9).await);
    assert_eq!(stage.uploader.flush_all(LONG).await, 0);
    assert!(stage.is_stored("r", 9).await);
    let metrics = stage.uploader.metrics();
    assert_eq!((metrics.outputs, metrics.bytes, metrics.waiting_bytes, metrics.failures), (5, 5 * 109, 0, 0));
    stage.supervisor.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn nobody_need_ask_for_what_is_old() {
    let stage = Stage::with(FaultyStore::new(), 1024, Duration::from_millis(50)).await;
    stage.submit("q", 1, 100).await;
    until(async || stage.is_stored("q", 1).await).await;
    stage.submit("q", 2, 35_000).await;
    until(async || stage.is_stored("q", 2).await).await;
    assert_eq!(stage.objects.objects().await.len(), 1 + 4, "each has the target's bytes at most");
}

#[tokio::test]
async fn a_full_queue_stores_what_waits_and_lets_others_in() {
    let stage = Stage::with(FaultyStore::new(), 2, LONG * 100).await;
    for task in 0..7 {
        tokio::time::timeout(LONG, stage.submit("q", task, 10)).await.unwrap();
    }
    assert_eq!(stage.uploader.flush_all(LONG).await, 0);
    assert_eq!(stage.keys().await, 7);
}

#[tokio::test]
async fn durable_outputs_that_wait_together_are_committed_together() {
    let stage = Stage::new(gated(0)).await;
    let commits: Vec<_> = (0..12)
        .map(|task| {
            let (uploader, output) = (stage.uploader.clone(), output(stage.path(), "q", task, 10));
            tokio::spawn(async move { uploader.commit_now(output).await })
        })
        .collect();
    until(async || stage.uploader.metrics().waiting_bytes == 12 * 19).await;
    assert_eq!(stage.keys().await, 0);
    stage.objects.gate.as_ref().unwrap().add_permits(100);
    for commit in commits {
        commit.await.unwrap().unwrap();
    }
    assert_eq!(stage.keys().await, 12);
    let objects = stage.objects.objects().await.len();
    assert!(objects <= 3, "{objects} objects for 12 outputs");
}

#[tokio::test]
async fn a_flush_waits_no_longer_than_told_and_says_what_is_left() {
    let stage = Stage::new(gated(0)).await;
    stage.submit("q", 1, 10).await;
    stage.submit("r", 2, 10).await;
    assert_eq!(stage.uploader.flush("q", Duration::from_millis(50)).await, 1);
    assert_eq!(stage.uploader.flush_all(Duration::from_millis(50)).await, 2);
    stage.objects.gate.as_ref().unwrap().add_permits(100);
    assert_eq!(stage.uploader.flush_all(LONG).await, 0);
}

#[tokio::test]
async fn a_pack_that_fails_for_good_blocks_no_other() {
    let stage = Stage::new(FaultyStore::new().with_puts([Turn::Permanent])).await;
    let error = stage.uploader.commit_now(output(stage.path(), "q", 1, 10)).await.unwrap_err();
    let ShuffleError::GivenUp(error) = error else { panic!("{error:?}") };
    assert_eq!(error.kind, ErrorKind::PermissionDenied);
    stage.uploader.commit_now(output(stage.path(), "q", 2, 10)).await.unwrap();
    assert_eq!((stage.is_stored("q", 1).await, stage.is_stored("q", 2).await), (false, true));
    let metrics = stage.uploader.metrics();
    assert_eq!((metrics.outputs, metrics.failures, metrics.waiting_bytes), (1, 1, 0));
}

#[tokio::test]
async fn a_large_output_that_fails_in_the_middle_leaves_nothing() {
    let stage =
        Stage::new(FaultyStore::new().with_puts([Turn::Succeeds, Turn::Succeeds, Turn::Permanent])).await;
    assert!(stage.uploader.commit_now(output(stage.path(), "q", 1, 35_000)).await.is_err());
    assert!(stage.objects.objects().await.is_empty());
    assert_eq!(stage.keys().await, 0);
}

#[tokio::test]
async fn an_output_whose_files_have_gone_is_left_out() {
    let stage = Stage::new(FaultyStore::new()).await;
    for task in 0..4 {
        stage.submit("q", task, 100).await;
    }
    let (gone, short) = (output(stage.path(), "q", 1, 100), output(stage.path(), "q", 2, 100));
    std::fs::remove_file(&gone.files[1].path).unwrap();
    std::fs::write(&short.files[0].path, "short").unwrap();
    assert_eq!(stage.uploader.flush("q", LONG).await, 0);
    let ids: Vec<_> =
        of_run(stage.meta.as_ref(), "q").await.unwrap().into_iter().map(|(id, _)| id.task).collect();
    assert_eq!(ids, [0, 3]);
    assert_eq!(stage.uploader.metrics().failures, 1, "that a file has gone is none");
    let error = stage.uploader.commit_now(gone).await.unwrap_err();
    assert!(matches!(error, ShuffleError::RunOver { .. }), "{error:?}");
}

#[tokio::test]
async fn a_query_that_is_over_is_refused_and_its_objects_are_deleted() {
    let stage = Stage::new(FaultyStore::new()).await;
    end_run(stage.meta.as_ref(), "q").await;
    for length in [100, 35_000] {
        let error = stage.uploader.commit_now(output(stage.path(), "q", 1, length)).await.unwrap_err();
        assert!(matches!(error, ShuffleError::RunOver { .. }), "{error:?}");
    }
    assert!(stage.objects.objects().await.is_empty());
    assert_eq!((stage.keys().await, stage.uploader.metrics().failures), (0, 0));
}

#[tokio::test]
async fn a_query_that_ends_while_it_uploads_leaves_nothing() {
    for (length, permits) in [(100, 0), (35_000, 2)] {
        let stage = Stage::new(gated(permits)).await;
        for task in 0..6 {
            stage.submit("q", task, length).await;
        }
        stage.submit("r", 7, 100).await;
        stage.uploader.flush_all(Duration::from_millis(100)).await;
        // As whoever ends a query does it.
        end_run(stage.meta.as_ref(), "q").await;
        forget_run(stage.meta.as_ref(), "q").await.unwrap();
        stage.store.remove_run("q").await.unwrap();
        stage.objects.gate.as_ref().unwrap().add_permits(100);
        assert_eq!(stage.uploader.flush_all(LONG).await, 0);
        let r = lookup(stage.meta.as_ref(), &id("r", 7)).await.unwrap().unwrap().entry.object;
        assert_eq!(stage.objects.objects().await, [r]);
        assert_eq!((stage.keys().await, stage.uploader.metrics().waiting_bytes), (1, 0));
    }
}

#[tokio::test]
async fn what_waits_of_an_attempt_that_is_over_keeps_nobody_waiting() {
    let stage = Stage::with(FaultyStore::new(), 3, LONG * 100).await;
    for task in 0..2 {
        stage.submit("q", task, 100).await;
    }
    stage.submit("r", 2, 100).await;
    let before = Attempt { run: "q".into(), number: id("q", 0).attempt };
    stage.uploader.forget(&Attempt { number: before.number + 1, ..before.clone() });
    let one = output(stage.path(), "r", 2, 100).bytes();
    assert_eq!(stage.uploader.metrics().waiting_bytes, 3 * one);
    stage.uploader.forget(&before);
    assert_eq!(stage.uploader.metrics().waiting_bytes, one);
    for task in 3..5 {
        stage.submit("r", task, 100).await;
    }
    assert!(stage.objects.objects().await.is_empty(), "there was room");
    assert_eq!(stage.uploader.flush_all(LONG).await, 0);
    assert_eq!((stage.uploader.metrics().outputs, stage.uploader.metrics().failures), (3, 0));
    assert!(!stage.is_stored("q", 0).await && stage.is_stored("r", 4).await);
}

#[tokio::test]
async fn who_waits_when_the_process_stops_is_told() {
    let stage = Stage::new(gated(0)).await;
    let (uploader, waits) = (stage.uploader.clone(), output(stage.path(), "q", 1, 10));
    let commit = tokio::spawn(async move { uploader.commit_now(waits).await });
    until(async || stage.uploader.metrics().waiting_bytes > 0).await;
    stage.supervisor.shutdown(LONG).await.unwrap();
    assert!(matches!(commit.await.unwrap(), Err(ShuffleError::Stopped)));
    let late = stage.uploader.commit_now(output(stage.path(), "q", 2, 10)).await;
    assert!(matches!(late, Err(ShuffleError::Stopped)), "{late:?}");
    stage.submit("q", 3, 10).await;
    assert_eq!(stage.uploader.flush_all(LONG).await, 0);
}

#[tokio::test]
async fn names_that_could_leave_the_prefix_are_refused() {
    let stage = Stage::new(FaultyStore::new()).await;
    let error = stage.uploader.commit_now(output(stage.path(), "..", 1, 10)).await.unwrap_err();
    assert!(matches!(error, ShuffleError::NoPlainId { .. }), "{error:?}");
    let (store, meta, clock) = (Arc::clone(&stage.store), Arc::clone(&stage.meta), Arc::new(SystemClock));
    let started = Uploader::start(UploadSettings::default(), store, meta, "a/b", clock, &stage.supervisor);
    assert!(matches!(started, Err(ShuffleError::NoPlainId { .. })));
}
