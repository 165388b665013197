//! How tonic is told what answers a method.

use std::task::{Context, Poll};

use prost::Message;
use tonic::codegen::Service;
use tonic::server::Grpc;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::{ANSWER_BYTES, REQUEST_BYTES};

/// A function as tonic wants it.
pub(super) struct Method<F>(pub(super) F);

impl<Q, A, F, T> Service<Request<Q>> for Method<F>
where
    F: FnMut(Request<Q>) -> T,
    T: Future<Output = Result<Response<A>, Status>>,
{
    type Response = Response<A>;
    type Error = Status;
    type Future = T;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> T {
        (self.0)(request)
    }
}

/// Reads questions, within the limits, and writes answers.
pub(super) fn grpc<A, Q>() -> Grpc<ProstCodec<A, Q>>
where
    A: Message + 'static,
    Q: Message + Default + 'static,
{
    Grpc::new(ProstCodec::default())
        .max_decoding_message_size(REQUEST_BYTES)
        .max_encoding_message_size(ANSWER_BYTES)
}
