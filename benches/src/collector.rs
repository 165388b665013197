//! A collector of traces that counts spans and drops them: OTLP over gRPC, in this process.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::failure::{Context, Result};

#[derive(Debug, Clone, Default)]
struct Sink(Arc<AtomicU64>);

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    sink: Sink,
    serving: JoinHandle<()>,
}

impl Collector {
    /// Starts it on a loopback port.
    ///
    /// # Errors
    /// There is no port.
    pub fn start() -> Result<Self> {
        let incoming = TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into());
        let incoming = incoming.context(|| "starting the collector")?;
        let address = incoming.local_addr()?;
        let sink = Sink::default();
        let server = Server::builder().add_service(TraceServiceServer::new(sink.clone()));
        let serving = tokio::spawn(async move {
            // A collector that has ended counts nothing, which is noticed.
            let _ = server.serve_with_incoming(incoming).await;
        });
        Ok(Self { address, sink, serving })
    }

    /// As `telemetry.otlp_endpoint` takes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many spans have come.
    pub fn spans(&self) -> u64 {
        self.sink.0.load(Ordering::Relaxed)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes = request.get_ref().resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        let spans: usize = scopes.map(|scope| scope.spans.len()).sum();
        self.0.fetch_add(spans as u64, Ordering::Relaxed);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

    use super::*;

    #[tokio::test]
    async fn spans_are_counted() {
        let collector = Collector::start().unwrap();
        assert_eq!(collector.spans(), 0);
        let scope = |spans| ScopeSpans { spans: vec![Span::default(); spans], ..ScopeSpans::default() };
        let resource = ResourceSpans { scope_spans: vec![scope(2), scope(1)], ..ResourceSpans::default() };
        let mut client = TraceServiceClient::connect(collector.url()).await.unwrap();
        client.export(ExportTraceServiceRequest { resource_spans: vec![resource] }).await.unwrap();
        assert_eq!(collector.spans(), 3);
    }
}
