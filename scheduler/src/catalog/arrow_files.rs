//! Columns of Arrow IPC files in object stores. DataFusion reads them from the beginning of the file and supposes there
//! the padding of 8 bytes; its own writer pads to 64. The footer has the same columns at a place that each writer agrees
//! on: before the last ten bytes, which hold its length and the magic.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::read_footer_length;
use arrow::ipc::root_as_footer;
use bytes::Bytes;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::execution::SessionState;
use futures::TryStreamExt;
use futures::future::try_join_all;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use polarway_common::{Error, ErrorKind};
use polarway_engine::errors::{arrow_error, classify};

/// Bytes of the trailer: the footer's length and the magic.
const TRAILER: usize = 10;
/// Bytes that are read first. Most footers are smaller, so one request is enough.
const TAIL: u64 = 64 * 1024;
/// A length beyond this is taken for damage.
const MAX_FOOTER: u64 = 64 * 1024 * 1024;
/// Files that are asked for at the same time.
const FILES_AT_ONCE: usize = 16;

/// The columns of the files at `url`, put together by name.
///
/// # Errors
/// `FileNotFound` when there are none, `SchemaMismatch` when they do not go together, `CorruptFile`, and what the store
/// says.
pub async fn infer_schema(
    state: &SessionState,
    format: &Arc<dyn FileFormat>,
    url: &ListingTableUrl,
    extension: &str,
) -> Result<SchemaRef, Error> {
    let store = state.runtime_env().object_store(url).map_err(|error| classify(&error))?;
    let listed =
        url.list_all_files(state, store.as_ref(), extension).await.map_err(|error| classify(&error))?;
    let mut files: Vec<ObjectMeta> = listed.try_collect().await.map_err(|error| classify(&error))?;
    if files.is_empty() {
        return Err(Error::new(ErrorKind::FileNotFound, format!("No files found at {url}")));
    }
    files.retain(|file| file.size > 0);
    let mut schemas = vec![];
    for some in files.chunks(FILES_AT_ONCE) {
        let wanted: Vec<_> = some.iter().map(|file| schema_of(state, format, &store, file)).collect();
        schemas.extend(try_join_all(wanted).await?);
    }
    Schema::try_merge(schemas).map(Arc::new).map_err(|error| arrow_error(&error))
}

async fn schema_of(
    state: &SessionState,
    format: &Arc<dyn FileFormat>,
    store: &Arc<dyn ObjectStore>,
    file: &ObjectMeta,
) -> Result<Schema, Error> {
    if let Some(footer) = footer(store, file).await? {
        return decode(&footer).ok_or_else(|| damaged(file, "its footer cannot be decoded"));
    }
    // A stream has no footer. What is neither is for DataFusion to name.
    let schema = format
        .infer_schema(state, store, std::slice::from_ref(file))
        .await
        .map_err(|error| classify(&error))?;
    Ok(schema.as_ref().clone())
}

/// The bytes of the footer, or `None` for a file that does not end as Arrow IPC files do.
async fn footer(store: &Arc<dyn ObjectStore>, file: &ObjectMeta) -> Result<Option<Bytes>, Error> {
    let tail = read(store, file, file.size.saturating_sub(TAIL)..file.size).await?;
    let Some((body, trailer)) = tail.split_last_chunk::<TRAILER>() else { return Ok(None) };
    let Ok(length) = read_footer_length(*trailer) else { return Ok(None) };
    let (body, end) = (body.len(), file.size.saturating_sub(TRAILER as u64));
    if length as u64 > end.min(MAX_FOOTER) {
        return Err(damaged(file, "it names a footer that is longer than can be"));
    }
    if length <= body {
        return Ok(Some(tail.slice(body - length..body)));
    }
    read(store, file, end - length as u64..end).await.map(Some)
}

async fn read(store: &Arc<dyn ObjectStore>, file: &ObjectMeta, range: Range<u64>) -> Result<Bytes, Error> {
    store.get_range(&file.location, range).await.map_err(|error| classify(&error.into()))
}

fn decode(footer: &[u8]) -> Option<Schema> {
    let schema = root_as_footer(footer).ok()?.schema()?;
    schema.fields().is_some().then(|| fb_to_schema(schema))
}

fn damaged(file: &ObjectMeta, what: &str) -> Error {
    Error::new(ErrorKind::CorruptFile, format!("the Arrow file `{}` is damaged: {what}", file.location))
        .with_hint("check that the file is Arrow IPC and was written whole")
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field};
    use arrow::ipc::MetadataVersion;
    use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
    use datafusion::datasource::file_format::arrow::ArrowFormat;
    use datafusion::prelude::SessionContext;
    use object_store::memory::InMemory;
    use object_store::path::Path;

    use super::*;

    fn batch(columns: usize) -> RecordBatch {
        let fields: Vec<Field> =
            (0..columns).map(|number| Field::new(format!("c{number}"), DataType::Int64, true)).collect();
        let arrays: Vec<ArrayRef> =
            (0..columns).map(|_| Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
    }

    fn file(columns: usize, alignment: usize) -> Vec<u8> {
        let batch = batch(columns);
        let options = IpcWriteOptions::try_new(alignment, false, MetadataVersion::V5).unwrap();
        let mut writer = FileWriter::try_new_with_options(vec![], &batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }

    fn stream(columns: usize) -> Vec<u8> {
        let batch = batch(columns);
        let mut writer = StreamWriter::try_new(vec![], &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }

    async fn inferred(content: Vec<u8>) -> Result<Schema, Error> {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("x.arrow");
        store.put(&path, content.into()).await.unwrap();
        let file = store.head(&path).await.unwrap();
        let format: Arc<dyn FileFormat> = Arc::new(ArrowFormat);
        schema_of(&SessionContext::new().state(), &format, &store, &file).await
    }

    #[tokio::test]
    async fn row_04_columns_come_from_the_footer_whatever_the_padding() {
        // The last has a footer that is longer than what is read first.
        for (columns, alignment) in [(1, 8), (2, 64), (3, 32), (2000, 64)] {
            let schema = inferred(file(columns, alignment)).await.unwrap();
            assert_eq!(&schema, batch(columns).schema().as_ref(), "{columns} columns, padded to {alignment}");
        }
    }

    #[tokio::test]
    async fn row_04_a_stream_is_read_from_its_beginning() {
        assert_eq!(&inferred(stream(2)).await.unwrap(), batch(2).schema().as_ref());
    }

    #[tokio::test]
    async fn a_damaged_footer_is_named() {
        let whole = file(2, 64);
        let mut long = whole.clone();
        let at = long.len() - TRAILER;
        long[at..at + 4].copy_from_slice(&i32::MAX.to_le_bytes());
        let mut garbled = whole;
        garbled[at - 60..at].fill(0xff);
        garbled[at..at + 4].copy_from_slice(&60i32.to_le_bytes());
        for content in [long, garbled] {
            assert_eq!(inferred(content).await.unwrap_err().kind, ErrorKind::CorruptFile);
        }
    }
}
