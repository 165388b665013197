//! Rows and columns of one batch.

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{filter, prep_null_mask_filter};
use datafusion::common::{DataFusionError, Result};

use super::access::HotQuery;

/// What `query` wants of a batch of the stream's table; `None` when that is no row.
///
/// # Errors
/// When the predicate cannot be evaluated, for example because of an overflow.
pub fn select(batch: &RecordBatch, query: &HotQuery) -> Result<Option<RecordBatch>> {
    let Some(predicate) = &query.predicate else {
        return Ok(Some(batch.project(&query.columns)?));
    };
    let kept = predicate.evaluate(batch)?.into_array(batch.num_rows())?;
    let kept = kept.as_boolean_opt().ok_or_else(|| {
        DataFusionError::Internal(format!("the predicate {predicate} is not true or false"))
    })?;
    let rows = kept.true_count();
    if rows == 0 {
        return Ok(None);
    }
    if rows == batch.num_rows() {
        return Ok(Some(batch.project(&query.columns)?));
    }
    let mask = if kept.null_count() > 0 { prep_null_mask_filter(kept) } else { kept.clone() };
    let schema = batch.schema_ref().project(&query.columns)?;
    let columns = query
        .columns
        .iter()
        .map(|column| filter(batch.column(*column), &mask))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(Some(RecordBatch::try_new_with_options(schema.into(), columns, &options)?))
}
