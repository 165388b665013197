//! Signed Flight tickets. No server keeps state for them: what a server needs to serve one is inside it.
//!
//! Three kinds, told apart by their first bytes:
//! - A [`QueryTicket`] names a statement. Schedulers make and serve it; any scheduler that shares the cluster's
//!   secret can serve another's. Signed by HMAC-SHA256.
//! - A [`PlanTicket`] carries an encoded physical plan for one executor. Executors hold no secret, so it is signed
//!   with Ed25519 and verified with the public key that executors fetch from their scheduler.
//! - A [`PreparedStatement`] is the handle of a prepared statement. Signed as a [`QueryTicket`] is; it does not expire,
//!   since it gives no right that its text would not.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use polarway_common::{Error, ErrorKind};
use prost::Message;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::Sha256;

const QUERY_MAGIC: &[u8; 4] = b"PWQ1";
const PLAN_MAGIC: &[u8; 4] = b"PWP1";
const PREPARED_MAGIC: &[u8; 4] = b"PWS1";
const MAC_LEN: usize = 32;
const SIGNATURE_LEN: usize = 64;

/// A statement to run.
#[derive(Clone, PartialEq, Message)]
pub struct QueryTicket {
    #[prost(string, tag = "1")]
    pub query_id: String,
    #[prost(string, tag = "2")]
    pub sql: String,
    /// The session's settings that differ from the server's, sorted by name.
    #[prost(message, repeated, tag = "3")]
    pub settings: Vec<Setting>,
    /// What `now()` is for this query, microseconds since the Unix epoch.
    #[prost(int64, tag = "4")]
    pub now_micros: i64,
    /// Seconds since the Unix epoch after which no server takes the ticket.
    #[prost(uint64, tag = "5")]
    pub expires_at: u64,
    /// The session that asked, so that `SET` through a ticket reaches it.
    #[prost(string, tag = "6")]
    pub session: String,
    /// For a statement that changed something when the ticket was made: what it did. There is nothing left to run.
    #[prost(string, tag = "7")]
    pub outcome: String,
    /// The trace that planning it was part of, as W3C writes it; empty if there was none.
    #[prost(string, tag = "8")]
    pub trace: String,
}

/// A statement that was prepared; what was bound to it is part of its text.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PreparedStatement {
    #[prost(string, tag = "1")]
    pub sql: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Setting {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Work for one executor: a physical plan to run whole, or a finished result partition to send.
#[derive(Clone, PartialEq, Message)]
pub struct PlanTicket {
    #[prost(string, tag = "1")]
    pub query_id: String,
    /// `datafusion.PhysicalPlanNode`, encoded.
    #[prost(bytes = "bytes", tag = "2")]
    pub plan: Bytes,
    #[prost(message, repeated, tag = "3")]
    pub settings: Vec<Setting>,
    #[prost(uint64, tag = "4")]
    pub expires_at: u64,
    /// Milliseconds the plan may run; zero means no limit.
    #[prost(uint64, tag = "5")]
    pub timeout_ms: u64,
    /// Bytes of memory the plan may hold; zero means the pool's limit alone.
    #[prost(uint64, tag = "6")]
    pub memory_limit: u64,
    /// When set, `plan` is empty and this is what to send.
    #[prost(message, optional, tag = "7")]
    pub partition: Option<ResultPartition>,
    /// When set, the run's measurements are sent in place of its rows.
    #[prost(message, optional, tag = "8")]
    pub analyze: Option<Analyze>,
}

/// What EXPLAIN ANALYZE asks for.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Analyze {
    #[prost(bool, tag = "1")]
    pub verbose: bool,
}

/// One partition of a staged job's result, where Ballista's shuffle writer left it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ResultPartition {
    #[prost(string, tag = "1")]
    pub job_id: String,
    #[prost(uint64, tag = "2")]
    pub stage_id: u64,
    #[prost(uint64, tag = "3")]
    pub partition_id: u64,
    #[prost(uint64, optional, tag = "4")]
    pub file_id: Option<u64>,
    #[prost(bool, tag = "5")]
    pub sort_layout: bool,
    /// Rows that its writer counted; a file with another number of them is damaged.
    #[prost(uint64, optional, tag = "6")]
    pub rows: Option<u64>,
}

/// Whether `ticket` claims to be a plan ticket; says nothing about its signature.
pub fn is_plan_ticket(ticket: &[u8]) -> bool {
    ticket.starts_with(PLAN_MAGIC)
}

/// Signs and verifies all kinds of ticket with keys derived from the cluster's secret.
pub struct TicketSigner {
    mac: Hmac<Sha256>,
    key_pair: Ed25519KeyPair,
}

impl std::fmt::Debug for TicketSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketSigner(***)")
    }
}

impl TicketSigner {
    /// Keys for `secret`, the same on every process that knows it.
    pub fn from_secret(secret: &[u8]) -> Result<Self, Error> {
        let derive = |label: &[u8]| -> Result<[u8; 32], Error> {
            let mut mac = new_mac(secret)?;
            mac.update(label);
            Ok(mac.finalize().into_bytes().into())
        };
        let mac = new_mac(&derive(b"polarway query ticket v1")?)?;
        let key_pair = Ed25519KeyPair::from_seed_unchecked(&derive(b"polarway plan ticket v1")?)
            .map_err(|error| Error::internal(format!("ticket key: {error}")))?;
        Ok(Self { mac, key_pair })
    }

    /// The key executors verify plan tickets with.
    pub fn public_key(&self) -> Bytes {
        Bytes::copy_from_slice(self.key_pair.public_key().as_ref())
    }

    pub fn sign_query(&self, ticket: &QueryTicket) -> Bytes {
        self.sealed(QUERY_MAGIC, ticket)
    }

    pub fn verify_query(&self, ticket: &[u8], now: SystemTime) -> Result<QueryTicket, Error> {
        let ticket: QueryTicket = self.opened(QUERY_MAGIC, ticket).ok_or_else(not_ours)?;
        check_expiry(ticket.expires_at, now)?;
        Ok(ticket)
    }

    pub fn sign_prepared(&self, statement: &PreparedStatement) -> Bytes {
        self.sealed(PREPARED_MAGIC, statement)
    }

    /// # Errors
    /// `InvalidTicket` if no server of this cluster has signed the handle.
    pub fn verify_prepared(&self, handle: &[u8]) -> Result<PreparedStatement, Error> {
        self.opened(PREPARED_MAGIC, handle).ok_or_else(|| {
            Error::new(ErrorKind::InvalidTicket, "the prepared statement is not this cluster's")
                .with_hint("prepare it again; servers of one cluster must share `scheduler.ticket_secret`")
        })
    }

    fn sealed(&self, magic: &[u8; 4], message: &impl Message) -> Bytes {
        let mut out = magic.to_vec();
        out.extend(message.encode_to_vec());
        let mut mac = self.mac.clone();
        mac.update(&out);
        out.extend(mac.finalize().into_bytes());
        out.into()
    }

    fn opened<M: Message + Default>(&self, magic: &[u8; 4], sealed: &[u8]) -> Option<M> {
        let signed = sealed.strip_prefix(magic)?;
        let (body, tag) = signed.split_at_checked(signed.len().checked_sub(MAC_LEN)?)?;
        let mut mac = self.mac.clone();
        mac.update(magic);
        mac.update(body);
        mac.verify_slice(tag).ok()?;
        M::decode(body).ok()
    }

    pub fn sign_plan(&self, ticket: &PlanTicket) -> Bytes {
        let mut out = PLAN_MAGIC.to_vec();
        out.extend(ticket.encode_to_vec());
        let signature = self.key_pair.sign(&out);
        out.extend(signature.as_ref());
        out.into()
    }
}

/// Verifies a plan ticket with the scheduler's public key.
pub fn verify_plan(public_key: &[u8], ticket: &Bytes, now: SystemTime) -> Result<PlanTicket, Error> {
    let body_end = ticket.len().checked_sub(SIGNATURE_LEN).ok_or_else(not_ours)?;
    if !is_plan_ticket(ticket) || body_end < PLAN_MAGIC.len() {
        return Err(not_ours());
    }
    UnparsedPublicKey::new(&ED25519, public_key)
        .verify(&ticket[..body_end], &ticket[body_end..])
        .map_err(|_| not_ours())?;
    let ticket = PlanTicket::decode(ticket.slice(PLAN_MAGIC.len()..body_end)).map_err(|_| not_ours())?;
    check_expiry(ticket.expires_at, now)?;
    Ok(ticket)
}

/// `now` plus `ttl` in the form tickets carry.
pub fn expiry(now: SystemTime, ttl: std::time::Duration) -> u64 {
    unix_seconds(now).saturating_add(ttl.as_secs())
}

fn new_mac(key: &[u8]) -> Result<Hmac<Sha256>, Error> {
    <Hmac<Sha256> as KeyInit>::new_from_slice(key)
        .map_err(|error| Error::internal(format!("ticket key: {error}")))
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

fn check_expiry(expires_at: u64, now: SystemTime) -> Result<(), Error> {
    if unix_seconds(now) > expires_at {
        return Err(Error::new(ErrorKind::InvalidTicket, "the ticket has expired")
            .with_hint("ask for the statement's flight info again"));
    }
    Ok(())
}

fn not_ours() -> Error {
    Error::new(ErrorKind::InvalidTicket, "the ticket was not issued by this cluster").with_hint(
        "get a ticket by GetFlightInfo; servers of one cluster must share `scheduler.ticket_secret`",
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn query() -> QueryTicket {
        QueryTicket {
            query_id: "q-1".into(),
            sql: "select 1".into(),
            settings: vec![Setting { name: "polarway.route".into(), value: "direct".into() }],
            now_micros: 17,
            expires_at: expiry(SystemTime::now(), Duration::from_secs(60)),
            session: "s".into(),
            outcome: String::new(),
            trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
        }
    }

    fn plan() -> PlanTicket {
        PlanTicket {
            query_id: "q-1".into(),
            plan: Bytes::from_static(b"plan"),
            settings: vec![],
            expires_at: expiry(SystemTime::now(), Duration::from_secs(60)),
            timeout_ms: 5,
            memory_limit: 6,
            partition: None,
            analyze: None,
        }
    }

    #[test]
    fn a_ticket_is_served_by_any_holder_of_the_secret() {
        let signed = TicketSigner::from_secret(b"s3cret").unwrap().sign_query(&query());
        let other = TicketSigner::from_secret(b"s3cret").unwrap();
        assert_eq!(other.verify_query(&signed, SystemTime::now()).unwrap().sql, "select 1");
        let stranger = TicketSigner::from_secret(b"other").unwrap();
        let error = stranger.verify_query(&signed, SystemTime::now()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidTicket);
    }

    #[test]
    fn no_changed_byte_passes() {
        let signer = TicketSigner::from_secret(b"s3cret").unwrap();
        let signed = signer.sign_query(&query());
        for index in 0..signed.len() {
            let mut forged = signed.to_vec();
            forged[index] ^= 1;
            assert!(signer.verify_query(&forged, SystemTime::now()).is_err(), "byte {index}");
        }
        let plan = plan();
        let signed = signer.sign_plan(&plan);
        for index in 0..signed.len() {
            let mut forged = signed.to_vec();
            forged[index] ^= 1;
            assert!(
                verify_plan(&signer.public_key(), &forged.into(), SystemTime::now()).is_err(),
                "byte {index}"
            );
        }
        assert_eq!(verify_plan(&signer.public_key(), &signed, SystemTime::now()).unwrap(), plan);
    }

    #[test]
    fn a_prepared_statement_is_no_ticket_and_a_ticket_no_prepared_statement() {
        let signer = TicketSigner::from_secret(b"s3cret").unwrap();
        let statement = PreparedStatement { sql: "select 1".into() };
        let handle = signer.sign_prepared(&statement);
        assert_eq!(signer.verify_prepared(&handle).unwrap(), statement);
        assert!(signer.verify_query(&handle, SystemTime::now()).is_err());
        assert!(signer.verify_prepared(&signer.sign_query(&query())).is_err());
        for index in 0..handle.len() {
            let mut forged = handle.to_vec();
            forged[index] ^= 1;
            assert!(signer.verify_prepared(&forged).is_err(), "byte {index}");
        }
    }

    #[test]
    fn short_and_empty_input_is_refused() {
        let signer = TicketSigner::from_secret(b"s3cret").unwrap();
        for ticket in [&b""[..], b"PW", b"PWQ1", b"PWP1", b"PWQ1short"] {
            assert!(signer.verify_query(ticket, SystemTime::now()).is_err());
            assert!(signer.verify_prepared(ticket).is_err());
            let bytes = Bytes::copy_from_slice(ticket);
            assert!(verify_plan(&signer.public_key(), &bytes, SystemTime::now()).is_err());
        }
    }

    #[test]
    fn an_expired_ticket_is_refused() {
        let signer = TicketSigner::from_secret(b"s3cret").unwrap();
        let signed = signer.sign_query(&query());
        let later = SystemTime::now() + Duration::from_secs(3600);
        assert_eq!(signer.verify_query(&signed, later).unwrap_err().kind, ErrorKind::InvalidTicket);
    }
}
