//! How much room the log takes, shared by the handle and the writer.

use parking_lot::Mutex;

use super::{Position, WalError};

/// Bytes that are stored and bytes that wait, against the limit. Also the durable end, since it changes
/// together with them.
#[derive(Debug)]
pub(super) struct Usage {
    limit: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stored: u64,
    queued: u64,
    end: Position,
}

impl Usage {
    pub fn new(limit: u64, stored: u64, end: Position) -> Self {
        Self { limit, state: Mutex::new(State { stored, queued: 0, end }) }
    }

    /// Takes room for a record, or says that there is none.
    pub fn admit(&self, frame: u64) -> Result<(), WalError> {
        let mut state = self.state.lock();
        self.fits(&state, frame)?;
        state.queued += frame;
        Ok(())
    }

    /// Whether a record of this size would be admitted now.
    pub fn check(&self, frame: u64) -> Result<(), WalError> {
        self.fits(&self.state.lock(), frame)
    }

    fn fits(&self, state: &State, frame: u64) -> Result<(), WalError> {
        let used = state.stored.saturating_add(state.queued);
        if used.saturating_add(frame) > self.limit {
            return Err(WalError::Full { used, limit: self.limit });
        }
        Ok(())
    }

    /// Records of `frames` bytes in sum left the queue, and this is what is stored now.
    pub fn settle(&self, frames: u64, stored: u64, end: Position) {
        let mut state = self.state.lock();
        state.queued = state.queued.saturating_sub(frames);
        state.stored = stored;
        state.end = end;
    }

    pub fn stored(&self) -> u64 {
        self.state.lock().stored
    }

    pub fn end(&self) -> Position {
        self.state.lock().end
    }
}
