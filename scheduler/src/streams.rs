//! CREATE STREAM and DROP STREAM.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::TableReference;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use polarway_common::{Error, ErrorKind};
use polarway_engine::errors::classify;
use polarway_engine::live::StreamHost;
use polarway_storage::catalog::{Definition, Once, StreamDefinition, StreamOptions};
use uuid::Uuid;

use crate::catalog::{no_streams, plain_columns, split_name};
use crate::plan::{CreateStream, Planner, StreamStatement};
use crate::service::Request;

/// Carries a statement out; false when it had nothing to do.
pub async fn run(
    planner: &Planner,
    request: &Request,
    statement: StreamStatement,
    text: &str,
) -> Result<bool, Error> {
    let host = planner.streams().ok_or_else(no_streams)?;
    match statement {
        StreamStatement::Create(create) => self::create(planner, host, request, *create, text).await,
        StreamStatement::Drop { names, if_exists } => {
            let mut dropped = false;
            for (step, name) in (0..).zip(names) {
                let once = request.once.as_ref().map(|once| once.step(step));
                dropped |= drop_stream(planner, host, request, &name, if_exists, once.as_ref()).await?;
            }
            Ok(dropped)
        }
    }
}

/// The table that takes what a stream refuses.
fn dead_letters_of(stream: &str) -> String {
    format!("{stream}_dead_letters")
}

/// The table that takes the gaps of a stream's feed.
fn gaps_of(stream: &str) -> String {
    format!("{stream}_gaps")
}

async fn create(
    planner: &Planner,
    host: &Arc<dyn StreamHost>,
    request: &Request,
    create: CreateStream,
    text: &str,
) -> Result<bool, Error> {
    let (mut state, _scope) = planner.state(&request.settings, request.now)?;
    // A column WITH TIME ZONE would have none where the session has not chosen one.
    let zone = &mut state.config_mut().options_mut().execution.time_zone;
    zone.get_or_insert_with(|| "UTC".to_owned());
    let plan = state.statement_to_plan(create.table).await.map_err(|error| classify(&error))?;
    let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(table)) = plan else {
        return Err(Error::internal("a stream was planned as something else than a table"));
    };
    let (schema_name, name) = split_name(&table.name)?;
    let columns = plain_columns(table.input.schema().as_arrow());
    host.accepts(&columns)?;
    let options = StreamOptions::parse(&create.options, &columns)?;
    let namespace = request.caller.namespace();
    if options.feed.is_some() && !namespace.is_default() {
        // It would be fetched with secrets of the process that fetches it, which are nobody's in particular.
        let told = format!("streams with a feed are for the namespace `default`; this is `{namespace}`");
        return Err(Error::new(ErrorKind::NotAllowed, told).with_hint("send its rows over WebSocket or gRPC"));
    }
    let definition = |columns: &SchemaRef, options: &StreamOptions| {
        let definition = StreamDefinition {
            ddl: text.to_owned(),
            id: Uuid::now_v7().simple().to_string(),
            schema: String::new(),
            options: options.clone(),
            dead_letters_of: None,
            gaps_of: None,
        };
        definition.with_schema(columns)
    };
    let stream = definition(&columns, &options);
    let beside = StreamOptions {
        event_time: None,
        partition_by: vec![],
        dedup: vec![],
        feed: None,
        ..options.clone()
    };
    let letters = StreamDefinition {
        dead_letters_of: Some(name.clone()),
        ..definition(&host.dead_letter_schema(), &beside)
    };
    let gaps = options
        .feed
        .is_some()
        .then(|| StreamDefinition { gaps_of: Some(name.clone()), ..definition(&host.gap_schema(), &beside) });
    let definitions: Vec<_> = [
        Some((name.clone(), stream)),
        Some((dead_letters_of(&name), letters)),
        gaps.map(|gaps| (gaps_of(&name), gaps)),
    ]
    .into_iter()
    .flatten()
    .map(|(name, definition)| (name, Definition::Stream(definition)))
    .collect();
    let (catalog, once) = (planner.catalog_of(namespace), request.once.as_ref());
    let stored = catalog.stored(&schema_name)?;
    // One that was made before, by a server that may have died over it, is opened again: that changes nothing if it is open.
    if !catalog.create_together(&schema_name, &definitions, create.if_not_exists, once).await? {
        return Ok(false);
    }
    for (made, _) in &definitions {
        if let Err(error) = host.made(&stored, made).await {
            let names: Vec<String> = definitions.iter().map(|(name, _)| name.clone()).collect();
            if let Err(left) = catalog.take_back(&schema_name, &names, once).await {
                tracing::warn!(stream = name, error = %left, "a stream that cannot be opened is left in the catalog");
            }
            for (_, definition) in &definitions {
                if let Definition::Stream(definition) = definition
                    && let Err(left) = host.dropped(&definition.id).await
                {
                    tracing::warn!(stream = name, error = %left, "something of a stream that cannot be opened is left");
                }
            }
            return Err(namespace.told(error));
        }
    }
    Ok(true)
}

async fn drop_stream(
    planner: &Planner,
    host: &Arc<dyn StreamHost>,
    request: &Request,
    name: &str,
    if_exists: bool,
    once: Option<&Once>,
) -> Result<bool, Error> {
    let (schema, name) = split_name(&TableReference::parse_str(name))?;
    let namespace = request.caller.namespace();
    let catalog = planner.catalog_of(namespace);
    if let Some(once) = once
        && planner.catalog().is_done(once).await?
    {
        return Ok(true);
    }
    let snapshot = catalog.snapshot();
    snapshot.expect_readable(&schema, &name)?;
    let stream = match snapshot.entry(&schema, &name).map(|entry| &entry.definition) {
        None if if_exists => return Ok(false),
        None => {
            let missing = Error::new(ErrorKind::TableNotFound, format!("there is no stream `{name}`"));
            return Err(planner.suggest(&request.settings, missing));
        }
        Some(Definition::Stream(stream)) => stream,
        Some(Definition::Table(_) | Definition::Managed(_)) => {
            return Err(other_kind(&name, "a table", "DROP TABLE"));
        }
        Some(Definition::View(_)) => return Err(other_kind(&name, "a view", "DROP VIEW")),
    };
    if let Some(of) = stream.companion_of() {
        return Err(Error::new(ErrorKind::Plan, format!("`{name}` belongs to stream `{of}`"))
            .with_hint(format!("DROP STREAM {of} drops it too")));
    }
    let mut names = vec![name.clone()];
    let mut ids = vec![stream.id.clone()];
    for beside in [dead_letters_of(&name), gaps_of(&name)] {
        // Without its stream nothing would get rid of it.
        snapshot.expect_readable(&schema, &beside)?;
        if let Some(entry) = snapshot.entry(&schema, &beside)
            && let Definition::Stream(of) = &entry.definition
            && of.companion_of() == Some(name.as_str())
        {
            names.push(beside);
            ids.push(of.id.clone());
        }
    }
    catalog.drop_together(&schema, &names, once).await?;
    for id in ids {
        host.dropped(&id).await.map_err(|error| namespace.told(error))?;
    }
    Ok(true)
}

fn other_kind(name: &str, kind: &str, statement: &str) -> Error {
    Error::new(ErrorKind::Plan, format!("`{name}` is {kind}")).with_hint(format!("{statement} {name}"))
}
