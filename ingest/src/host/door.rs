//! Connections that write into the streams of this process.

use std::sync::Arc;

use async_trait::async_trait;
use polarway_storage::catalog::{Ack, UnknownFields};

use super::Host;
use crate::Durability;
use crate::decode::{self, DecodeOptions};
use crate::feed::{Intake, IntakeOptions};
use crate::socket::{Feed, OpenError, Streams};

/// Schema of a stream whose name has none.
const SCHEMA: &str = "public";
/// Bytes of rows that a binary frame may hold once it is decoded.
const FRAME_LIMIT: usize = 256 << 20;

#[async_trait]
impl Streams for Host {
    async fn open(&self, name: &str, producer: Option<&str>) -> Result<Arc<dyn Feed>, OpenError> {
        let (schema, name) = name.split_once('.').unwrap_or((SCHEMA, name));
        let open = self.by_name(schema, name).ok_or(OpenError::Unknown)?;
        if open.definition.dead_letters_of.is_some() {
            return Err(OpenError::NotAllowed(format!("`{schema}.{name}` is written by the server alone")));
        }
        let letters = self
            .dead_letters_of(&open)
            .ok_or_else(|| OpenError::Internal(format!("`{schema}.{name}` has no table for dead letters")))?;
        let wanted = &open.definition.options;
        let options = IntakeOptions {
            decode: DecodeOptions {
                unknown_fields: match wanted.unknown_fields {
                    UnknownFields::Reject => decode::UnknownFields::Reject,
                    UnknownFields::Ignore => decode::UnknownFields::Ignore,
                },
            },
            frame_limit: FRAME_LIMIT,
            ack: match wanted.ack {
                Ack::Received => Durability::Received,
                Ack::Wal => Durability::Wal,
                Ack::ObjectStore => Durability::ObjectStore,
            },
            clock: Arc::clone(&self.options.clock),
        };
        let (stream, dead) = (Arc::clone(&open.live), Arc::clone(&letters.live));
        Intake::new(stream, dead, producer.map(Arc::from), options)
            .map(|intake| Arc::new(intake) as Arc<dyn Feed>)
            .map_err(|error| OpenError::Internal(error.to_string()))
    }
}
