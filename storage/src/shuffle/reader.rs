//! Reads outputs that are stored.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use lru::LruCache;
use parking_lot::Mutex;
use polarway_metastore::MetaStore;

use super::error::ShuffleError;
use super::index::{self, Entry, Located};
use super::name::ObjectName;
use super::output::{FileName, OutputId};
use super::record::{Record, RecordError, Segment};
use super::store::ShuffleStore;

/// The most bytes that are asked for at one time.
const REQUEST: u64 = 8 << 20;

/// Requests of one range that are made ahead of who reads it.
const AHEAD: usize = 2;

const CACHED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// Finds stored outputs. Clones share what is known of them.
#[derive(Debug, Clone)]
pub struct StoredOutputs {
    access: Access,
    /// Outputs that were opened of late: each is read by many tasks.
    cache: Arc<Mutex<LruCache<OutputId, Arc<StoredOutput>>>>,
}

#[derive(Debug, Clone)]
struct Access {
    store: Arc<ShuffleStore>,
    meta: Arc<dyn MetaStore>,
}

/// An output that is stored.
#[derive(Debug)]
pub struct StoredOutput {
    access: Access,
    id: OutputId,
    /// Of its entry.
    revision: u64,
    /// The object that has the record; those that have the bytes differ in their numbers.
    object: ObjectName,
    record: Record,
    /// It proved missing or damaged.
    discredited: AtomicBool,
}

impl StoredOutputs {
    pub fn new(store: Arc<ShuffleStore>, meta: Arc<dyn MetaStore>) -> Self {
        Self { access: Access { store, meta }, cache: Arc::new(Mutex::new(LruCache::new(CACHED))) }
    }

    /// An output, if it is stored. One that was opened of late is given without asking anybody.
    ///
    /// # Errors
    /// [`ShuffleError::Missing`] and [`ShuffleError::Damaged`] if its record is; then its entry has been deleted.
    /// [`ShuffleError::Entry`], [`ShuffleError::Meta`], [`ShuffleError::Refused`], [`ShuffleError::Unavailable`].
    pub async fn open(&self, id: &OutputId) -> Result<Option<Arc<StoredOutput>>, ShuffleError> {
        let known = self.cache.lock().get(id).cloned();
        if let Some(known) = known.filter(|known| !known.discredited.load(Ordering::Relaxed)) {
            return Ok(Some(known));
        }
        let Some(Located { entry, revision }) = index::lookup(self.access.meta.as_ref(), id).await? else {
            return Ok(None);
        };
        let (object, record) = match self.access.record(&entry).await {
            Ok(read) => read,
            Err(error) => {
                self.access.judge(id, revision, &error).await;
                return Err(error);
            }
        };
        let (access, discredited) = (self.access.clone(), AtomicBool::new(false));
        let output = Arc::new(StoredOutput { access, id: id.clone(), revision, object, record, discredited });
        self.cache.lock().put(id.clone(), Arc::clone(&output));
        Ok(Some(output))
    }
}

impl StoredOutput {
    pub fn id(&self) -> &OutputId {
        &self.id
    }

    /// All that is stored of it beside its bytes.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The length of a file, in bytes, if the output has it.
    pub fn file(&self, name: FileName) -> Option<u64> {
        self.record.file(name).map(|file| file.length)
    }

    /// Reads a range of a file, in bytes, in the order of the file. After an error nothing follows.
    ///
    /// # Errors
    /// [`ShuffleError::NoSuchRange`]. In the stream [`ShuffleError::Missing`] and [`ShuffleError::Damaged`], after
    /// which the output's entry has been deleted; [`ShuffleError::Refused`], [`ShuffleError::Unavailable`].
    pub fn read(
        self: &Arc<Self>,
        name: FileName,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, ShuffleError>>, ShuffleError> {
        let file = self.record.file(name).filter(|file| range.start <= range.end && range.end <= file.length);
        let Some(file) = file else {
            return Err(ShuffleError::NoSuchRange { name, start: range.start, end: range.end });
        };
        let output = Arc::clone(self);
        let requests = requests(file.covering(&range));
        let fetch = move |segments: Vec<Segment>| {
            let (output, range) = (Arc::clone(&output), range.clone());
            async move { output.fetch(&segments, &range).await }
        };
        let parts = stream::iter(requests)
            .map(fetch)
            .buffered(AHEAD)
            .scan(false, |failed, fetched| {
                let item = (!*failed).then_some(fetched);
                *failed = matches!(item, Some(Err(_)));
                std::future::ready(item)
            })
            .flat_map(|fetched| match fetched {
                Ok(parts) => stream::iter(parts).map(Ok).left_stream(),
                Err(error) => stream::iter([Err(error)]).right_stream(),
            });
        Ok(parts.boxed())
    }

    /// Reads segments that follow each other in one object, and gives what the range has of them.
    async fn fetch(&self, segments: &[Segment], range: &Range<u64>) -> Result<Vec<Bytes>, ShuffleError> {
        let fetched = self.fetch_verified(segments, range).await;
        if let Err(error) = &fetched
            && self.access.judge(&self.id, self.revision, error).await
        {
            self.discredited.store(true, Ordering::Relaxed);
        }
        fetched
    }

    async fn fetch_verified(
        &self,
        segments: &[Segment],
        range: &Range<u64>,
    ) -> Result<Vec<Bytes>, ShuffleError> {
        let Some(first) = segments.first() else { return Ok(Vec::new()) };
        let name = ObjectName { seq: first.object, ..self.object.clone() }.to_string();
        let ranges: Vec<Range<u64>> = segments.iter().map(Segment::range).collect();
        let parts = self.access.store.read(&name, &ranges).await?;
        let verified = segments.iter().zip(parts).map(|(segment, bytes)| {
            if crc32c::crc32c(&bytes) != segment.crc {
                let detail = format!("the checksum of its bytes {:?} is not theirs", segment.range());
                return Err(ShuffleError::Damaged { object: name.clone(), detail });
            }
            Ok(cut(segment, &bytes, range))
        });
        verified.collect()
    }
}

impl Access {
    async fn record(&self, entry: &Entry) -> Result<(ObjectName, Record), ShuffleError> {
        let damaged = |detail: String| ShuffleError::Damaged { object: entry.object.clone(), detail };
        let object = entry.object.parse().map_err(|()| damaged("no object is called so".to_owned()))?;
        let end = entry.offset.checked_add(entry.length).filter(|_| entry.length > 0);
        let end = end.ok_or_else(|| damaged("its record is nowhere".to_owned()))?;
        let parts = self.store.read(&entry.object, std::slice::from_ref(&(entry.offset..end))).await?;
        let bytes = parts.first().map(Bytes::as_ref).unwrap_or_default();
        match Record::decode(bytes, entry.crc) {
            Ok(record) => Ok((object, record)),
            // To a process of another version it is good.
            Err(error @ RecordError::Version(_)) => {
                Err(ShuffleError::Entry { key: entry.object.clone(), detail: error.to_string() })
            }
            Err(error) => Err(damaged(error.to_string())),
        }
    }

    /// Deletes the entry of an output that proved missing or damaged, and says whether it did prove so.
    async fn judge(&self, id: &OutputId, revision: u64, error: &ShuffleError) -> bool {
        if !matches!(error, ShuffleError::Missing { .. } | ShuffleError::Damaged { .. }) {
            return false;
        }
        tracing::warn!(output = %id, %error, "a stored shuffle output is of no use");
        if let Err(error) = index::discredit(self.meta.as_ref(), id, revision).await {
            tracing::warn!(output = %id, %error, "its entry could not be deleted");
        }
        true
    }
}

/// Segments by the requests that read them: those of a request follow each other in an object.
fn requests(segments: &[Segment]) -> Vec<Vec<Segment>> {
    let mut requests: Vec<Vec<Segment>> = Vec::new();
    let mut bytes = 0;
    for segment in segments {
        let request = requests.last_mut().filter(|request| {
            let follows = request
                .last()
                .is_some_and(|last| last.object == segment.object && last.range().end == segment.offset);
            follows && bytes + segment.length <= REQUEST
        });
        match request {
            Some(request) => {
                bytes += segment.length;
                request.push(*segment);
            }
            None => {
                bytes = segment.length;
                requests.push(vec![*segment]);
            }
        }
    }
    requests
}

/// What a range of the file has of a segment's bytes.
fn cut(segment: &Segment, bytes: &Bytes, range: &Range<u64>) -> Bytes {
    // As a segment has as many bytes as are in memory, positions in it fit.
    let within = |at: u64| {
        let position = at.saturating_sub(segment.start);
        usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len())
    };
    bytes.slice(within(range.start)..within(range.end))
}
