//! Nodes of our own as bytes: scans of streams, and writes. Everything else is Ballista's.

use std::sync::Arc;

use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, WindowUDF};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::from_proto::{
    parse_physical_expr_with_converter, parse_protobuf_file_scan_config, parse_table_schema_from_proto,
};
use datafusion_proto::physical_plan::to_proto::{
    serialize_file_scan_config, serialize_physical_expr_with_converter,
};
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::{FileScanExecConf, PhysicalExprNode};
use prost::Message;

use crate::live::{LiveAccess, LiveSource};
use crate::write::{WriteExec, WriteSpec};

/// Bytes that none of Ballista's nodes begin with: as a field of Protocol Buffers their type is one that does not exist.
const LIVE_SCAN: &[u8; 4] = b"\xffPWL";
const WRITE: &[u8; 4] = b"\xffPWW";

#[derive(Clone, PartialEq, Message)]
struct LiveScan {
    #[prost(message, optional, tag = "1")]
    base: Option<FileScanExecConf>,
    #[prost(message, optional, tag = "2")]
    predicate: Option<PhysicalExprNode>,
}

/// See the module's page.
#[derive(Debug, Default)]
pub struct ExtensionCodec {
    others: BallistaPhysicalExtensionCodec,
}

impl ExtensionCodec {
    fn decode_scan(
        &self,
        bytes: &[u8],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = LiveScan::decode(bytes)
            .map_err(|error| DataFusionError::Internal(format!("a scan of a stream is damaged: {error}")))?;
        let missing =
            |what: &str| DataFusionError::Internal(format!("a scan of a stream came without {what}"));
        let base = scan.base.as_ref().ok_or_else(|| missing("its slices"))?;
        let access =
            context.session_config().get_extension::<LiveAccess>().ok_or_else(LiveAccess::missing)?;
        let context = PhysicalPlanDecodeContext::new(context, self);
        let table = parse_table_schema_from_proto(base)?;
        let predicate = scan
            .predicate
            .as_ref()
            .map(|node| parse_physical_expr_with_converter(node, table.table_schema(), &context, converter))
            .transpose()?;
        let source = LiveSource::new(table, Arc::clone(&access.0)).with_predicate(predicate);
        let config = parse_protobuf_file_scan_config(base, &context, converter, Arc::new(source))?;
        Ok(DataSourceExec::from_data_source(config))
    }
}

fn decode_write(bytes: &[u8], inputs: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<dyn ExecutionPlan>> {
    let spec: WriteSpec = serde_json::from_slice(bytes)
        .map_err(|error| DataFusionError::Internal(format!("a write is damaged: {error}")))?;
    let [input] = inputs else {
        return Err(DataFusionError::Internal(format!("a write came with {} inputs", inputs.len())));
    };
    let write = WriteExec::new(Arc::clone(input), Arc::new(spec));
    Ok(Arc::new(write.map_err(|error| DataFusionError::External(Box::new(error)))?))
}

/// The scan's parts, when the node is one.
fn scan_of(node: &Arc<dyn ExecutionPlan>) -> Option<(&FileScanConfig, &LiveSource)> {
    let config = node.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()?;
    Some((config, config.file_source().downcast_ref::<LiveSource>()?))
}

impl PhysicalExtensionCodec for ExtensionCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(scan) = bytes.strip_prefix(LIVE_SCAN) {
            return self.decode_scan(scan, context, converter);
        }
        match bytes.strip_prefix(WRITE) {
            Some(spec) => decode_write(spec, inputs),
            None => self.others.try_decode(bytes, inputs, context, converter),
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        if let Some(write) = node.downcast_ref::<WriteExec>() {
            bytes.extend(WRITE);
            return serde_json::to_writer(bytes, write.spec())
                .map_err(|error| DataFusionError::Internal(format!("a write cannot be encoded: {error}")));
        }
        let Some((config, source)) = scan_of(&node) else {
            return self.others.try_encode(node, bytes, converter);
        };
        let predicate = datafusion::datasource::physical_plan::FileSource::filter(source)
            .map(|predicate| serialize_physical_expr_with_converter(&predicate, self, converter))
            .transpose()?;
        let base = Some(serialize_file_scan_config(config, self, converter)?);
        bytes.extend(LIVE_SCAN);
        LiveScan { base, predicate }
            .encode(bytes)
            .map_err(|error| DataFusionError::Internal(format!("a scan cannot be encoded: {error}")))
    }

    fn try_decode_udf(&self, name: &str, bytes: &[u8]) -> Result<Arc<ScalarUDF>> {
        self.others.try_decode_udf(name, bytes)
    }

    fn try_encode_udf(&self, node: &ScalarUDF, bytes: &mut Vec<u8>) -> Result<()> {
        self.others.try_encode_udf(node, bytes)
    }

    fn try_decode_higher_order_function(&self, name: &str, bytes: &[u8]) -> Result<Arc<HigherOrderUDF>> {
        self.others.try_decode_higher_order_function(name, bytes)
    }

    fn try_encode_higher_order_function(&self, node: &HigherOrderUDF, bytes: &mut Vec<u8>) -> Result<()> {
        self.others.try_encode_higher_order_function(node, bytes)
    }

    fn try_decode_udaf(&self, name: &str, bytes: &[u8]) -> Result<Arc<AggregateUDF>> {
        self.others.try_decode_udaf(name, bytes)
    }

    fn try_encode_udaf(&self, node: &AggregateUDF, bytes: &mut Vec<u8>) -> Result<()> {
        self.others.try_encode_udaf(node, bytes)
    }

    fn try_decode_udwf(&self, name: &str, bytes: &[u8]) -> Result<Arc<WindowUDF>> {
        self.others.try_decode_udwf(name, bytes)
    }

    fn try_encode_udwf(&self, node: &WindowUDF, bytes: &mut Vec<u8>) -> Result<()> {
        self.others.try_encode_udwf(node, bytes)
    }
}
