//! Who gets the client's token, and what is done when it is not taken.

use std::path::PathBuf;

use polarway_client::{CancelOutcome, Client, ClientOptions, IngestMode, SessionId, Token};
use polarway_common::{Error, ErrorKind};

use super::support::{FakeServer, numbers};
use super::{collect, endpoint};

/// A file that goes with this value.
struct TokenFile(PathBuf);

impl TokenFile {
    fn new(token: &str) -> Self {
        let file = Self(std::env::temp_dir().join(format!("polarway-token-{}", SessionId::random())));
        file.put(token);
        file
    }

    fn put(&self, token: &str) {
        std::fs::write(&self.0, format!("{token}\n")).unwrap();
    }

    fn token(&self) -> Token {
        Token::of_file(&self.0)
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn options(servers: &[&FakeServer], token: Token) -> ClientOptions {
    let endpoints = servers.iter().map(|server| endpoint(server)).collect();
    ClientOptions { token: Some(token), ..ClientOptions::to_any(endpoints) }
}

async fn connect(servers: &[&FakeServer], token: Token) -> Client {
    Client::connect(options(servers, token)).await.unwrap()
}

async fn run(client: &Client, sql: &str) -> Result<Vec<i64>, Error> {
    collect(client.execute(sql).await?).await
}

fn authorizations(server: &FakeServer) -> Vec<String> {
    server.seen.authorizations.lock().unwrap().clone()
}

fn one() -> Token {
    Token::new("one").unwrap()
}

#[tokio::test]
async fn every_call_to_a_configured_server_carries_the_token() {
    let server = FakeServer::start_for(Some("one")).await;
    let client = connect(&[&server], one()).await;
    let stream = client.execute("numbers 3").await.unwrap();
    assert_eq!(client.cancel(stream.handle()).await.unwrap(), CancelOutcome::Cancelled);
    assert_eq!(collect(stream).await.unwrap(), [0, 1, 2]);
    client.progress("q-numbers").await.unwrap();
    // The server has no such actions, and would have said so to nobody else.
    assert_eq!(client.job("j").await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(authorizations(&server), ["Bearer one"; 5]);
}

#[tokio::test]
async fn without_a_token_there_is_no_header() {
    let server = FakeServer::start_for(Some("one")).await;
    let client = Client::connect(ClientOptions::to(endpoint(&server))).await.unwrap();
    assert_eq!(run(&client, "numbers 3").await.unwrap_err().kind, ErrorKind::Unauthenticated);
    assert_eq!(authorizations(&server), [""]);
}

#[tokio::test]
async fn a_server_that_only_a_result_names_gets_the_ticket_alone() {
    let (origin, other) = (FakeServer::start_for(Some("one")).await, FakeServer::start().await);
    let sql = format!("elsewhere grpc+tcp://{}", other.address);
    let client = connect(&[&origin], one()).await;
    assert_eq!(run(&client, &sql).await.unwrap().len(), 10);
    assert_eq!(authorizations(&other), [""]);
    assert_eq!(*other.seen.cookies.lock().unwrap(), [""]);
    assert_eq!(authorizations(&origin), ["Bearer one"]);
    // One that is configured as well is told who asks.
    let client = connect(&[&origin, &other], one()).await;
    assert_eq!(run(&client, &sql).await.unwrap().len(), 10);
    assert_eq!(authorizations(&other), ["", "Bearer one"]);
}

#[tokio::test]
async fn a_token_that_another_has_replaced_is_read_again() {
    let server = FakeServer::start_for(Some("two")).await;
    let file = TokenFile::new("one");
    let client = connect(&[&server], file.token()).await;
    file.put("two");
    assert_eq!(run(&client, "numbers 3").await.unwrap(), [0, 1, 2]);
    assert_eq!(authorizations(&server), ["Bearer one", "Bearer two", "Bearer two"]);
}

#[tokio::test]
async fn a_call_is_sent_once_more_and_no_oftener() {
    let server = FakeServer::start_for(Some("three")).await;
    let file = TokenFile::new("one");
    let client = connect(&[&server], file.token()).await;
    file.put("two");
    assert_eq!(client.progress("q-numbers").await.unwrap_err().kind, ErrorKind::Unauthenticated);
    assert_eq!(authorizations(&server), ["Bearer one", "Bearer two"]);
}

#[tokio::test]
async fn a_token_that_is_not_known_is_told_at_once() {
    let (first, second) =
        (FakeServer::start_for(Some("two")).await, FakeServer::start_for(Some("two")).await);
    let file = TokenFile::new("one");
    for (calls, token) in [(1, one()), (2, file.token())] {
        let client = connect(&[&first, &second], token).await;
        let error = run(&client, "numbers 3").await.unwrap_err();
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::Unauthenticated, "the token is not known")
        );
        assert!(!error.is_retryable());
        assert_eq!(authorizations(&first), vec!["Bearer one"; calls]);
        assert!(authorizations(&second).is_empty());
    }
}

#[tokio::test]
async fn rows_go_with_the_token_that_the_file_has_then() {
    let server = FakeServer::start_for(Some("two")).await;
    let file = TokenFile::new("one");
    let client = connect(&[&server], file.token()).await;
    file.put("two");
    // This server takes rows of nobody, which is the next that it looks at.
    let error = client.ingest("t", None, IngestMode::Create, numbers(0, 3)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert_eq!(authorizations(&server), ["Bearer two"]);
}

#[tokio::test]
async fn a_token_that_cannot_be_read_is_told_before_anybody_is_asked() {
    let server = FakeServer::start().await;
    let file = TokenFile::new("");
    let Err(error) = Client::connect(options(&[&server], file.token())).await else { panic!("connected") };
    assert_eq!(error.kind, ErrorKind::Configuration);
}
