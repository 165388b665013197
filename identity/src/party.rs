//! Who is at the other end.

use polarway_common::{Caller, Error, ErrorKind};

use crate::tokens::Digest;

/// See the module's page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Party {
    /// The server does not ask.
    Anyone,
    /// The server does not ask who it is, but knows that it is no process: it has shown no certificate.
    AnyUser,
    /// By the token of this digest.
    User { caller: Caller, token: Digest },
    /// A process of the cluster.
    Process,
}

impl Party {
    /// Whom a request is from that users send.
    ///
    /// # Errors
    /// `NotAllowed` if a process sends it: what a process does it does by itself.
    pub fn caller(&self) -> Result<Caller, Error> {
        match self {
            Party::Anyone | Party::AnyUser => Ok(Caller::anyone()),
            Party::User { caller, .. } => Ok(caller.clone()),
            Party::Process => Err(Error::new(
                ErrorKind::NotAllowed,
                "a process of the cluster is no user, and sends no statements",
            )),
        }
    }

    /// # Errors
    /// `NotAllowed` if a user sends what only processes send.
    pub fn must_be_process(&self) -> Result<(), Error> {
        match self {
            Party::Anyone | Party::Process => Ok(()),
            Party::AnyUser => Err(Error::new(
                ErrorKind::NotAllowed,
                "only processes of the cluster call this; they show a certificate with the name of processes",
            )),
            Party::User { caller, .. } => {
                let told = format!("only processes of the cluster call this; `{}` is a user", caller.name());
                Err(Error::new(ErrorKind::NotAllowed, told).with_hint("send statements to a scheduler"))
            }
        }
    }

    /// For logs, with the namespace; nothing of a token.
    pub fn name(&self) -> &str {
        match self {
            Party::Anyone | Party::AnyUser => "anyone",
            Party::User { caller, .. } => caller.owner(),
            Party::Process => "process",
        }
    }
}
