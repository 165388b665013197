//! Connections that write into the streams of this process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use polarway_common::namespace::{PUBLIC, split_stored};
use polarway_common::{Error, ErrorKind};
use polarway_metastore::{Key, MetaStore};
use polarway_storage::catalog::{Ack, Definition, StreamDefinition, UnknownFields};
use polarway_storage::streams::{Node, Owner};

use super::{Host, definition};
use crate::Durability;
use crate::decode::{self, DecodeOptions};
use crate::feed::{Intake, IntakeOptions};
use crate::socket::{Feed, OpenError, Streams};

/// Bytes of rows that a binary frame may hold once it is decoded.
const FRAME_LIMIT: usize = 256 << 20;
/// For clients whose stream is between two owners.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[async_trait]
impl Streams for Host {
    async fn open(&self, name: &str, producer: Option<&str>) -> Result<Arc<dyn Feed>, OpenError> {
        let (schema, name) = split_name(name);
        // Whose stream it is may have changed while this process was not registered.
        let open = self.by_name(schema, name).filter(|_| self.options.tenure.holds());
        let Some(open) = open else { return Err(self.elsewhere(schema, name).await) };
        let told = told(schema, name);
        if open.definition.companion_of().is_some() {
            return Err(OpenError::NotAllowed(format!("`{told}` is written by the server alone")));
        }
        if open.definition.options.feed.is_some() {
            return Err(OpenError::NotAllowed(format!("`{told}` is fetched from a feed")));
        }
        let letters = self
            .dead_letters_of(&open)
            .ok_or_else(|| OpenError::Internal(format!("`{told}` has no table for dead letters")))?;
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

impl Host {
    /// Why a stream is not here.
    async fn elsewhere(&self, schema: &str, name: &str) -> OpenError {
        let meta = self.options.meta.as_ref();
        let found = find_stream(meta, schema, name).await;
        let owner = match found {
            Ok(None) => return OpenError::Unknown,
            Ok(Some(definition)) => owner_node(meta, &definition.id).await,
            Err(error) => Err(error),
        };
        let unavailable = |message: String| OpenError::Unavailable { message, retry_after: RETRY_AFTER };
        let told = told(schema, name);
        match owner {
            Ok(Some(node)) if node.name != self.options.node.name => {
                OpenError::Elsewhere { address: node.ws }
            }
            Ok(Some(_)) => unavailable(format!("`{told}` is not open yet")),
            Ok(None) => unavailable(format!("nobody takes rows of `{told}` at the moment")),
            Err(error) => unavailable(error.to_string()),
        }
    }
}

/// Schema and name of a stream, `schema.name` or only `name`; the schema is the stored one.
pub fn split_name(name: &str) -> (&str, &str) {
    name.split_once('.').unwrap_or((PUBLIC, name))
}

/// A stream as its users call it.
pub fn told(schema: &str, name: &str) -> String {
    format!("{}.{name}", split_stored(schema).1)
}

/// A stream as logs call it: they are of all namespaces.
pub fn logged(schema: &str, name: &str) -> String {
    match split_stored(schema) {
        (Some(namespace), schema) => format!("{namespace}/{schema}.{name}"),
        (None, schema) => format!("{schema}.{name}"),
    }
}

/// The definition of a stream, if there is one of this name.
pub async fn find_stream(
    meta: &dyn MetaStore,
    schema: &str,
    name: &str,
) -> Result<Option<StreamDefinition>, Error> {
    let key = Key::CatalogTable { schema: schema.to_owned(), table: name.to_owned() }.encode();
    let found = meta.get(&key).await?;
    Ok(match found.map(|found| definition(schema, name, &found.value)).transpose()? {
        Some(Definition::Stream(definition)) => Some(definition),
        _ => None,
    })
}

/// The definition of a stream that has to be there.
///
/// # Errors
/// `TableNotFound` when there is none of this name.
pub async fn the_stream(meta: &dyn MetaStore, schema: &str, name: &str) -> Result<StreamDefinition, Error> {
    find_stream(meta, schema, name).await?.ok_or_else(|| {
        let told = format!("there is no stream `{}`", told(schema, name));
        Error::new(ErrorKind::TableNotFound, told)
    })
}

/// The process that has a stream, as far as it is known.
async fn owner_node(meta: &dyn MetaStore, id: &str) -> Result<Option<Node>, Error> {
    let Some(owner) = Owner::of(meta, id).await? else { return Ok(None) };
    Ok(Node::named(meta, &owner.node).await?)
}
