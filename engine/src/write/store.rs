//! The store that a sink writes to: it notes each file, and keeps files from being seen where they are to be published.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::DataFusionError;
use datafusion::execution::object_store::ObjectStoreRegistry;
use futures::FutureExt;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use parking_lot::Mutex;
use polarway_storage::writes::{StagedFile, Staging, WritableStore};
use url::Url;

/// What becomes of files until they are seen.
#[derive(Debug, Clone)]
pub enum Waiting {
    /// They are where they belong.
    InPlace,
    /// They wait under this directory, with the path that they have under that of the write.
    Below(Path),
    /// They are uploads that are not completed.
    AsUploads,
}

/// See the module's page.
pub struct Recorder {
    store: WritableStore,
    /// The directory of the write.
    base: Path,
    waiting: Waiting,
    noted: Arc<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    files: Mutex<Vec<StagedFile>>,
    /// Uploads that were begun.
    begun: Mutex<Vec<(Path, MultipartId)>>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorder({})", self.store.plain)
    }
}

impl fmt::Display for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.store.plain)
    }
}

impl Recorder {
    /// Only what is below `base` is written.
    pub fn new(store: WritableStore, base: Path, waiting: Waiting) -> Self {
        Self { store, base, waiting, noted: Arc::default() }
    }

    /// The files that are complete, without their rows.
    pub fn files(&self) -> Vec<StagedFile> {
        let mut files = self.noted.files.lock().clone();
        files.sort_by(|one, other| one.path.cmp(&other.path));
        files
    }

    /// Removes what was written, as well as can be.
    pub async fn give_up(&self) {
        let begun = std::mem::take(&mut *self.noted.begun.lock());
        if let Some(multipart) = &self.store.multipart {
            for (path, id) in begun {
                if let Err(error) = multipart.abort_multipart(&path, &id).await {
                    tracing::warn!(%path, %error, "an upload was not given up");
                }
            }
        }
        let files = std::mem::take(&mut *self.noted.files.lock());
        for file in files {
            let path = match &file.staging {
                Staging::Written => file.path.as_str(),
                Staging::File { path } => path.as_str(),
                Staging::Upload { .. } => continue,
            };
            let Ok(path) = Path::parse(path) else { continue };
            if let Err(error) = self.store.plain.delete(&path).await {
                tracing::warn!(%path, %error, "a file of a write that failed was not removed");
            }
        }
    }

    /// Where a file stands until it is seen.
    fn stands(&self, location: &Path) -> Result<Path> {
        let Some(parts) = location.prefix_match(&self.base) else {
            let source = format!("`{location}` is not in the place of its write").into();
            return Err(Error::Generic { store: "write", source });
        };
        Ok(match &self.waiting {
            Waiting::Below(below) => parts.fold(below.clone(), Path::join),
            Waiting::InPlace | Waiting::AsUploads => location.clone(),
        })
    }

    fn staging(&self, stands: &Path) -> Staging {
        match self.waiting {
            Waiting::Below(_) => Staging::File { path: stands.to_string() },
            Waiting::InPlace | Waiting::AsUploads => Staging::Written,
        }
    }

    /// The multipart store, where files wait as uploads.
    fn uploads(&self) -> Result<Option<&Arc<dyn MultipartStore>>> {
        match (&self.waiting, &self.store.multipart) {
            (Waiting::AsUploads, None) => Err(only_writes()),
            (Waiting::AsUploads, Some(multipart)) => Ok(Some(multipart)),
            _ => Ok(None),
        }
    }

    async fn begin(&self, multipart: &Arc<dyn MultipartStore>, location: &Path) -> Result<MultipartId> {
        let id = multipart.create_multipart(location).await?;
        self.noted.begun.lock().push((location.clone(), id.clone()));
        Ok(id)
    }
}

impl Noted {
    fn note(&self, location: &Path, bytes: u64, staging: Staging) {
        self.files.lock().push(StagedFile { path: location.to_string(), rows: 0, bytes, staging });
    }
}

fn only_writes() -> Error {
    Error::NotImplemented {
        operation: "reading".to_owned(),
        implementer: "a store that is written to".to_owned(),
    }
}

#[async_trait]
impl ObjectStore for Recorder {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let bytes = payload.content_length() as u64;
        let stands = self.stands(location)?;
        if let Some(multipart) = self.uploads()? {
            let id = self.begin(multipart, location).await?;
            let part = multipart.put_part(location, &id, 0, payload).await?;
            self.noted.note(location, bytes, Staging::Upload { id, parts: vec![part.content_id] });
            return Ok(PutResult { e_tag: None, version: None });
        }
        let put = self.store.plain.put_opts(&stands, payload, options).await?;
        self.noted.note(location, bytes, self.staging(&stands));
        Ok(put)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let stands = self.stands(location)?;
        if let Some(multipart) = self.uploads()? {
            let id = self.begin(multipart, location).await?;
            return Ok(Box::new(Upload {
                store: Arc::clone(multipart),
                path: location.clone(),
                id,
                parts: Arc::default(),
                given: 0,
                bytes: 0,
                noted: Arc::clone(&self.noted),
            }));
        }
        let inner = self.store.plain.put_multipart_opts(&stands, options).await?;
        let staging = self.staging(&stands);
        Ok(Box::new(Counted {
            inner,
            path: location.clone(),
            staging,
            bytes: 0,
            noted: Arc::clone(&self.noted),
        }))
    }

    async fn get_opts(&self, _: &Path, _: GetOptions) -> Result<GetResult> {
        Err(only_writes())
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        locations.map(|location| location.and_then(|_| Err(only_writes()))).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::once(async { Err(only_writes()) }).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(only_writes())
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(only_writes())
    }
}

/// An upload that is complete when all its parts are there, and completed when it is published.
struct Upload {
    store: Arc<dyn MultipartStore>,
    path: Path,
    id: MultipartId,
    /// By their number.
    parts: Arc<Mutex<Vec<Option<PartId>>>>,
    given: usize,
    bytes: u64,
    noted: Arc<Noted>,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upload({})", self.path)
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let number = self.given;
        self.given += 1;
        self.bytes += data.content_length() as u64;
        self.parts.lock().push(None);
        let (store, path, id) = (Arc::clone(&self.store), self.path.clone(), self.id.clone());
        let parts = Arc::clone(&self.parts);
        async move {
            let part = store.put_part(&path, &id, number, data).await?;
            if let Some(place) = parts.lock().get_mut(number) {
                *place = Some(part);
            }
            Ok(())
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let parts: Option<Vec<String>> =
            self.parts.lock().iter().map(|part| part.as_ref().map(|part| part.content_id.clone())).collect();
        let Some(parts) = parts else {
            let source = "a part of an upload is missing".into();
            return Err(Error::Generic { store: "upload", source });
        };
        self.noted.note(&self.path, self.bytes, Staging::Upload { id: self.id.clone(), parts });
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        self.noted.begun.lock().retain(|(_, id)| *id != self.id);
        self.store.abort_multipart(&self.path, &self.id).await
    }
}

/// An upload of the store's own, whose bytes are counted.
#[derive(Debug)]
struct Counted {
    inner: Box<dyn MultipartUpload>,
    path: Path,
    staging: Staging,
    bytes: u64,
    noted: Arc<Noted>,
}

#[async_trait]
impl MultipartUpload for Counted {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.bytes += data.content_length() as u64;
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let put = self.inner.complete().await?;
        self.noted.note(&self.path, self.bytes, self.staging.clone());
        Ok(put)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

/// Gives one store, whatever is asked for.
#[derive(Debug)]
pub struct OneStore(pub Arc<Recorder>);

impl ObjectStoreRegistry for OneStore {
    fn register_store(&self, _: &Url, _: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, _: &Url) -> std::result::Result<Arc<dyn ObjectStore>, DataFusionError> {
        Ok(Arc::clone(&self.0) as Arc<dyn ObjectStore>)
    }
}

#[cfg(test)]
mod tests {
    use object_store::WriteMultipart;
    use object_store::memory::InMemory;

    use super::*;

    fn written(recorder: &Recorder) -> Vec<(String, u64)> {
        recorder.files().into_iter().map(|file| (file.path, file.bytes)).collect()
    }

    #[tokio::test]
    async fn files_that_wait_are_not_seen_and_go_when_they_are_given_up() {
        let memory = Arc::new(InMemory::new());
        let base = Path::from("out");
        let below = Path::from("out/.polarway-w/1");
        for waiting in [Waiting::Below(below), Waiting::AsUploads] {
            let store = WritableStore { plain: memory.clone(), multipart: Some(memory.clone()) };
            let recorder = Recorder::new(store, base.clone(), waiting);
            let (one, other) = (base.clone().join("a=1").join("x.parquet"), base.clone().join("y.parquet"));
            recorder.put(&one, "rows".into()).await.unwrap();
            let mut parts =
                WriteMultipart::new_with_chunk_size(recorder.put_multipart(&other).await.unwrap(), 3);
            parts.write(b"more rows");
            parts.finish().await.unwrap();
            assert_eq!(written(&recorder), [(one.to_string(), 4), (other.to_string(), 9)]);
            assert!(memory.head(&one).await.is_err() && memory.head(&other).await.is_err());
            recorder.give_up().await;
            let left: Vec<_> = memory.list(None).collect().await;
            assert!(left.is_empty() && recorder.files().is_empty());
        }
    }

    #[tokio::test]
    async fn files_that_go_by_a_manifest_are_where_they_belong() {
        let memory = Arc::new(InMemory::new());
        let store = WritableStore { plain: memory.clone(), multipart: None };
        let recorder = Recorder::new(store, Path::from("t/data/w"), Waiting::InPlace);
        let path = Path::from("t/data/w/x.parquet");
        recorder.put(&path, "rows".into()).await.unwrap();
        assert_eq!(memory.head(&path).await.unwrap().size, 4);
        assert_eq!(written(&recorder), [(path.to_string(), 4)]);
        assert!(recorder.get(&path).await.is_err());
    }

    #[tokio::test]
    async fn row_11_nothing_is_written_outside_the_place_of_a_write() {
        let memory = Arc::new(InMemory::new());
        let base = Path::from("out");
        for waiting in [Waiting::Below(Path::from("out/.polarway-w/1")), Waiting::AsUploads, Waiting::InPlace]
        {
            let store = WritableStore { plain: memory.clone(), multipart: Some(memory.clone()) };
            let recorder = Recorder::new(store, base.clone(), waiting);
            for elsewhere in ["x.parquet", "outer/x.parquet", "beta/x.parquet"].map(Path::from) {
                assert!(recorder.put(&elsewhere, "rows".into()).await.is_err(), "{elsewhere}");
                assert!(recorder.put_multipart(&elsewhere).await.is_err(), "{elsewhere}");
            }
            assert!(recorder.files().is_empty());
        }
        assert!(memory.list(None).collect::<Vec<_>>().await.is_empty());
    }
}
