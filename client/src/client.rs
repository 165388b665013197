//! A session with a Polarway cluster.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow_flight::error::FlightError;
use arrow_flight::{Action, CancelFlightInfoRequest, CancelStatus, FlightClient, FlightInfo};
use futures::TryStreamExt;
use polarway_common::{Error, ErrorKind};
use polarway_proto::progress::{QUERY_PROGRESS_ACTION, QueryProgress};
use polarway_proto::statement::IDEMPOTENCY_KEY;

use crate::credentials::Credentials;
use crate::dialler::Dialler;
use crate::pool::Pool;
use crate::servers::Servers;
use crate::session::random_uuid;
use crate::statement::Statement;
use crate::transport::Failure;
use crate::{ClientOptions, Endpoint, QueryHandle, QueryStream};

/// Cheap to clone; clones share the session and its connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    servers: Arc<Servers>,
    pool: Arc<Pool>,
}

/// What became of a request to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelOutcome {
    /// The query has stopped.
    Cancelled,
    /// The query will stop.
    Cancelling,
    /// The query had ended before, or cannot be stopped.
    NotRunning,
}

impl Client {
    /// Connects to the first of the given servers that answers.
    ///
    /// # Errors
    /// [`ErrorKind::Draining`] (retryable) when none can be reached, [`ErrorKind::Configuration`] when none is given, the
    /// token or the authorities cannot be read, some addresses are with TLS and some without, or a server cannot prove its name.
    /// Whether the servers know the token is told by the first call.
    pub async fn connect(options: ClientOptions) -> Result<Self, Error> {
        let cookie = options
            .session
            .cookie()
            .parse()
            .map_err(|error| Error::internal(format!("the session id is not a header value: {error}")))?;
        let dialler = Dialler::to(&options.endpoints, options.tls_ca).await?;
        let credentials = Credentials::load(options.token, options.endpoints.clone()).await?;
        let pool = Arc::new(Pool::new(options.connect_timeout, dialler, cookie, credentials, options.trace));
        let mut failed = Error::new(ErrorKind::Configuration, "no server address was given");
        for (index, server) in options.endpoints.iter().enumerate() {
            match pool.client(server).await {
                Ok(_) => {
                    let servers = Arc::new(Servers::new(options.endpoints, index, options.retry_for));
                    return Ok(Self { inner: Arc::new(Inner { servers, pool }) });
                }
                Err(failure) if failure.is_elsewhere_retryable() => failed = failure.into_error(),
                // To pass over a server that is not who it should be is to hide it.
                Err(failure) => return Err(failure.into_error()),
            }
        }
        Err(failed)
    }

    pub(crate) fn servers(&self) -> &Servers {
        &self.inner.servers
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    /// The server that plans the next statement.
    pub fn server(&self) -> &Endpoint {
        self.inner.servers.current()
    }

    /// Plans `sql` (one statement of any sort); reading the stream runs it. A statement that changes the catalog is
    /// carried out at once, and once, also if it has to be sent to several servers.
    pub async fn execute(&self, sql: &str) -> Result<QueryStream, Error> {
        self.run(Statement { sql, parameters: None }).await
    }

    /// [`Client::execute`] with values in place of the statement's placeholders: `$1`, `$2` … (or `?` for the next one) stand
    /// for the columns of `parameters` in their order, `$name` for the column of that name. It has one row.
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # use arrow::array::{ArrayRef, RecordBatch, StringArray};
    /// # async fn run(client: polarway_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let symbol: ArrayRef = Arc::new(StringArray::from(vec!["BTC"]));
    /// let symbol = RecordBatch::try_from_iter([("1", symbol)])?;
    /// let rows = client.execute_with("SELECT * FROM ticks WHERE symbol = $1", &symbol).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::execute`]; [`ErrorKind::Plan`] when there are not as many values as placeholders ask for,
    /// [`ErrorKind::Unsupported`] for other than one row, maps and unions.
    pub async fn execute_with(&self, sql: &str, parameters: &RecordBatch) -> Result<QueryStream, Error> {
        self.run(Statement { sql, parameters: Some(parameters) }).await
    }

    async fn run(&self, statement: Statement<'_>) -> Result<QueryStream, Error> {
        let (server, info) = self.plan(statement).await?;
        let Inner { servers, pool } = self.inner.as_ref();
        QueryStream::new(QueryHandle::new(info, server)?, Arc::clone(pool), Arc::clone(servers))
    }

    /// Reads the result of a statement that was planned before, by this client or another. The servers take it for the
    /// same query; whoever reads it already is overtaken.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub fn read(&self, query: QueryHandle) -> Result<QueryStream, Error> {
        let Inner { servers, pool } = self.inner.as_ref();
        let query = query.at(servers.current().clone());
        QueryStream::new(query, Arc::clone(pool), Arc::clone(servers))
    }

    /// Asks the query's server to stop it. Dropping its [`QueryStream`] does the same without an answer.
    pub async fn cancel(&self, query: &QueryHandle) -> Result<CancelOutcome, Error> {
        let server = query.server();
        let request = CancelFlightInfoRequest::new(query.info().clone());
        let cancelled = self.inner.pool.call(server, |mut client| {
            let request = request.clone();
            async move {
                let answer = client.cancel_flight_info(request).await;
                answer.map_err(|error| Failure::from_flight(error, server))
            }
        });
        match cancelled.await.map_err(Failure::into_error) {
            Ok(result) => Ok(match result.status() {
                CancelStatus::Cancelled => CancelOutcome::Cancelled,
                CancelStatus::Cancelling | CancelStatus::Unspecified => CancelOutcome::Cancelling,
                CancelStatus::NotCancellable => CancelOutcome::NotRunning,
            }),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(CancelOutcome::NotRunning),
            Err(error) => Err(error),
        }
    }

    /// How far a query is. Servers tell for a minute after its end; `None` when they know it no more.
    pub async fn progress(&self, query_id: &str) -> Result<Option<QueryProgress>, Error> {
        let server = self.server();
        let refused = |error: FlightError| Failure::from_flight(error, server);
        let asked = self.inner.pool.call(server, |mut client| {
            let action = Action::new(QUERY_PROGRESS_ACTION, query_id.to_owned());
            async move {
                let mut results = client.do_action(action).await.map_err(refused)?;
                results.try_next().await.map_err(refused)
            }
        });
        match asked.await.map_err(Failure::into_error) {
            Ok(None) => Ok(None),
            Ok(Some(body)) => serde_json::from_slice(&body)
                .map(Some)
                .map_err(|error| Error::internal(format!("the progress of a query cannot be read: {error}"))),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Planning changes nothing, and what changes something is known by the key that goes with it, so a server that does
    /// not answer is passed over for the next one. A server whose answer was lost is asked once more after the others.
    async fn plan(&self, statement: Statement<'_>) -> Result<(Endpoint, FlightInfo), Error> {
        let key = random_uuid();
        let mut failed = Error::internal("the client has no server");
        let mut lost = vec![];
        for server in self.inner.servers.in_turn() {
            match self.plan_at(&server, statement, &key).await {
                Ok(info) => return Ok(self.planned(server, info)),
                Err(failure) if failure.is_elsewhere_retryable() => {
                    if matches!(failure, Failure::Lost(_)) {
                        lost.push(server);
                    }
                    failed = failure.into_error();
                }
                Err(failure) => return Err(failure.into_error()),
            }
        }
        for server in lost {
            match self.plan_at(&server, statement, &key).await {
                Ok(info) => return Ok(self.planned(server, info)),
                Err(failure) => failed = failure.into_error(),
            }
        }
        Err(failed)
    }

    fn planned(&self, server: Endpoint, info: FlightInfo) -> (Endpoint, FlightInfo) {
        self.inner.servers.answered(&server);
        (server, info)
    }

    async fn plan_at(
        &self,
        server: &Endpoint,
        statement: Statement<'_>,
        key: &str,
    ) -> Result<FlightInfo, Failure> {
        let refused = |error: FlightError| Failure::from_flight(error, server);
        let plan = |mut client: FlightClient| async move {
            client.add_header(IDEMPOTENCY_KEY, key).map_err(refused)?;
            let descriptor = statement.descriptor(&mut client).await.map_err(refused)?;
            client.get_flight_info(descriptor).await.map_err(refused)
        };
        self.inner.pool.call(server, plan).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_without_servers_is_refused() {
        let mut options = ClientOptions::to("localhost".parse().unwrap());
        options.endpoints.clear();
        let Err(error) = Client::connect(options).await else { panic!("connected to nothing") };
        assert_eq!(error.kind, ErrorKind::Configuration);
    }
}
