//! How the results of the client's own statements are read.

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, UInt64Type};
use arrow::util::display::array_value_to_string;
use polarway_common::Error;

/// The number in this column of the only row.
pub(super) fn number(rows: &[RecordBatch], column: &str) -> Result<u64, Error> {
    let row = rows.iter().find(|batch| batch.num_rows() > 0);
    let values = row.and_then(|batch| batch.column_by_name(column));
    let found = values.and_then(|values| {
        if let Some(values) = values.as_primitive_opt::<UInt64Type>() {
            return Some(values.value(0));
        }
        let signed = values.as_primitive_opt::<Int64Type>()?;
        u64::try_from(signed.value(0)).ok()
    });
    found.ok_or_else(|| Error::internal(format!("a server did not tell the number `{column}`")))
}

/// The text of a plan: each of its parts under its name.
pub(super) fn explained(rows: &[RecordBatch]) -> Result<String, Error> {
    let mut parts = vec![];
    for batch in rows {
        let [names, plans] = batch.columns() else {
            return Err(Error::internal("a server explained a statement in other than two columns"));
        };
        for row in 0..batch.num_rows() {
            let text = |column: &ArrayRef| {
                array_value_to_string(column.as_ref(), row)
                    .map_err(|error| Error::internal(format!("a plan cannot be read: {error}")))
            };
            parts.push(format!("{}:\n{}", text(names)?, text(plans)?));
        }
    }
    Ok(parts.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray, UInt64Array};

    use super::*;

    #[test]
    fn numbers_are_found_by_their_names_in_the_batch_that_has_a_row() {
        let count: ArrayRef = Arc::new(Int64Array::from(vec![3]));
        let bytes: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        let batch = RecordBatch::try_from_iter([("count", count), ("bytes", bytes)]).unwrap();
        let batches = [batch.slice(0, 0), batch];
        assert_eq!(number(&batches, "count"), Ok(3));
        assert_eq!(number(&batches, "bytes"), Ok(u64::MAX));
        assert!(number(&batches, "files").is_err());
        assert!(number(&batches[..1], "count").is_err());
    }

    #[test]
    fn a_plan_is_told_part_by_part() {
        let names: ArrayRef = Arc::new(StringArray::from(vec!["logical_plan", "physical_plan"]));
        let plans: ArrayRef = Arc::new(StringArray::from(vec!["Limit\n  Scan", "LimitExec"]));
        let batch = RecordBatch::try_from_iter([("plan_type", names), ("plan", plans)]).unwrap();
        let text = explained(&[batch]).unwrap();
        assert_eq!(text, "logical_plan:\nLimit\n  Scan\nphysical_plan:\nLimitExec");
    }
}
