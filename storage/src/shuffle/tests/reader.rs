use std::ops::Range;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use polarway_common::config::S3Config;
use polarway_common::{Supervisor, SystemClock};
use polarway_metastore::{MetaStore, Txn};
use tempfile::TempDir;
use url::Url;

use super::super::index::lookup;
use super::super::testing::{
    DATA, FaultyStore, INDEX, Turn, content, end_run, file, id, meta_with, output, store_over,
};
use super::super::{
    FileKind, FileName, Limits, Output, ShuffleError, ShuffleStore, StoredOutput, StoredOutputs,
    UploadSettings, Uploader,
};

const TARGET: u64 = 10_000;

/// Stores outputs, and gives what reads them.
async fn stored(
    store: ShuffleStore,
    meta: Arc<dyn MetaStore>,
    outputs: Vec<Output>,
    target: u64,
) -> StoredOutputs {
    let (store, supervisor) = (Arc::new(store), Supervisor::new());
    let settings =
        UploadSettings { limits: Limits { target, ..Limits::default() }, ..UploadSettings::default() };
    let (to, clock) = (Arc::clone(&meta), Arc::new(SystemClock));
    let uploader = Uploader::start(settings, Arc::clone(&store), to, "w@1", clock, &supervisor).unwrap();
    for output in outputs {
        uploader.submit(output).await;
    }
    assert_eq!(uploader.flush_all(std::time::Duration::from_secs(60)).await, 0);
    assert_eq!(uploader.metrics().failures, 0);
    supervisor.shutdown(std::time::Duration::from_secs(10)).await.unwrap();
    StoredOutputs::new(store, meta)
}

async fn read(
    output: &Arc<StoredOutput>,
    name: FileName,
    range: Range<u64>,
) -> Result<Vec<u8>, ShuffleError> {
    let parts: Vec<bytes::Bytes> = output.read(name, range)?.try_collect().await?;
    Ok(parts.concat())
}

struct Stage {
    _directory: TempDir,
    objects: Arc<FaultyStore>,
    meta: Arc<dyn MetaStore>,
    outputs: StoredOutputs,
}

/// Three small outputs, and one of several objects.
async fn stage() -> Stage {
    let directory = tempfile::tempdir().unwrap();
    let objects = Arc::new(FaultyStore::new());
    let meta = meta_with(&["q"]).await;
    let lengths = [1000, 0, 2000, 35_000];
    let outputs =
        lengths.iter().zip(0..).map(|(length, task)| output(directory.path(), "q", task, *length)).collect();
    let store = store_over(Arc::clone(&objects) as Arc<dyn ObjectStore>);
    let outputs = stored(store, Arc::clone(&meta), outputs, TARGET).await;
    Stage { _directory: directory, objects, meta, outputs }
}

async fn reads_back(outputs: &StoredOutputs) {
    for (task, length) in [(0, 1000), (1, 0), (2, 2000), (3, 35_000)] {
        let output = outputs.open(&id("q", task)).await.unwrap().unwrap();
        assert_eq!((output.file(DATA), output.file(INDEX)), (Some(length), Some(9)));
        let whole = content(task, length as usize);
        assert_eq!(read(&output, INDEX, 0..9).await.unwrap(), content(task + 1000, 9));
        let (middle, end) = (length / 2, length);
        for range in
            [0..end, 0..middle, middle..end, 0..0, end..end, end / 3..end / 3 * 2, end.saturating_sub(1)..end]
        {
            let expected = &whole[range.start as usize..range.end as usize];
            assert_eq!(read(&output, DATA, range.clone()).await.unwrap(), expected, "{task} {range:?}");
        }
        let none = read(&output, DATA, 0..length + 1).await;
        assert!(matches!(none, Err(ShuffleError::NoSuchRange { .. })), "{none:?}");
        let other = FileName { partition: Some(1), kind: FileKind::Data };
        assert_eq!(output.file(other), None);
        assert!(matches!(output.read(other, 0..0), Err(ShuffleError::NoSuchRange { .. })));
        let record = output.record();
        assert_eq!(record.memo, Some([task as u8; 16]));
        assert_eq!(record.summary, format!("summary of {task}"));
    }
    assert!(outputs.open(&id("q", 99)).await.unwrap().is_none());
}

#[tokio::test]
async fn outputs_read_back_whole_and_by_ranges() {
    let stage = stage().await;
    reads_back(&stage.outputs).await;
    assert_eq!(stage.objects.objects().await.len(), 5);
}

#[tokio::test]
async fn outputs_read_back_from_a_directory() {
    let (directory, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let url = Url::from_directory_path(root.path()).unwrap();
    let store = ShuffleStore::open(&url, &S3Config::default()).unwrap();
    let meta = meta_with(&["q"]).await;
    let lengths = [1000, 0, 2000, 35_000];
    let outputs =
        lengths.iter().zip(0..).map(|(length, task)| output(directory.path(), "q", task, *length)).collect();
    reads_back(&stored(store, meta, outputs, TARGET).await).await;
}

#[tokio::test]
async fn a_large_range_is_read_in_bounded_requests() {
    let directory = tempfile::tempdir().unwrap();
    let (objects, meta) = (Arc::new(FaultyStore::new()), meta_with(&["q"]).await);
    let bytes = content(5, 21 << 20);
    let mut large = output(directory.path(), "q", 5, 0);
    large.files = vec![file(directory.path(), DATA, "large", &bytes, vec![1, 5 << 20])];
    let store = store_over(Arc::clone(&objects) as Arc<dyn ObjectStore>);
    let outputs = stored(store, meta, vec![large], 32 << 20).await;
    let output = outputs.open(&id("q", 5)).await.unwrap().unwrap();
    let parts: Vec<bytes::Bytes> =
        output.read(DATA, 3..bytes.len() as u64 - 3).unwrap().try_collect().await.unwrap();
    assert!(parts.iter().all(|part| part.len() <= 4 << 20));
    assert!(parts.concat() == bytes[3..bytes.len() - 3]);
}

#[tokio::test]
async fn an_output_that_was_opened_is_known_and_others_of_its_object_are_not_touched() {
    let stage = stage().await;
    let first = stage.outputs.open(&id("q", 0)).await.unwrap().unwrap();
    stage.objects.reads.lock().push_back(Turn::Permanent);
    let again = stage.outputs.clone().open(&id("q", 0)).await.unwrap().unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    assert!(matches!(stage.outputs.open(&id("q", 2)).await, Err(ShuffleError::Refused { .. })));
    assert!(stage.outputs.open(&id("q", 2)).await.unwrap().is_some(), "that was no proof");
}

#[tokio::test]
async fn a_changed_bit_is_noticed_and_costs_the_entry() {
    let stage = stage().await;
    let entry = |task| {
        let meta = Arc::clone(&stage.meta);
        async move { lookup(meta.as_ref(), &id("q", task)).await.unwrap() }
    };
    let output = stage.outputs.open(&id("q", 0)).await.unwrap().unwrap();
    let object = entry(0).await.unwrap().entry.object;
    let segment = output.record().file(DATA).unwrap().segments[1];
    stage.objects.flip_bit(&object, segment.offset as usize + 7).await;
    assert_eq!(read(&output, DATA, 0..500).await.unwrap(), content(0, 500), "the other segment is good");
    let error = read(&output, DATA, 100..501).await.unwrap_err();
    assert!(matches!(error, ShuffleError::Damaged { .. }), "{error:?}");
    assert_eq!(entry(0).await, None);
    assert!(stage.outputs.open(&id("q", 0)).await.unwrap().is_none(), "it is no longer known");
    assert!(entry(2).await.is_some());

    let record = entry(2).await.unwrap().entry;
    stage.objects.flip_bit(&record.object, record.offset as usize).await;
    let error = stage.outputs.open(&id("q", 2)).await.unwrap_err();
    assert!(matches!(error, ShuffleError::Damaged { .. }), "{error:?}");
    assert_eq!(entry(2).await, None);
}

#[tokio::test]
async fn an_object_that_is_missing_costs_the_entry() {
    let stage = stage().await;
    let output = stage.outputs.open(&id("q", 3)).await.unwrap().unwrap();
    let segment = output.record().file(DATA).unwrap().segments[2];
    let name = format!("q/w@1/{:08}.pack", segment.object);
    stage.objects.inner.delete(&Path::from(name)).await.unwrap();
    let mut parts = output.read(DATA, 0..35_000).unwrap();
    let mut read = 0;
    let error = loop {
        match parts.try_next().await {
            Ok(part) => read += part.unwrap().len(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ShuffleError::Missing { .. }), "{error:?}");
    assert!(read as u64 <= segment.start);
    assert!(parts.try_next().await.unwrap().is_none(), "nothing follows an error");
    assert_eq!(lookup(stage.meta.as_ref(), &id("q", 3)).await.unwrap(), None);
}

#[tokio::test]
async fn an_object_that_was_cut_short_is_damaged() {
    let stage = stage().await;
    let object = lookup(stage.meta.as_ref(), &id("q", 2)).await.unwrap().unwrap().entry.object;
    let output = stage.outputs.open(&id("q", 2)).await.unwrap().unwrap();
    stage.objects.inner.put(&Path::from(object), bytes::Bytes::from_static(b"cut").into()).await.unwrap();
    let error = read(&output, DATA, 0..2000).await.unwrap_err();
    assert!(matches!(error, ShuffleError::Damaged { .. }), "{error:?}");
    assert_eq!(lookup(stage.meta.as_ref(), &id("q", 2)).await.unwrap(), None);
}

#[tokio::test]
async fn an_entry_that_names_no_object_is_damaged_and_one_of_a_run_that_is_over_is_none() {
    let stage = stage().await;
    let entry = r#"{"object":"../x","offset":0,"length":5,"crc":0,"bytes":0}"#;
    stage.meta.txn(Txn::new().put(id("q", 50).key(), entry)).await.unwrap();
    let error = stage.outputs.open(&id("q", 50)).await.unwrap_err();
    assert!(matches!(error, ShuffleError::Damaged { .. }), "{error:?}");
    assert!(stage.outputs.open(&id("q", 50)).await.unwrap().is_none());
    end_run(stage.meta.as_ref(), "q").await;
    super::super::index::forget_run(stage.meta.as_ref(), "q").await.unwrap();
    assert!(stage.outputs.open(&id("q", 2)).await.unwrap().is_none());
}
