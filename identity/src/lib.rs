//! Who calls a server.
//!
//! A user is known by a token, which a file of the server names with a role; a process of the cluster by its certificate, or
//! without TLS by a secret that all of them share. Token and secret come in the header `authorization`. Whom a server does not
//! know it refuses before anything else looks at the request: gRPC by [`grpc::Guard`], HTTP by [`http::guard`], WebSocket in its handshake. A server
//! without a file of tokens is open: whoever reaches it may do everything, so that it listens on loopback addresses only,
//! unless its configuration says otherwise, and answers over HTTP under names of its own only ([`Hosts`]).

pub mod audit;
pub mod connection;
mod credential;
pub mod grpc;
mod header;
mod hosts;
pub mod http;
mod identity;
mod party;
mod security;
mod tokens;

pub use credential::{Credential, ProcessChannel};
pub use header::token_of;
pub use hosts::Hosts;
pub use identity::Identity;
pub use party::Party;
pub use polarway_tls::Tls;
pub use security::Security;
pub use tokens::{Roots, Tokens};
