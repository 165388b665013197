//! The store of another process, as a [`MetaStore`] of this one.

use std::time::Duration;

use async_trait::async_trait;
use polarway_identity::Credential;
use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::convert::Answer;
use super::events::{CUT_OFF, events, unreadable};
use super::messages::{
    GetAnswer, GetRequest, GrantAnswer, GrantRequest, LeaseAnswer, LeaseRequest, ListAnswer, ListRequest,
    RevisionAnswer, RevisionRequest, Step, TxnAnswer, TxnRequest, WatchAnswer, WatchRequest,
};
use super::{ANSWER_BYTES, REQUEST_BYTES, fault, path};
use crate::error::{MetaStoreError, Result};
use crate::lease::{Lease, LeaseId};
use crate::patience::Patience;
use crate::store::{MetaStore, Snapshot, Versioned, WatchStream};
use crate::txn::{Txn, TxnOutcome};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A watch that is not read holds up at most one stream's window, and all of them share the connection's: with
/// these, dozens of such watches leave room for calls.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// A [`MetaStore`] that another process holds and offers by a [`super::MetaDoor`]. Clones share the connection.
///
/// Reads, and what concerns leases, are sent again if the other process is gone for a while. A transaction is sent once: if its answer is
/// lost, the error is [`MetaStoreError::OutcomeUnknown`]. A watch ends with [`MetaStoreError::Unavailable`] if the
/// connection breaks; it may be opened again after the last revision that was seen as a whole.
#[derive(Debug, Clone)]
pub struct RemoteMetaStore {
    channel: Channel,
    place: String,
    patience: Patience,
    credential: Credential,
}

impl RemoteMetaStore {
    /// The store behind a connection that is made already, or will be when it is needed.
    ///
    /// The channel should send keep-alives, or a watch does not notice that the other machine is gone; and its
    /// window for the connection should be many times that for a stream, or a watch that is not read stops it.
    pub fn new(channel: Channel) -> Self {
        Self {
            channel,
            place: "of another process".to_owned(),
            patience: Patience::default(),
            credential: Credential::default(),
        }
    }

    /// The store at `address`, a URL (`http`) with host and port, to which `credential` is shown. The connection is made with the first call and made anew
    /// when it breaks. Call it within a tokio runtime.
    ///
    /// # Errors
    /// [`MetaStoreError::Engine`] if the address is not valid.
    pub fn connect(address: &str, credential: Credential) -> Result<Self> {
        let place = format!("at {address}");
        let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|error| MetaStoreError::Engine {
            place: place.clone(),
            detail: format!("its address is not valid: {error}"),
        })?;
        let endpoint = endpoint
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        let channel = credential.channel(&endpoint);
        Ok(Self { place, credential, ..Self::new(channel) })
    }

    /// With other waiting times.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// A call that may be repeated.
    async fn ask<Q, A>(&self, path: &'static str, question: Q) -> Result<A::Value>
    where
        Q: Message + Clone + 'static,
        A: Answer,
    {
        check_size(&question)?;
        let attempt = || async {
            let answer = self.call::<Q, A>(path, question.clone()).await;
            answer.map_err(|status| fault::of_read(&self.place, &status))
        };
        self.patience.persist(&self.place, attempt).await?.into_result()
    }

    pub(super) async fn call<Q, A>(&self, path: &'static str, question: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let codec = ProstCodec::<Q, A>::default();
        let mut grpc = self.grpc().await?;
        grpc.unary(self.signed(question), PathAndQuery::from_static(path), codec)
            .await
            .map(Response::into_inner)
    }

    /// A watch and its first step.
    async fn open(&self, question: WatchRequest) -> Result<(Streaming<WatchAnswer>, Option<Step>), Status> {
        let codec = ProstCodec::<WatchRequest, WatchAnswer>::default();
        let path = PathAndQuery::from_static(path::WATCH);
        let mut grpc = self.grpc().await?;
        let mut answers = grpc.server_streaming(self.signed(question), path, codec).await?.into_inner();
        let first = answers.message().await?.ok_or_else(|| Status::unavailable(CUT_OFF))?;
        Ok((answers, first.step))
    }

    fn signed<Q>(&self, question: Q) -> Request<Q> {
        let mut request = Request::new(question);
        self.credential.sign(&mut request);
        request
    }

    async fn grpc(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES);
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        Ok(grpc)
    }
}

#[async_trait]
impl MetaStore for RemoteMetaStore {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        self.ask::<_, GetAnswer>(path::GET, GetRequest { key: key.to_owned() }).await
    }

    async fn list(&self, prefix: &str) -> Result<Snapshot> {
        self.ask::<_, ListAnswer>(path::LIST, ListRequest { prefix: prefix.to_owned() }).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        txn.check()?;
        let question = TxnRequest::from(txn);
        check_size(&question)?;
        let attempt = async {
            let answer = self.call::<_, TxnAnswer>(path::TXN, question).await;
            answer.map_err(|status| fault::of_txn(&self.place, &status))
        };
        self.patience.once(&self.place, attempt).await?.into_result()
    }

    async fn watch(&self, prefix: &str, after_revision: u64) -> Result<WatchStream> {
        let question = WatchRequest { prefix: prefix.to_owned(), after_revision };
        check_size(&question)?;
        let attempt = || async {
            let opened = self.open(question.clone()).await;
            opened.map_err(|status| fault::of_read(&self.place, &status))
        };
        let (answers, first) = self.patience.persist(&self.place, attempt).await?;
        match first {
            Some(Step::Opened(_)) => Ok(events(answers, self.place.clone())),
            Some(Step::Failure(failure)) => Err(failure.into()),
            Some(Step::Event(_) | Step::Closed(_)) | None => Err(unreadable(&self.place)),
        }
    }

    async fn revision(&self) -> Result<u64> {
        self.ask::<_, RevisionAnswer>(path::REVISION, RevisionRequest {}).await
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease> {
        let ttl_millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        self.ask::<_, GrantAnswer>(path::GRANT, GrantRequest { ttl_millis }).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<()> {
        self.ask::<_, LeaseAnswer>(path::KEEP_ALIVE, LeaseRequest { lease: lease.get() }).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.ask::<_, LeaseAnswer>(path::REVOKE, LeaseRequest { lease: lease.get() }).await
    }
}

fn check_size(question: &impl Message) -> Result<()> {
    let bytes = question.encoded_len();
    match bytes <= REQUEST_BYTES {
        true => Ok(()),
        false => Err(MetaStoreError::TooLarge { bytes: bytes as u64, limit: REQUEST_BYTES as u64 }),
    }
}
