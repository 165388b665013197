//! Handles: queries that clients lease, as Flight actions tell of them (JSON in bodies and results). A handle is a table
//! of the schema `handle`, on every scheduler, until its lease ends.

use serde::{Deserialize, Serialize};

/// The schema of handles.
pub const HANDLE_SCHEMA: &str = "handle";

/// Flight action type: its body is a [`CreateHandle`], its one result a [`HandleCreated`].
pub const CREATE_HANDLE_ACTION: &str = "polarway.CreateHandle";

/// Flight action type: its body is a handle's id, its one result a [`HandleRenewed`]. `NotFound` once the lease has ended.
pub const RENEW_HANDLE_ACTION: &str = "polarway.RenewHandle";

/// Flight action type: its body is a handle's id. There is one result, without a body, also if the handle has gone before.
pub const CLOSE_HANDLE_ACTION: &str = "polarway.CloseHandle";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateHandle {
    /// A query; it is planned now, and run when the handle is read.
    pub sql: String,
    /// How long the handle lasts when nobody renews it, in milliseconds.
    pub ttl_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandleCreated {
    pub id: String,
    /// How long the handle lasts from when it was made: not always what was asked for.
    pub ttl_ms: u64,
    pub columns: Vec<HandleColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandleColumn {
    pub name: String,
    /// As Arrow writes it.
    #[serde(rename = "type")]
    pub data_type: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandleRenewed {
    /// How long the handle lasts from now, in milliseconds.
    pub ttl_ms: u64,
}
