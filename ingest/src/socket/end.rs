//! How a connection ends.

use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::fault::{Fault, FaultKind};
use super::metrics::Closed;

/// Why reading has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client has sent this close frame, and gets it back.
    Client(Option<CloseFrame>),
    /// Nobody is there any more.
    Lost,
    /// The client is told this, and a close frame is sent.
    Fault(Fault),
}

impl End {
    pub fn idle() -> Self {
        Self::Fault(Fault::new(FaultKind::Idle, "nothing came for too long, not even an answer to a ping"))
    }

    pub fn draining() -> Self {
        Self::Fault(Fault::new(FaultKind::Draining, "the server is shutting down"))
    }

    pub fn revoked() -> Self {
        let message = "the token is not known any more, or its role or namespace has changed";
        Self::Fault(Fault::new(FaultKind::Unauthenticated, message))
    }

    pub fn of_error(error: WsError) -> Self {
        let kind = match &error {
            WsError::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
                let message = format!("the frame has {size} bytes or more, {max_size} are allowed");
                return Self::Fault(Fault::new(FaultKind::FrameTooLarge, message));
            }
            WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake)
            | WsError::Io(_)
            | WsError::ConnectionClosed
            | WsError::AlreadyClosed => return Self::Lost,
            WsError::Protocol(_) => FaultKind::Protocol,
            WsError::Utf8(_) => FaultKind::InvalidText,
            _ => FaultKind::Internal,
        };
        Self::Fault(Fault::new(kind, error.to_string()))
    }

    /// Whether acknowledgements of what was read are still worth waiting for.
    pub fn waits_for_acks(&self) -> bool {
        match self {
            End::Client(_) => true,
            End::Lost => false,
            End::Fault(fault) => fault.kind != FaultKind::Idle,
        }
    }

    /// How it is counted.
    pub fn closed(&self) -> Closed {
        let fault = match self {
            End::Client(_) => return Closed::Client,
            End::Lost => return Closed::Lost,
            End::Fault(fault) => fault,
        };
        match fault.kind {
            FaultKind::Protocol | FaultKind::Unsupported | FaultKind::InvalidText => Closed::Protocol,
            FaultKind::Unauthenticated | FaultKind::NotAllowed | FaultKind::Quota => Closed::Policy,
            FaultKind::Idle => Closed::Idle,
            FaultKind::FrameTooLarge => Closed::TooLarge,
            FaultKind::Internal => Closed::Internal,
            FaultKind::Draining | FaultKind::Moved => Closed::Draining,
            FaultKind::LogFull | FaultKind::DiskFull | FaultKind::Unavailable => Closed::Unavailable,
        }
    }
}
