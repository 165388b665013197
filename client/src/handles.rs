//! Leased queries: a handle is a table of the schema `handle` on every server of the cluster, until its lease ends.

use std::time::Duration;

use arrow_flight::Action;
use arrow_flight::error::FlightError;
use bytes::Bytes;
use futures::TryStreamExt;
use polarway_common::Error;
use polarway_proto::handle::{
    CLOSE_HANDLE_ACTION, CREATE_HANDLE_ACTION, CreateHandle, HANDLE_SCHEMA, HandleCreated, HandleRenewed,
    RENEW_HANDLE_ACTION,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Client;
use crate::transport::Failure;

/// A query under a lease. It lasts as long as somebody renews it, and does not end when this value goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    pub id: String,
    /// How long it lasts from when it was made or renewed: not always what was asked for.
    pub ttl: Duration,
    /// Name and Arrow type of each column.
    pub columns: Vec<(String, String)>,
}

impl Handle {
    /// What stands for it in SQL.
    pub fn table(&self) -> String {
        format!("{HANDLE_SCHEMA}.{}", self.id)
    }
}

impl Client {
    /// Leases a query, which is planned now, and run whenever [`Handle::table`] is read.
    ///
    /// # Errors
    /// Those of planning it; [`Unsupported`](polarway_common::ErrorKind::Unsupported) for other statements.
    pub async fn create_handle(&self, sql: &str, ttl: Duration) -> Result<Handle, Error> {
        let request = CreateHandle { sql: sql.to_owned(), ttl_ms: millis(ttl) };
        let HandleCreated { id, ttl_ms, columns } =
            read(&self.ask(CREATE_HANDLE_ACTION, write(&request)?).await?)?;
        let columns = columns.into_iter().map(|column| (column.name, column.data_type)).collect();
        Ok(Handle { id, ttl: Duration::from_millis(ttl_ms), columns })
    }

    /// Lets a handle's lease begin anew; gives how long it lasts.
    ///
    /// # Errors
    /// [`NotFound`](polarway_common::ErrorKind::NotFound) once it has ended: it does not come back.
    pub async fn renew_handle(&self, id: &str) -> Result<Duration, Error> {
        let HandleRenewed { ttl_ms } = read(&self.ask(RENEW_HANDLE_ACTION, id.to_owned().into()).await?)?;
        Ok(Duration::from_millis(ttl_ms))
    }

    /// Ends a handle's lease, if it has not ended.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn close_handle(&self, id: &str) -> Result<(), Error> {
        self.ask(CLOSE_HANDLE_ACTION, id.to_owned().into()).await.map(drop)
    }

    /// The one result of an action that may take place twice: of the first server that answers.
    pub(crate) async fn ask(&self, kind: &str, body: Bytes) -> Result<Bytes, Error> {
        let mut failed = Error::internal("the client has no server");
        for server in self.servers().in_turn() {
            let refused = |error: FlightError| Failure::from_flight(error, &server);
            let asked = self.pool().call(&server, |mut client| {
                let action = Action::new(kind, body.clone());
                async move {
                    let mut results = client.do_action(action).await.map_err(refused)?;
                    results.try_next().await.map_err(refused).map(Option::unwrap_or_default)
                }
            });
            match asked.await {
                Ok(answer) => {
                    self.servers().answered(&server);
                    return Ok(answer);
                }
                Err(failure) if failure.is_elsewhere_retryable() => failed = failure.into_error(),
                Err(failure) => return Err(failure.into_error()),
            }
        }
        Err(failed)
    }
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn write(message: &impl Serialize) -> Result<Bytes, Error> {
    let body = serde_json::to_vec(message);
    body.map(Bytes::from).map_err(|error| Error::internal(format!("a request cannot be written: {error}")))
}

pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body)
        .map_err(|error| Error::internal(format!("an answer of a server cannot be read: {error}")))
}
