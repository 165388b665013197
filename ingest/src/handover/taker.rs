//! Who takes a log's records: the stream's owner, in this process or another.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow_flight::{Action, FlightData, FlightDescriptor};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use polarway_common::{Error, ErrorKind};
use polarway_engine::live::{NodeChannels, call_failed};
use polarway_proto::streams::{LOG_HEADER, LogState, StreamLog, action};
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Request, Status};

use crate::durability::Durability;
use crate::stream::{Appended, Draft, Live, LiveError, Record};

/// Bytes of one message.
const PART: usize = 1 << 20;
/// Messages that wait to be sent.
const PARTS: usize = 8;
/// What a short call may take; to settle a log is to seal its rows.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);

/// A record and its number among those that are handed over, from one on.
pub type NumberedRecord = (u64, Record);

/// The owner of a stream, as the process sees it that has a log from before.
#[async_trait]
pub trait Taker: Send + Sync {
    /// How many records of the log are there; none when it is not owed any more.
    ///
    /// # Errors
    /// `StoreUnavailable` when the owner cannot be reached, or is not the owner.
    async fn taken(&self, id: &str, log: u64) -> Result<Option<u64>, Error>;

    /// Takes records in order. When this returns they are in the owner's log.
    ///
    /// # Errors
    /// As [`Taker::taken`]; then some of them may have been taken.
    async fn take(&self, id: &str, log: u64, records: Vec<NumberedRecord>) -> Result<(), Error>;

    /// Notes that the log has been taken as a whole.
    ///
    /// # Errors
    /// As [`Taker::taken`]; then it may have been noted.
    async fn settle(&self, id: &str, log: u64) -> Result<(), Error>;
}

/// Records on their way into a stream: each waits for those before it only at the end.
pub struct Receiving<'a> {
    live: &'a Live,
    log: u64,
    last: Option<Appended>,
}

impl<'a> Receiving<'a> {
    pub fn new(live: &'a Live, log: u64) -> Self {
        Self { live, log, last: None }
    }

    /// # Errors
    /// Those of [`Live::take_in`] and [`Live::reached`].
    pub async fn take(&mut self, (number, record): NumberedRecord) -> Result<(), LiveError> {
        let taken = self.live.take_in(self.log, number, record).await?;
        if let Some(last) = self.last.replace(taken)
            && !last.is_followed_by(&taken)
        {
            self.live.reached(last, Durability::Wal).await?;
        }
        Ok(())
    }

    /// Waits until all are in the log.
    ///
    /// # Errors
    /// Those of [`Live::reached`].
    pub async fn finish(self) -> Result<(), LiveError> {
        match self.last {
            Some(last) => self.live.reached(last, Durability::Wal).await,
            None => Ok(()),
        }
    }
}

/// Puts the parts of records together again.
pub(crate) struct Parts {
    record: BytesMut,
    limit: usize,
}

impl Parts {
    /// A record has at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { record: BytesMut::new(), limit }
    }

    /// The record that ends with this part.
    pub fn add(&mut self, part: &FlightData, schema: &SchemaRef) -> Result<Option<NumberedRecord>, Error> {
        let invalid =
            |what: &dyn std::fmt::Display| Error::new(ErrorKind::InvalidTicket, format!("a record: {what}"));
        if self.record.len() + part.data_body.len() > self.limit {
            return Err(invalid(&format!("it has more than {} bytes", self.limit)));
        }
        self.record.extend_from_slice(&part.data_body);
        if part.app_metadata.is_empty() {
            return Ok(None);
        }
        let number = std::str::from_utf8(&part.app_metadata).ok().and_then(|number| number.parse().ok());
        let number = number.ok_or_else(|| invalid(&"its number cannot be read"))?;
        let record = Record::read(&self.record.split(), schema).map_err(|error| invalid(&error))?;
        Ok(Some((number, record)))
    }
}

fn parts(number: u64, record: &Record) -> Result<Vec<FlightData>, Error> {
    let draft =
        Draft::new(&record.rows, &record.origin).map_err(|error| Error::internal(error.to_string()))?;
    let payload = draft.placed(record.generation, record.place);
    let whole = Bytes::from([payload.head, payload.body].concat());
    let mut parts: Vec<FlightData> = (0..whole.len())
        .step_by(PART)
        .map(|from| whole.slice(from..whole.len().min(from + PART)))
        .map(|part| FlightData { data_body: part, ..FlightData::default() })
        .collect();
    if let Some(last) = parts.last_mut() {
        last.app_metadata = number.to_string().into();
    }
    Ok(parts)
}

/// The owner in another process.
pub struct RemoteTaker {
    pub nodes: Arc<NodeChannels>,
    /// `host:port`.
    pub address: String,
}

impl RemoteTaker {
    async fn call(&self, kind: &str, id: &str, log: u64) -> Result<Bytes, Error> {
        let body = StreamLog { id: id.to_owned(), log }.encode_to_vec().into();
        let mut client = self.nodes.client(&self.address)?;
        let answer = async {
            let mut results = client.do_action(Action { r#type: kind.to_owned(), body }).await?.into_inner();
            results.message().await
        };
        match tokio::time::timeout(CALL_TIMEOUT, answer).await {
            Ok(Ok(result)) => Ok(result.map(|result| result.body).unwrap_or_default()),
            Ok(Err(status)) => Err(call_failed(&self.address, &status)),
            Err(_) => {
                Err(Error::new(ErrorKind::StoreUnavailable, format!("{} does not answer", self.address)))
            }
        }
    }
}

/// What is sent, as it is made.
struct Sending(mpsc::Receiver<FlightData>);

impl Stream for Sending {
    type Item = FlightData;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<FlightData>> {
        self.0.poll_recv(context)
    }
}

#[async_trait]
impl Taker for RemoteTaker {
    async fn taken(&self, id: &str, log: u64) -> Result<Option<u64>, Error> {
        let body = self.call(action::LOG_STATE, id, log).await?;
        let state = LogState::decode(body).map_err(|error| Error::internal(error.to_string()))?;
        Ok(state.taken)
    }

    async fn take(&self, id: &str, log: u64, records: Vec<NumberedRecord>) -> Result<(), Error> {
        let (out, waiting) = mpsc::channel(PARTS);
        let mut request = Request::new(Sending(waiting));
        let name =
            log.to_string().parse().map_err(|_| Error::internal("a number that no header can hold"))?;
        request.metadata_mut().insert(LOG_HEADER, name);
        let mut client = self.nodes.client(&self.address)?;
        let failed = |status: Status| call_failed(&self.address, &status);
        let answered = async {
            let mut answers = client.do_put(request).await.map_err(failed)?.into_inner();
            let answer = answers.next().await;
            answer.ok_or_else(|| Error::internal("no answer to the rows of a log"))?.map_err(failed).map(drop)
        };
        let descriptor = FlightDescriptor::new_path(vec![id.to_owned()]);
        let sent = async move {
            let first = FlightData { flight_descriptor: Some(descriptor), ..FlightData::default() };
            // Who does not read any more says why in its answer.
            if out.send(first).await.is_err() {
                return Ok(());
            }
            for (number, record) in records {
                for part in parts(number, &record)? {
                    if out.send(part).await.is_err() {
                        return Ok(());
                    }
                }
            }
            Ok::<_, Error>(())
        };
        let (sent, answered) = futures::future::join(sent, answered).await;
        sent.and(answered)
    }

    async fn settle(&self, id: &str, log: u64) -> Result<(), Error> {
        self.call(action::LOG_SETTLED, id, log).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hot::samples::{rows, schema};
    use crate::stream::{FrameRows, Origin};

    #[test]
    fn a_record_is_put_together_from_its_parts() {
        let frames = [FrameRows { number: 3, rows: 200_000 }];
        let origin = Origin::sent(Some(&"p".into()), &frames);
        let record = Record { generation: 2, place: 9, origin, rows: rows(0, 200_000) };
        let sent = parts(17, &record).unwrap();
        assert!(sent.len() > 2, "{} parts", sent.len());
        let mut together = Parts::new(64 << 20);
        let mut read: Vec<_> = sent.iter().map(|part| together.add(part, &schema()).unwrap()).collect();
        assert_eq!(read.pop(), Some(Some((17, record))));
        assert!(read.into_iter().all(|part| part.is_none()));
        let mut small = Parts::new(PART);
        assert!(small.add(&sent[0], &schema()).unwrap().is_none());
        assert!(small.add(&sent[1], &schema()).is_err());
    }
}
