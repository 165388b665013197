//! Rows that clients put into streams by Flight.

use arrow_flight::{FlightData, FlightDescriptor, PutResult};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use polarway_common::{Error, ErrorKind};
use polarway_identity::{Identity, Party};
use polarway_proto::status::status_from_error;
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

/// The frames as long as their sender is known as it was, and then an error: what came before is stored and acknowledged
/// all the same.
pub fn until_revoked(frames: PutFrames, identity: Identity, party: Party) -> PutFrames {
    if !matches!(party, Party::User { .. }) {
        return frames;
    }
    let revoked = async move { identity.revoked(&party).await }.boxed();
    stream::unfold(Some((frames, revoked)), |state| async move {
        let (mut frames, mut revoked) = state?;
        tokio::select! {
            biased;
            () = &mut revoked => {
                let told = "the token is not known any more, or its role or namespace has changed";
                Some((Err(status_from_error(&Error::new(ErrorKind::Unauthenticated, told))), None))
            }
            frame = frames.next() => Some((frame?, Some((frames, revoked)))),
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use polarway_common::config::{IdentityConfig, Secret};
    use polarway_proto::status::error_from_status;
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn row_47_frames_end_with_the_token_of_their_sender() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let knows = |token: &str| {
            let text = format!("[[token]]\nname = 'ana'\nrole = 'write'\ntoken = '{token}'\n");
            std::fs::write(file.path(), text).unwrap();
        };
        knows("a-token-of-ana-0123456789");
        let config = IdentityConfig {
            tokens: Some(file.path().to_owned()),
            process_secret: Some(Secret::new("the-secret-of-all-processes-0123")),
            trusted_network: false,
        };
        let identity = Identity::load(&config, &polarway_identity::Tls::default()).await.unwrap();
        let ana = identity
            .identify(Some(b"Bearer a-token-of-ana-0123456789"), polarway_identity::connection::Link::Plain)
            .unwrap();
        let one = || stream::iter([Ok::<_, Status>(FlightData::default())]);
        let whole = until_revoked(one().boxed(), identity.clone(), ana.clone());
        assert_eq!(whole.map(|frame| frame.is_ok()).collect::<Vec<_>>().await, [true]);

        let endless = one().chain(stream::pending()).boxed();
        let mut frames = until_revoked(endless, identity.clone(), ana);
        frames.next().await.unwrap().unwrap();
        assert!(frames.next().now_or_never().is_none());
        knows("another-token-0123456789");
        let stop = CancellationToken::new();
        let following = tokio::spawn(identity.follow(stop.clone()));
        let error = error_from_status(&frames.next().await.unwrap().unwrap_err());
        assert_eq!(error.kind, ErrorKind::Unauthenticated);
        assert!(frames.next().await.is_none());
        stop.cancel();
        following.await.unwrap().unwrap();
    }

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
