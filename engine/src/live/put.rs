//! Rows that clients put into streams by Flight.

use arrow_flight::{FlightData, FlightDescriptor, PutResult};
use futures::stream::BoxStream;
use polarway_common::{Error, ErrorKind};
use polarway_proto::streams::{ACK_HEADER, PRODUCER_HEADER};
use tonic::Status;
use tonic::metadata::MetadataMap;

/// The schema first, then batches. The number of a batch may stand in its `app_metadata`, in decimal digits.
pub type PutFrames = BoxStream<'static, Result<FlightData, Status>>;
/// What the client is told: JSON as over WebSocket, in `app_metadata`.
pub type PutAnswers = BoxStream<'static, Result<PutResult, Status>>;

/// How rows are put into a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutOptions {
    /// `stream` or `schema.stream`.
    pub stream: String,
    /// Who sends.
    pub producer: Option<String>,
    /// Durability to acknowledge; without it the stream's own.
    pub ack: Option<String>,
}

impl PutOptions {
    /// From the descriptor of the first message, whose path is the stream's name, and the headers of the call.
    ///
    /// # Errors
    /// `InvalidSetting` when the descriptor names no stream.
    pub fn read(descriptor: &FlightDescriptor, headers: &MetadataMap) -> Result<Self, Error> {
        let stream = descriptor.path.join(".");
        if stream.is_empty() {
            return Err(Error::new(ErrorKind::InvalidSetting, "the descriptor names no stream")
                .with_hint("give the stream's name as the descriptor's path"));
        }
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Self { stream, producer: header(PRODUCER_HEADER), ack: header(ACK_HEADER) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_the_stream() {
        let mut headers = MetadataMap::new();
        headers.insert(PRODUCER_HEADER, "p".parse().unwrap());
        let path =
            |path: &[&str]| FlightDescriptor::new_path(path.iter().map(|part| (*part).into()).collect());
        let options = PutOptions::read(&path(&["sales", "ticks"]), &headers).unwrap();
        let expected = PutOptions { stream: "sales.ticks".into(), producer: Some("p".into()), ack: None };
        assert_eq!(options, expected);
        assert_eq!(PutOptions::read(&path(&[]), &headers).unwrap_err().kind, ErrorKind::InvalidSetting);
    }
}
