//! A session with a cluster.

use std::path::PathBuf;
use std::time::Duration;

use polarway_client::{Client, ClientOptions, Endpoint, Handle, QueryStream, Token, TraceContext};
use polarway_common::{Error, ErrorKind};
use pyo3::prelude::*;

use crate::call::{Call, start};
use crate::columns::NativeTable;
use crate::parameters::{Parameter, row};
use crate::stream::NativeStream;
use crate::trace;
use crate::upload::{Source, mode};

#[pyclass(frozen, module = "polarway._polarway")]
pub struct NativeClient(Client);

/// Seconds as Python counts them.
fn seconds(name: &str, value: f64) -> Result<Duration, Error> {
    Duration::try_from_secs_f64(value).map_err(|_| {
        Error::new(ErrorKind::InvalidSetting, format!("`{name}` is no number of seconds: {value}"))
    })
}

/// A token as it is, or a file that has it.
fn token(text: Option<String>, file: Option<PathBuf>) -> Result<Option<Token>, Error> {
    match (text, file) {
        (Some(_), Some(_)) => {
            Err(Error::new(ErrorKind::Configuration, "`token` and `token_file` cannot both be given"))
        }
        (Some(text), None) => Token::new(text).map(Some),
        (None, file) => Ok(file.map(Token::of_file)),
    }
}

fn options(
    endpoints: &[String],
    connect_timeout: f64,
    retry_for: f64,
    token: Option<Token>,
    tls_ca: Option<PathBuf>,
) -> Result<ClientOptions, Error> {
    let endpoints = endpoints.iter().map(|text| text.parse()).collect::<Result<Vec<Endpoint>, Error>>()?;
    Ok(ClientOptions {
        connect_timeout: seconds("connect_timeout", connect_timeout)?,
        retry_for: seconds("retry_for", retry_for)?,
        token,
        tls_ca,
        trace: Some(TraceContext::new(trace::current)),
        ..ClientOptions::to_any(endpoints)
    })
}

#[pymethods]
impl NativeClient {
    /// Connects to the first server that answers; gives a client.
    #[staticmethod]
    fn connect(
        endpoints: Vec<String>,
        connect_timeout: f64,
        retry_for: f64,
        token: Option<String>,
        token_file: Option<PathBuf>,
        tls_ca: Option<PathBuf>,
        done: Py<PyAny>,
    ) -> PyResult<Call> {
        let connecting = async move {
            let token = self::token(token, token_file)?;
            let options = options(&endpoints, connect_timeout, retry_for, token, tls_ca)?;
            Client::connect(options).await.map(Self)
        };
        start(connecting, done)
    }

    /// Leases a query for so many seconds; gives its id, how long it lasts, and its columns.
    fn create_handle(&self, sql: String, ttl: f64, done: Py<PyAny>) -> PyResult<Call> {
        let client = self.0.clone();
        let creating = async move {
            let Handle { id, ttl, columns } = client.create_handle(&sql, seconds("ttl", ttl)?).await?;
            Ok((id, ttl.as_secs_f64(), columns))
        };
        start(creating, done)
    }

    /// Lets a handle's lease begin anew; gives how many seconds it lasts.
    fn renew_handle(&self, id: String, done: Py<PyAny>) -> PyResult<Call> {
        let client = self.0.clone();
        start(async move { client.renew_handle(&id).await.map(|ttl| ttl.as_secs_f64()) }, done)
    }

    fn close_handle(&self, id: String, done: Py<PyAny>) -> PyResult<Call> {
        let client = self.0.clone();
        start(async move { client.close_handle(&id).await }, done)
    }

    /// Makes a table of rows, or adds them to one; gives how many there were. `source` has `__arrow_c_stream__`.
    fn ingest(
        &self,
        source: &Bound<'_, PyAny>,
        schema: Option<String>,
        table: String,
        mode: String,
        done: Py<PyAny>,
    ) -> PyResult<Call> {
        let (client, source) = (self.0.clone(), Source::of(source)?);
        let sending =
            async move { client.ingest(&table, schema.as_deref(), self::mode(&mode)?, source.rows()).await };
        start(sending, done)
    }

    /// Puts rows under a leased handle; gives the same as `create_handle`.
    fn upload(&self, source: &Bound<'_, PyAny>, ttl: f64, done: Py<PyAny>) -> PyResult<Call> {
        let (client, source) = (self.0.clone(), Source::of(source)?);
        let sending = async move {
            let Handle { id, ttl, columns } = client.upload(seconds("ttl", ttl)?, source.rows()).await?;
            Ok((id, ttl.as_secs_f64(), columns))
        };
        start(sending, done)
    }

    /// Submits a statement whose outcome is kept for so many seconds after its end; gives the job's id.
    fn submit(
        &self,
        sql: String,
        parameters: Vec<Parameter>,
        key: String,
        keep: f64,
        done: Py<PyAny>,
    ) -> PyResult<Call> {
        let client = self.0.clone();
        let submitting = async move {
            let keep = seconds("keep", keep)?;
            match parameters.as_slice() {
                [] => client.submit(&sql, Some(&key), keep).await,
                values => client.submit_with(&sql, &row(values)?, Some(&key), keep).await,
            }
        };
        start(submitting, done)
    }

    /// What is known of a job, as JSON.
    fn job(&self, id: String, done: Py<PyAny>) -> PyResult<Call> {
        let client = self.0.clone();
        let asking = async move {
            let job = client.job(&id).await?;
            serde_json::to_string(&job).map_err(|error| Error::internal(error.to_string()))
        };
        start(asking, done)
    }

    /// Ends a job; gives whether it had not ended before.
    fn cancel_job(&self, id: String, done: Py<PyAny>) -> PyResult<Call> {
        let client = self.0.clone();
        start(async move { client.cancel_job(&id).await }, done)
    }

    /// Plans a statement; gives a stream of its rows.
    fn stream(&self, sql: String, parameters: Vec<Parameter>, done: Py<PyAny>) -> PyResult<Call> {
        let client = self.0.clone();
        let opening = async move {
            let rows = execute(&client, &sql, &parameters).await?;
            Ok(NativeStream::new(client, rows))
        };
        start(opening, done)
    }

    /// Runs a statement to its end; gives all its rows.
    fn collect(&self, sql: String, parameters: Vec<Parameter>, done: Py<PyAny>) -> PyResult<Call> {
        let client = self.0.clone();
        let collecting = async move {
            let mut rows = execute(&client, &sql, &parameters).await?;
            let mut batches = vec![];
            while let Some(batch) = rows.next_batch().await? {
                batches.push(batch);
            }
            let (query_id, route) = (rows.query_id().to_owned(), rows.route().to_owned());
            Ok(NativeTable::new(query_id, route, rows.schema().clone(), batches))
        };
        start(collecting, done)
    }
}

async fn execute(client: &Client, sql: &str, parameters: &[Parameter]) -> Result<QueryStream, Error> {
    match parameters {
        [] => client.execute(sql).await,
        values => client.execute_with(sql, &row(values)?).await,
    }
}
