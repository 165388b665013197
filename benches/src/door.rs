//! A plain Flight SQL client of our door, as any driver would be one: the SQL text goes out each time, every
//! endpoint of the answer is read where it says, and the decoded batches are counted and dropped.

use std::collections::HashMap;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::{FlightEndpoint, FlightInfo};
use futures::future::try_join_all;
use futures::{FutureExt, TryStreamExt};
use polarway_tls::{Connector, Trust};
use serde::Deserialize;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::failure::{Context, Failure, Result};
use crate::load::Client;

/// Results travel in messages of up to 4 MiB; the windows let several be under way.
const STREAM_WINDOW: u32 = 8 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 32 * 1024 * 1024;
const MESSAGE_LIMIT: usize = 64 * 1024 * 1024;

/// Location by which a server says: redeem the ticket on the connection you have.
const SAME_CONNECTION: &str = "arrow-flight-reuse-connection";

type Sql = FlightSqlServiceClient<Channel>;

/// How clients connect: all with TLS, or all without.
#[derive(Debug, Clone)]
pub struct Dial {
    connector: Connector,
    encrypted: bool,
}

impl Dial {
    pub fn plain() -> Self {
        Self { connector: Connector::plain(), encrypted: false }
    }

    /// With TLS, to servers of the authorities in the file `ca` (PEM). Clones of one resume each other's sessions of TLS.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn trusting(ca: &Path) -> Result<Self> {
        Ok(Self { connector: Connector::trusting(&Trust::of_file(ca)?), encrypted: true })
    }

    /// What connects to `address`, a `host:port`, by the connector. Its URI is `http` in any case, which tonic leaves to
    /// the connector; the requests' own tells what is spoken.
    fn endpoint(&self, address: &str) -> Result<Endpoint> {
        let scheme = if self.encrypted { "https" } else { "http" };
        let origin = format!("{scheme}://{address}").parse::<Uri>();
        let origin = origin.context(|| format!("address {address}"))?;
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        Ok(endpoint
            .context(|| format!("address {address}"))?
            .origin(origin)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW))
    }

    /// The `host:port` of a location of a result.
    fn address_of<'a>(&self, location: &'a str) -> Result<&'a str> {
        match (location.split_once("://"), self.encrypted) {
            (Some(("grpc+tls", address)), true) | (Some(("grpc" | "grpc+tcp", address)), false) => {
                Ok(address.trim_end_matches('/'))
            }
            _ => Err(Failure::new(format!("an endpoint at {location}, which this client does not speak to"))),
        }
    }
}

/// One client. Clones share its connections and its session.
#[derive(Debug, Clone)]
pub struct Door {
    sql: Sql,
    dial: Dial,
    remotes: Arc<Mutex<HashMap<String, Channel>>>,
    route: Option<&'static str>,
}

/// What our server says of a query beside its endpoints.
#[derive(Debug, Deserialize)]
struct About {
    route: String,
}

impl Door {
    /// Connects to `address`, a `host:port`, without TLS.
    ///
    /// # Errors
    /// Nothing listens there.
    pub async fn connect(address: &str) -> Result<Self> {
        Self::dial(address, &Dial::plain()).await
    }

    /// Connects to `address`, a `host:port`, as `dial` says.
    ///
    /// # Errors
    /// Nothing listens there, or there is no handshake.
    pub async fn dial(address: &str, dial: &Dial) -> Result<Self> {
        let channel = dial.endpoint(address)?.connect_with_connector(dial.connector.clone()).await;
        let channel = channel.context(|| format!("connecting to {address}"))?;
        Ok(Self { sql: sql_client(channel), dial: dial.clone(), remotes: Arc::default(), route: None })
    }

    /// From now on sends the cookie of a session of its own, in which `SET` holds for the statements that follow.
    pub fn open_session(&mut self) {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        let cookie = format!("arrow_flight_session_id=bench-{}-{number}", process::id());
        self.sql.set_header("cookie", cookie);
    }

    /// From now on takes a query for failed that the server ran another way than by `route`.
    pub fn insist_on(&mut self, route: &'static str) {
        self.route = Some(route);
    }

    /// Runs a statement that is no query, such as `SET` or `CREATE`.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn run(&mut self, sql: &str) -> Result<()> {
        let info = self.sql.execute(sql.to_owned(), None).await?;
        self.read_all(info).await.map(drop)
    }

    async fn read_all(&self, info: FlightInfo) -> Result<u64> {
        // One endpoint is the usual case and needs no joining.
        match <[FlightEndpoint; 1]>::try_from(info.endpoint) {
            Ok([only]) => self.read(only).await,
            Err(several) => {
                let reads = several.into_iter().map(|endpoint| self.read(endpoint).boxed());
                Ok(try_join_all(reads).await?.into_iter().sum())
            }
        }
    }

    async fn read(&self, endpoint: FlightEndpoint) -> Result<u64> {
        let mut client = self.client_of(&endpoint)?;
        let ticket = endpoint.ticket.context(|| "an endpoint without a ticket")?;
        let batches = client.do_get(ticket).await?;
        Ok(batches.try_fold(0_u64, |rows, batch| async move { Ok(rows + batch.num_rows() as u64) }).await?)
    }

    fn client_of(&self, at: &FlightEndpoint) -> Result<Sql> {
        let here = |uri: &str| uri.is_empty() || uri.starts_with(SAME_CONNECTION);
        let Some(location) = at.location.first().filter(|location| !here(&location.uri)) else {
            return Ok(self.sql.clone());
        };
        let address = self.dial.address_of(&location.uri)?;
        let mut remotes = self.remotes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = remotes.get(address) {
            return Ok(sql_client(channel.clone()));
        }
        let connector = self.dial.connector.clone();
        let channel = self.dial.endpoint(address)?.connect_with_connector_lazy(connector);
        remotes.insert(address.to_owned(), channel.clone());
        Ok(sql_client(channel))
    }
}

impl Client for Door {
    async fn query(&mut self, sql: &str) -> Result<u64> {
        let info = self.sql.execute(sql.to_owned(), None).await?;
        if let Some(wanted) = self.route {
            let About { route } = serde_json::from_slice(&info.app_metadata)?;
            if route != wanted {
                return Err(Failure::new(format!("the query ran by route {route}, not {wanted}")));
            }
        }
        self.read_all(info).await
    }
}

fn sql_client(channel: Channel) -> Sql {
    let client = FlightServiceClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT);
    FlightSqlServiceClient::new_from_inner(client)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};
    use arrow_flight::encode::FlightDataEncoderBuilder;
    use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
    use arrow_flight::sql::server::FlightSqlService;
    use arrow_flight::sql::{Any, CommandStatementQuery, SqlInfo};
    use arrow_flight::{FlightDescriptor, Ticket};
    use futures::stream;
    use tonic::transport::server::TcpIncoming;
    use tonic::transport::{Identity, Server, ServerTlsConfig};
    use tonic::{Request, Response, Status};

    use super::*;
    use crate::certificates::Certificates;

    /// Statements, and the cookie each came with.
    type Seen = Vec<(String, Option<String>)>;

    /// Answers every statement by two endpoints of three rows each, one here and one at its own address.
    #[derive(Clone)]
    struct Fake {
        address: SocketAddr,
        scheme: &'static str,
        seen: Arc<Mutex<Seen>>,
    }

    #[tonic::async_trait]
    impl FlightSqlService for Fake {
        type FlightService = Fake;

        async fn get_flight_info_statement(
            &self,
            query: CommandStatementQuery,
            request: Request<FlightDescriptor>,
        ) -> Result<Response<FlightInfo>, Status> {
            let cookie = request.metadata().get("cookie").map(|cookie| cookie.to_str().unwrap().to_owned());
            self.seen.lock().unwrap().push((query.query, cookie));
            let here = FlightEndpoint::new().with_ticket(Ticket::new(""));
            let there = here.clone().with_location(format!("{}://{}", self.scheme, self.address));
            let about = r#"{"query_id":"q-1","route":"direct"}"#;
            let info = FlightInfo::new().with_endpoint(here).with_endpoint(there);
            Ok(Response::new(info.with_app_metadata(about)))
        }

        async fn do_get_fallback(
            &self,
            _request: Request<Ticket>,
            _message: Any,
        ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
            let column: arrow::array::ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
            let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
            let data = FlightDataEncoderBuilder::new().build(stream::iter([Ok(batch)]));
            Ok(Response::new(Box::pin(data.map_err(Status::from))))
        }

        async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
    }

    async fn serve() -> Fake {
        serve_by(Server::builder(), "grpc").await
    }

    async fn serve_by(mut server: Server, scheme: &'static str) -> Fake {
        let incoming = TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let fake = Fake { address: incoming.local_addr().unwrap(), scheme, seen: Arc::default() };
        let server = server.add_service(FlightServiceServer::new(fake.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        fake
    }

    #[tokio::test]
    async fn every_endpoint_is_read_where_it_says() {
        let fake = serve().await;
        let mut door = Door::connect(&fake.address.to_string()).await.unwrap();
        assert_eq!(door.query("SELECT a FROM t").await.unwrap(), 6);
        assert_eq!(door.remotes.lock().unwrap().len(), 1);
        assert_eq!(*fake.seen.lock().unwrap(), [("SELECT a FROM t".to_owned(), None)]);
    }

    #[tokio::test]
    async fn with_tls_every_endpoint_is_read_with_it() {
        let certificates = Certificates::make().unwrap();
        let [certificate, key] = certificates.shown().map(|path| std::fs::read_to_string(path).unwrap());
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
        let fake = serve_by(Server::builder().tls_config(tls).unwrap(), "grpc+tls").await;
        let address = fake.address.to_string();
        let dial = Dial::trusting(&certificates.ca()).unwrap();
        let mut door = Door::dial(&address, &dial).await.unwrap();
        assert_eq!(door.query("SELECT a FROM t").await.unwrap(), 6);
        let stranger = Dial::trusting(&Certificates::make().unwrap().ca()).unwrap();
        assert!(Door::dial(&address, &stranger).await.is_err());
    }

    #[test]
    fn no_location_leads_out_of_tls_or_into_it() {
        let plain = Dial::plain();
        assert_eq!(plain.address_of("grpc+tcp://127.0.0.1:1").unwrap(), "127.0.0.1:1");
        let error = plain.address_of("grpc+tls://127.0.0.1:1").unwrap_err().to_string();
        assert_eq!(error, "an endpoint at grpc+tls://127.0.0.1:1, which this client does not speak to");
        let encrypted = Dial { encrypted: true, ..plain };
        assert_eq!(encrypted.address_of("grpc+tls://127.0.0.1:1/").unwrap(), "127.0.0.1:1");
        assert!(encrypted.address_of("grpc://127.0.0.1:1").is_err());
    }

    #[tokio::test]
    async fn sessions_have_cookies_of_their_own_and_clones_share_them() {
        let fake = serve().await;
        let mut one = Door::connect(&fake.address.to_string()).await.unwrap();
        let mut other = one.clone();
        one.open_session();
        other.open_session();
        one.run("SET a = 1").await.unwrap();
        one.clone().query("SELECT 1").await.unwrap();
        other.run("SET a = 1").await.unwrap();
        let cookies: Vec<_> =
            fake.seen.lock().unwrap().iter().map(|(_, cookie)| cookie.clone().unwrap()).collect();
        assert!(cookies[0].starts_with("arrow_flight_session_id=bench-"));
        assert_eq!(cookies[0], cookies[1]);
        assert_ne!(cookies[0], cookies[2]);
    }

    #[tokio::test]
    async fn a_query_by_another_route_fails() {
        let fake = serve().await;
        let mut door = Door::connect(&fake.address.to_string()).await.unwrap();
        door.insist_on("direct");
        assert_eq!(door.query("SELECT 1").await.unwrap(), 6);
        door.insist_on("staged");
        let error = door.query("SELECT 1").await.unwrap_err().to_string();
        assert_eq!(error, "the query ran by route direct, not staged");
        door.run("SET a = 1").await.unwrap();
    }
}
