//! An S3 server in the test's own process, over a directory; it notes what it is asked for.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::S3Result;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::cluster::Setup;

const KEY: &str = "test-key";
const SECRET: &str = "test-secret";

/// One request that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GetObject`, `HeadObject`, `ListObjectsV2`, …
    pub operation: String,
    /// Empty for requests to a bucket.
    pub key: String,
}

type Requests = Arc<Mutex<Vec<Request>>>;

/// A running server; ends when dropped.
pub struct S3Server {
    pub address: SocketAddr,
    root: TempDir,
    requests: Requests,
    serving: AbortHandle,
}

struct Notes(Requests);

#[async_trait]
impl S3Access for Notes {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let operation = context.s3_op().name().to_owned();
        let key = context.s3_path().get_object_key().unwrap_or_default().to_owned();
        self.0.lock().unwrap().push(Request { operation, key });
        Ok(())
    }
}

impl S3Server {
    pub async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let requests = Requests::default();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(root.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        builder.set_access(Notes(Arc::clone(&requests)));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let _ = Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        })
        .abort_handle();
        Self { address, root, requests, serving }
    }

    /// The directory of a bucket, made if it is not there.
    pub fn bucket(&self, name: &str) -> PathBuf {
        let path = self.root.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
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
