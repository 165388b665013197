//! Rows in the memory of other processes, by Flight.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow_flight::Ticket;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use async_trait::async_trait;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_expr::{conjunction, split_conjunction};
use datafusion::physical_expr_common::physical_expr::snapshot_physical_expr;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal,
    NegativeExpr, NotExpr, TryCastExpr,
};
use datafusion_proto::physical_plan::from_proto::parse_physical_expr;
use datafusion_proto::physical_plan::to_proto::serialize_physical_expr;
use datafusion_proto::protobuf::PhysicalExprNode;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use polarway_common::{Error, ErrorKind};
use polarway_proto::streams::SliceTicket;
use prost::Message;

use super::access::{HotQuery, HotRows};
use super::nodes::{NodeChannels, call_failed};
use super::select::select;
use super::slice::HotSlice;
use crate::extension::ExtensionCodec;

/// Fetches slices from their owners.
#[derive(Debug)]
pub struct RemoteRows {
    nodes: Arc<NodeChannels>,
}

impl RemoteRows {
    pub fn new(nodes: Arc<NodeChannels>) -> Self {
        Self { nodes }
    }
}

/// What is asked of the owner, and what remains to be done with its answer.
struct Request {
    columns: Vec<usize>,
    predicate: Vec<u8>,
    rest: Option<HotQuery>,
}

impl Request {
    /// The parts of the predicate that mean the same to the owner go there, the others are applied here.
    fn new(query: &HotQuery) -> Result<Self> {
        let Some(predicate) = &query.predicate else {
            return Ok(Self { columns: query.columns.clone(), predicate: vec![], rest: None });
        };
        // What a join or a limit has found out so far, as it is now.
        let predicate = snapshot_physical_expr(Arc::clone(predicate))?;
        let (there, here): (Vec<_>, Vec<_>) =
            split_conjunction(&predicate).into_iter().cloned().partition(means_the_same_elsewhere);
        let predicate = match there.is_empty() {
            true => vec![],
            false => {
                serialize_physical_expr(&conjunction(there), &ExtensionCodec::default())?.encode_to_vec()
            }
        };
        if here.is_empty() {
            return Ok(Self { columns: query.columns.clone(), predicate, rest: None });
        }
        let here = conjunction(here);
        let mut needed: BTreeSet<usize> = query.columns.iter().copied().collect();
        needed.extend(collect_columns(&here).iter().map(Column::index));
        let columns: Vec<usize> = needed.into_iter().collect();
        let schema = Arc::new(query.schema.project(&columns)?);
        let here = reassign_expr_columns(here, &schema)?;
        let place = |column: &usize| columns.iter().position(|needed| needed == column);
        let wanted = query.columns.iter().filter_map(place).collect();
        let rest = HotQuery { schema, columns: wanted, predicate: Some(here) };
        Ok(Self { columns, predicate, rest: Some(rest) })
    }
}

/// Whether an expression depends on nothing but its columns: a function's result may depend on the session's settings,
/// which the owner of a slice does not have.
fn means_the_same_elsewhere(expression: &Arc<dyn PhysicalExpr>) -> bool {
    let mut same = true;
    let walked = expression.apply(|part| {
        let known = part.is::<Column>()
            || part.is::<Literal>()
            || part.is::<BinaryExpr>()
            || part.is::<InListExpr>()
            || part.is::<IsNullExpr>()
            || part.is::<IsNotNullExpr>()
            || part.is::<NotExpr>()
            || part.is::<NegativeExpr>()
            || part.is::<LikeExpr>()
            || part.is::<CastExpr>()
            || part.is::<TryCastExpr>()
            || part.is::<CaseExpr>();
        same &= known;
        Ok(if known { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    walked.is_ok() && same
}

#[async_trait]
impl HotRows for RemoteRows {
    async fn read(
        &self,
        slice: &HotSlice,
        query: &HotQuery,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let external = |error: Error| DataFusionError::External(Box::new(error));
        let Request { columns, predicate, rest } = Request::new(query)?;
        let ticket = SliceTicket {
            stream: slice.stream.clone(),
            from: slice.from,
            to: slice.to,
            columns: columns.iter().filter_map(|column| u32::try_from(*column).ok()).collect(),
            predicate,
        };
        let owner = slice.owner.clone();
        let failed = move |error: FlightError| match error {
            FlightError::Tonic(status) => external(call_failed(&owner, &status)),
            other => external(Error::internal(format!("rows from {owner} cannot be read: {other}"))),
        };
        let mut client = self.nodes.client(&slice.owner).map_err(external)?;
        let asked = polarway_telemetry::signed(Ticket { ticket: ticket.to_bytes().into() });
        let answer = client.do_get(asked).await.map_err(|status| failed(status.into()))?;
        let data = answer.into_inner().map_err(FlightError::from);
        let batches = FlightRecordBatchStream::new_from_flight_data(data).map_err(failed);
        let schema = Arc::new(query.schema.project(&columns)?);
        Ok(batches
            .try_filter_map(move |batch| {
                let selected = RecordBatch::try_new_with_options(
                    Arc::clone(&schema),
                    batch.columns().to_vec(),
                    &arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
                )
                .map_err(DataFusionError::from)
                .and_then(|batch| match &rest {
                    Some(rest) => select(&batch, rest),
                    None => Ok(Some(batch)),
                });
                std::future::ready(selected)
            })
            .boxed())
    }
}

/// What a ticket asks of a stream with this schema.
///
/// # Errors
/// `InvalidTicket` when it names a column that is not there or holds no predicate that can be read.
pub fn query_of(
    ticket: &SliceTicket,
    schema: &arrow::datatypes::SchemaRef,
) -> std::result::Result<HotQuery, Error> {
    let fault = |text: String| Error::new(ErrorKind::InvalidTicket, text);
    let columns: Vec<usize> = ticket.columns.iter().map(|column| *column as usize).collect();
    if let Some(column) = columns.iter().find(|column| **column >= schema.fields().len()) {
        return Err(fault(format!("the stream has no column {column}")));
    }
    if ticket.predicate.is_empty() {
        return Ok(HotQuery { schema: Arc::clone(schema), columns, predicate: None });
    }
    let node = PhysicalExprNode::decode(ticket.predicate.as_slice())
        .map_err(|error| fault(format!("the predicate cannot be read: {error}")))?;
    let predicate = parse_physical_expr(&node, &TaskContext::default(), schema, &ExtensionCodec::default())
        .map_err(|error| fault(format!("the predicate cannot be read: {error}")))?;
    if !means_the_same_elsewhere(&predicate) {
        return Err(fault(format!("the predicate {predicate} is not one to be evaluated here")));
    }
    Ok(HotQuery { schema: Arc::clone(schema), columns, predicate: Some(predicate) })
}
