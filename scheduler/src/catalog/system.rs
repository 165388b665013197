//! The schema `system`: what the cluster knows of itself, as tables.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use polarway_common::Error;
use polarway_engine::live::{Held, StreamHost, StreamStatus};
use polarway_metastore::membership::{Member, Members, View};
use polarway_storage::catalog::{Definition, Snapshot, StreamDefinition};

pub const SYSTEM: &str = "system";
const STREAMS: &str = "streams";
const NODES: &str = "nodes";

/// See the module's page.
#[derive(Debug, Clone)]
pub struct SystemSchema {
    pub snapshot: Arc<Snapshot>,
    /// None where streams are not known.
    pub host: Option<Arc<dyn StreamHost>>,
    pub members: Option<Members>,
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        [self.members.as_ref().map(|_| NODES), self.host.as_ref().map(|_| STREAMS)]
            .into_iter()
            .flatten()
            .map(str::to_owned)
            .collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(match (name, &self.host, &self.members) {
            (STREAMS, Some(host), _) => {
                let (snapshot, host) = (Arc::clone(&self.snapshot), Arc::clone(host));
                Some(Arc::new(Streams { snapshot, host, schema: schema() }) as Arc<dyn TableProvider>)
            }
            (NODES, _, Some(members)) => {
                let rows =
                    nodes(&members.current()).map_err(|error| DataFusionError::External(Box::new(error)))?;
                Some(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?))
            }
            _ => None,
        })
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|table| table == name)
    }
}

/// The processes of the cluster, by name.
fn nodes(view: &View) -> std::result::Result<RecordBatch, Error> {
    let members: Vec<_> = view.members().collect();
    let text = |of: &dyn Fn(&Member) -> Option<String>| -> ArrayRef {
        Arc::new(members.iter().map(|member| of(member)).collect::<StringArray>())
    };
    let name = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
    let since = members.iter().map(|member| i64::try_from(member.since).ok());
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("name", text(&|member| Some(member.name.clone()))),
        ("role", text(&|member| Some(name(&member.role)))),
        ("state", text(&|member| Some(name(&member.state)))),
        ("address", text(&|member| Some(member.address.to_string()))),
        ("http", text(&|member| Some(member.http.as_ref()?.to_string()))),
        ("ws", text(&|member| Some(member.ws.as_ref()?.to_string()))),
        ("zone", text(&|member| member.zone.clone())),
        (
            "slots",
            Arc::new(members.iter().map(|member| Some(u64::from(member.slots))).collect::<UInt64Array>()),
        ),
        ("version", text(&|member| Some(member.version.clone()))),
        ("incarnation", text(&|member| Some(member.incarnation.clone()))),
        ("since", Arc::new(since.collect::<TimestampMillisecondArray>().with_timezone("+00:00"))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .map_err(|error| Error::internal(error.to_string()))
}

fn schema() -> SchemaRef {
    let text = |name: &str, null: bool| Field::new(name, DataType::Utf8, null);
    let number = |name: &str| Field::new(name, DataType::UInt64, true);
    Arc::new(Schema::new(vec![
        text("stream_schema", false),
        text("stream_name", false),
        text("belongs_to", true),
        text("owner", true),
        text("address", true),
        number("hot_rows"),
        number("hot_bytes"),
        number("log_bytes"),
        number("sealed_rows"),
        number("sealed_bytes"),
        number("files"),
        text("url", true),
        text("feed", true),
    ]))
}

/// All streams: to which other they belong if they go with one, who has them, what they hold in memory, in the log and in
/// files, where they are fetched and whether that works. Numbers are null when the owner does not answer.
#[derive(Debug)]
struct Streams {
    snapshot: Arc<Snapshot>,
    host: Arc<dyn StreamHost>,
    schema: SchemaRef,
}

/// Schema, name and definition.
type Found<'a> = (&'a str, &'a str, &'a StreamDefinition);

impl Streams {
    async fn rows(&self) -> std::result::Result<RecordBatch, Error> {
        let statuses = self.host.status().await?;
        let statuses: HashMap<&str, &StreamStatus> =
            statuses.iter().map(|status| (status.id.as_str(), status)).collect();
        let mut streams: Vec<Found<'_>> = vec![];
        for (schema, tables) in &self.snapshot.schemas {
            for (name, entry) in tables {
                if let Definition::Stream(definition) = &entry.definition {
                    streams.push((schema, name, definition));
                }
            }
        }
        streams.sort_unstable_by_key(|(schema, name, _)| (*schema, *name));
        let status = |definition: &StreamDefinition| statuses.get(definition.id.as_str()).copied();
        let text = |of: &dyn Fn(&Found<'_>) -> Option<String>| -> ArrayRef {
            Arc::new(streams.iter().map(of).collect::<StringArray>())
        };
        let number = |of: fn(&Held) -> u64| -> ArrayRef {
            let value = |stream: &Found<'_>| Some(of(status(stream.2)?.held.as_ref()?));
            Arc::new(streams.iter().map(value).collect::<UInt64Array>())
        };
        let columns = vec![
            text(&|(schema, _, _)| Some((*schema).to_owned())),
            text(&|(_, name, _)| Some((*name).to_owned())),
            text(&|(_, _, definition)| definition.companion_of().map(str::to_owned)),
            text(&|(_, _, definition)| Some(status(definition)?.owner.as_ref()?.0.clone())),
            text(&|(_, _, definition)| Some(status(definition)?.owner.as_ref()?.1.clone())),
            number(|held| held.hot_rows),
            number(|held| held.hot_bytes),
            number(|held| held.log_bytes),
            number(|held| held.sealed_rows),
            number(|held| held.sealed_bytes),
            number(|held| held.files),
            text(&|(_, _, definition)| Some(definition.options.feed.as_ref()?.url.clone())),
            text(&|(_, _, definition)| status(definition)?.held.as_ref()?.feed.clone()),
        ];
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|error| Error::internal(error.to_string()))
    }
}

#[async_trait]
impl TableProvider for Streams {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.rows().await.map_err(|error| DataFusionError::External(Box::new(error)))?;
        MemTable::try_new(Arc::clone(&self.schema), vec![vec![rows]])?
            .scan(state, projection, filters, limit)
            .await
    }
}
