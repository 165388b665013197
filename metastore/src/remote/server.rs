//! The service: a store of this process, as far as the rights of those who call reach.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::{Request, Response, Status};

use super::convert::Answer;
use super::leases::DoorLeases;
use super::messages::{
    Change, GetAnswer, GetRequest, GrantAnswer, GrantRequest, LeaseAnswer, LeaseRequest, ListAnswer,
    ListRequest, Nothing, RevisionAnswer, RevisionRequest, Step, TxnAnswer, TxnRequest, WatchAnswer,
    WatchRequest,
};
use super::method::{Method, grpc};
use super::{ANSWER_BYTES, Rights, SERVICE, path};
use crate::error::{MetaStoreError, Result};
use crate::lease::{Lease, LeaseId};
use crate::store::{Event, MetaStore, Snapshot, Versioned, WatchStream};
use crate::txn::TxnOutcome;

/// An event is sent within a message that adds a few bytes to it.
const ENVELOPE_BYTES: usize = 64;

/// Offers a store to other processes, as a service of a gRPC server. Whoever reaches the server has the rights:
/// to tell callers apart is up to the server.
///
/// A lease carries only keys that the callers may write, as these are the keys that they can put. Those that were not
/// granted here may carry others: they can be neither kept alive nor revoked, as if they had ended.
#[derive(Debug, Clone)]
pub struct MetaDoor {
    store: Arc<dyn MetaStore>,
    rights: Arc<Rights>,
    leases: Arc<Mutex<DoorLeases>>,
    stop: CancellationToken,
}

impl MetaDoor {
    pub fn new(store: Arc<dyn MetaStore>, rights: Rights) -> Self {
        let (rights, leases) = (Arc::new(rights), Arc::default());
        Self { store, rights, leases, stop: CancellationToken::new() }
    }

    /// Cuts off all watches once `stop` is cancelled: a server that shuts down gracefully waits for them to end.
    #[must_use]
    pub fn until(mut self, stop: CancellationToken) -> Self {
        self.stop = stop;
        self
    }

    async fn get(self, request: GetRequest) -> Result<Option<Versioned>> {
        self.rights.check_get(&request.key)?;
        self.store.get(&request.key).await
    }

    async fn list(self, request: ListRequest) -> Result<Snapshot> {
        self.rights.check_prefix(&request.prefix)?;
        self.store.list(&request.prefix).await
    }

    async fn txn(self, request: TxnRequest) -> Result<TxnOutcome> {
        let txn = request.into_txn().ok_or_else(|| MetaStoreError::Engine {
            place: "of this version".to_owned(),
            detail: "the transaction asks for what it does not know; nothing took place".to_owned(),
        })?;
        txn.check()?;
        self.rights.check_txn(&txn)?;
        self.store.txn(txn).await
    }

    async fn revision(self, _: RevisionRequest) -> Result<u64> {
        self.store.revision().await
    }

    async fn grant(self, request: GrantRequest) -> Result<Lease> {
        let lease = self.store.grant(Duration::from_millis(request.ttl_millis)).await?;
        self.leases().granted(lease, Instant::now());
        Ok(lease)
    }

    async fn keep_alive(self, request: LeaseRequest) -> Result<()> {
        let lease = LeaseId::new(request.lease);
        self.check_lease(lease)?;
        let kept = self.store.keep_alive(lease).await;
        match &kept {
            Ok(()) => self.leases().kept_alive(lease, Instant::now()),
            Err(MetaStoreError::LeaseNotFound { .. }) => self.leases().ended(lease),
            Err(_) => {}
        }
        kept
    }

    async fn revoke(self, request: LeaseRequest) -> Result<()> {
        let lease = LeaseId::new(request.lease);
        if self.check_lease(lease).is_err() {
            // As with any lease that has ended.
            return Ok(());
        }
        self.store.revoke(lease).await?;
        self.leases().ended(lease);
        Ok(())
    }

    fn check_lease(&self, lease: LeaseId) -> Result<()> {
        match self.leases().knows(lease) {
            true => Ok(()),
            false => Err(MetaStoreError::LeaseNotFound { lease }),
        }
    }

    fn leases(&self) -> MutexGuard<'_, DoorLeases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn watch(self, request: WatchRequest) -> Result<WatchStream> {
        self.rights.check_prefix(&request.prefix)?;
        self.store.watch(&request.prefix, request.after_revision).await
    }

    async fn serve(self, request: http::Request<Body>) -> http::Response<Body> {
        match request.uri().path() {
            path::GET => self.unary::<_, GetAnswer, _>(request, Self::get).await,
            path::LIST => self.unary::<_, ListAnswer, _>(request, Self::list).await,
            path::TXN => self.unary::<_, TxnAnswer, _>(request, Self::txn).await,
            path::REVISION => self.unary::<_, RevisionAnswer, _>(request, Self::revision).await,
            path::WATCH => self.streaming(request).await,
            path::GRANT => self.unary::<_, GrantAnswer, _>(request, Self::grant).await,
            path::KEEP_ALIVE => self.unary::<_, LeaseAnswer, _>(request, Self::keep_alive).await,
            path::REVOKE => self.unary::<_, LeaseAnswer, _>(request, Self::revoke).await,
            _ => Status::unimplemented("the metadata store has no such method").into_http(),
        }
    }

    async fn unary<Q, A, F>(
        self,
        request: http::Request<Body>,
        method: impl Fn(Self, Q) -> F + Send,
    ) -> http::Response<Body>
    where
        Q: Message + Default + 'static,
        A: Answer,
        F: Future<Output = Result<A::Value>> + Send,
    {
        let answer = |question: Request<Q>| {
            let value = method(self.clone(), question.into_inner());
            async {
                let answer = A::of(value.await.inspect_err(log));
                Ok(Response::new(within_limit(&answer).map_or_else(|error| A::of(Err(error)), |()| answer)))
            }
        };
        grpc::<A, Q>().unary(Method(answer), request).await
    }

    async fn streaming(self, request: http::Request<Body>) -> http::Response<Body> {
        let answer = |question: Request<WatchRequest>| {
            let door = self.clone();
            async {
                let stop = door.stop.clone();
                let watch = door.watch(question.into_inner()).await.inspect_err(log);
                let steps = steps(watch).take_until(stop.cancelled_owned());
                Ok(Response::new(steps.map(|step| Ok(WatchAnswer { step: Some(step) })).boxed()))
            }
        };
        grpc::<WatchAnswer, WatchRequest>().server_streaming(Method(answer), request).await
    }
}

impl NamedService for MetaDoor {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for MetaDoor {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let door = self.clone();
        Box::pin(async { Ok(door.serve(request).await) })
    }
}

/// What a watch's stream consists of.
fn steps(watch: Result<WatchStream>) -> BoxStream<'static, Step> {
    match watch {
        Ok(events) => stream::once(async { Step::Opened(Nothing {}) })
            .chain(events.map(step))
            // Also after a failure, where nobody reads it.
            .chain(stream::once(async { Step::Closed(Nothing {}) }))
            .boxed(),
        Err(error) => stream::once(async { Step::Failure(error.into()) }).boxed(),
    }
}

fn step(event: Result<Event>) -> Step {
    let checked = event.and_then(|event| {
        let change = Change::of_event(event);
        within_limit(&change).map(|()| change)
    });
    match checked {
        Ok(change) => Step::Event(change),
        Err(error) => Step::Failure(error.into()),
    }
}

fn within_limit(message: &impl Message) -> Result<()> {
    let bytes = message.encoded_len();
    match bytes + ENVELOPE_BYTES <= ANSWER_BYTES {
        true => Ok(()),
        false => Err(MetaStoreError::TooLarge { bytes: bytes as u64, limit: ANSWER_BYTES as u64 }),
    }
}

fn log(error: &MetaStoreError) {
    match error {
        MetaStoreError::NotAllowed { .. } => tracing::warn!(%error, "another process was refused"),
        _ => tracing::debug!(%error, "a call of another process failed"),
    }
}
