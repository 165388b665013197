//! An S3 server in the test's own process, over a directory; it notes what it is asked for, and fails as it is told to.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s::{S3Error, S3ErrorCode, S3Result};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::cluster::Setup;
use crate::files;

/// The one pair of keys that a server takes.
pub const KEY: &str = "test-key";
pub const SECRET: &str = "test-secret";

/// One request that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GetObject`, `HeadObject`, `ListObjectsV2`, …
    pub operation: String,
    /// Empty for requests to a bucket.
    pub key: String,
}

type Requests = Arc<Mutex<Vec<Request>>>;

/// How a server fails.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Faults {
    /// The share of requests that are answered 503, from 0 to 1.
    pub slow_down: f64,
    /// The share of connections that are cut some time after they were made.
    pub cut: f64,
    /// How much longer each request takes.
    pub delay: Duration,
    /// All requests are answered 403.
    pub denied: bool,
}

/// A running server; ends when dropped.
pub struct S3Server {
    pub address: SocketAddr,
    root: TempDir,
    requests: Requests,
    faults: Arc<Mutex<Faults>>,
    delayed: Arc<Delayed>,
    serving: AbortHandle,
}

/// Requests that [`Faults::delay`] holds back.
#[derive(Debug, Default)]
struct Delayed {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Delayed {
    async fn hold(&self, delay: Duration) {
        if delay.is_zero() {
            return;
        }
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(delay).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Notes {
    requests: Requests,
    faults: Arc<Mutex<Faults>>,
    delayed: Arc<Delayed>,
}

#[async_trait]
impl S3Access for Notes {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let operation = context.s3_op().name().to_owned();
        let key = context.s3_path().get_object_key().unwrap_or_default().to_owned();
        self.requests.lock().unwrap().push(Request { operation, key });
        let faults = *self.faults.lock().unwrap();
        self.delayed.hold(faults.delay).await;
        if faults.denied {
            return Err(S3Error::with_message(S3ErrorCode::AccessDenied, "told to"));
        }
        if rand::random::<f64>() < faults.slow_down {
            return Err(S3Error::with_message(S3ErrorCode::SlowDown, "told to"));
        }
        Ok(())
    }
}

impl S3Server {
    pub async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let requests = Requests::default();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(root.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let faults = Arc::new(Mutex::new(Faults::default()));
        let delayed = Arc::new(Delayed::default());
        builder.set_access(Notes {
            requests: Arc::clone(&requests),
            faults: Arc::clone(&faults),
            delayed: Arc::clone(&delayed),
        });
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let told = Arc::clone(&faults);
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                let cut = rand::random::<f64>() < told.lock().unwrap().cut;
                tokio::spawn(async move {
                    let builder = Builder::new(TokioExecutor::new());
                    let serving = builder.serve_connection(TokioIo::new(socket), service);
                    let life = if cut { rand::random_range(0..300) } else { u64::MAX };
                    let _ = tokio::time::timeout(Duration::from_millis(life), serving).await;
                });
            }
        })
        .abort_handle();
        Self { address, root, requests, faults, delayed, serving }
    }

    /// Fails like this from now on.
    pub fn fail(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }

    /// The directory of a bucket, made if it is not there.
    pub fn bucket(&self, name: &str) -> PathBuf {
        let path = self.root.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// Removes directories below the first level of a bucket that have been empty for so long. A store has no directories; this
    /// one walks all of them to list a few objects.
    pub fn forget_empty_directories(&self, bucket: &str, age: Duration) {
        let prefixes = std::fs::read_dir(self.bucket(bucket)).unwrap().flatten();
        for run in prefixes.filter_map(|prefix| std::fs::read_dir(prefix.path()).ok()).flatten().flatten() {
            let changed = run.metadata().and_then(|metadata| metadata.modified()).ok();
            let is_old = changed.and_then(|at| at.elapsed().ok()).is_some_and(|unchanged| unchanged >= age);
            if is_old && files::below(&run.path()).is_empty() {
                let _ = std::fs::remove_dir_all(run.path());
            }
        }
    }

    /// The objects of a bucket whose names end as those of shuffle output do; the server keeps notes of its own beside them.
    pub fn objects(&self, bucket: &str) -> Vec<PathBuf> {
        let files = files::below(&self.bucket(bucket));
        files
            .into_iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "pack"))
            .collect()
    }

    /// Points all processes of `setup` at this server.
    #[must_use]
    pub fn configure(&self, setup: Setup) -> Setup {
        setup
            .env("POLARWAY_STORAGE__S3__ENDPOINT", format!("http://{}", self.address))
            .env("POLARWAY_STORAGE__S3__REGION", "us-east-1")
            .env("POLARWAY_STORAGE__S3__ACCESS_KEY_ID", KEY)
            .env("POLARWAY_STORAGE__S3__SECRET_ACCESS_KEY", SECRET)
            .env("POLARWAY_STORAGE__S3__ALLOW_HTTP", "true")
    }

    /// The most requests that were held back at one time since the last call.
    pub fn take_most_delayed(&self) -> usize {
        self.delayed.most.swap(0, Ordering::SeqCst)
    }

    /// The requests since the last call.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Copies a directory with everything below it.
pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
