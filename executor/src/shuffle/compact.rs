//! View arrays without what no row refers to. Operators hand on views of whole pages; a file would hold the pages.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, GenericByteViewArray, RecordBatch, RecordBatchOptions, make_array,
};
use arrow::datatypes::{ByteViewType, DataType, Schema};
use arrow::error::ArrowError;

/// Whether batches of the schema can have something to leave out.
pub fn has_views(schema: &Schema) -> bool {
    fn has(data_type: &DataType) -> bool {
        match data_type {
            DataType::Utf8View | DataType::BinaryView => true,
            DataType::Dictionary(_, values) => has(values),
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::ListView(field)
            | DataType::LargeListView(field)
            | DataType::FixedSizeList(field, _)
            | DataType::Map(field, _)
            | DataType::RunEndEncoded(_, field) => has(field.data_type()),
            DataType::Struct(fields) => fields.iter().any(|field| has(field.data_type())),
            DataType::Union(fields, _) => fields.iter().any(|(_, field)| has(field.data_type())),
            _ => false,
        }
    }
    schema.fields().iter().any(|field| has(field.data_type()))
}

/// The same rows in buffers of their own.
pub fn compact(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut changed = false;
    let columns = batch
        .columns()
        .iter()
        .map(|column| {
            let compacted = compact_array(column)?;
            changed |= compacted.is_some();
            Ok(compacted.unwrap_or_else(|| Arc::clone(column)))
        })
        .collect::<Result<Vec<_>, ArrowError>>()?;
    if !changed {
        return Ok(batch);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns, &options)
}

/// `None` where nothing can be left out.
fn compact_array(array: &ArrayRef) -> Result<Option<ArrayRef>, ArrowError> {
    match array.data_type() {
        DataType::Utf8View => Ok(compact_views(array.as_string_view())),
        DataType::BinaryView => Ok(compact_views(array.as_binary_view())),
        data_type if data_type.is_nested() || matches!(data_type, DataType::Dictionary(..)) => {
            let data = array.to_data();
            let mut changed = false;
            let mut children = vec![];
            for child in data.child_data() {
                let compacted = compact_array(&make_array(child.clone()))?;
                changed |= compacted.is_some();
                children.push(compacted.map_or_else(|| child.clone(), |array| array.to_data()));
            }
            if !changed {
                return Ok(None);
            }
            Ok(Some(make_array(data.into_builder().child_data(children).build()?)))
        }
        _ => Ok(None),
    }
}

fn compact_views<T: ByteViewType>(array: &GenericByteViewArray<T>) -> Option<ArrayRef> {
    let held: usize = array.data_buffers().iter().map(|buffer| buffer.len()).sum();
    (held > array.total_buffer_bytes_used()).then(|| Arc::new(array.gc()) as ArrayRef)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ListBuilder, StringViewArray, StringViewBuilder, StructArray};
    use arrow::datatypes::Field;

    use super::*;

    fn buffers(array: &ArrayRef) -> usize {
        array.as_string_view().data_buffers().iter().map(|buffer| buffer.len()).sum()
    }

    #[test]
    fn a_slice_keeps_its_own_bytes_only() {
        let texts: Vec<String> =
            (0..1000).map(|number| format!("a text that is out of line: {number}")).collect();
        let views: ArrayRef = Arc::new(StringViewArray::from_iter_values(&texts));
        let mut lists = ListBuilder::new(StringViewBuilder::new());
        for text in &texts {
            lists.append_value([Some(text), None]);
        }
        let inner = Arc::new(Field::new("v", DataType::Utf8View, true));
        let nested: ArrayRef = Arc::new(StructArray::from(vec![(inner, Arc::clone(&views))]));
        let batch = RecordBatch::try_from_iter([
            ("views", views),
            ("lists", Arc::new(lists.finish()) as ArrayRef),
            ("nested", nested),
        ])
        .unwrap();
        assert!(has_views(&batch.schema()));
        let slice = batch.slice(500, 3);
        let compacted = compact(slice.clone()).unwrap();
        assert_eq!(compacted, slice);
        assert!(buffers(slice.column(0)) > 20_000);
        assert!(buffers(compacted.column(0)) < 200);
        assert!(buffers(compacted.column(2).as_struct().column(0)) < 200);
        // What has nothing to leave out stays as it is.
        let again = compact(compacted.clone()).unwrap();
        assert!(Arc::ptr_eq(again.column(0), compacted.column(0)));
    }

    #[test]
    fn other_types_are_not_touched() {
        let batch = RecordBatch::try_from_iter([(
            "n",
            Arc::new(arrow::array::Int64Array::from(vec![1, 2, 3])) as ArrayRef,
        )])
        .unwrap();
        assert!(!has_views(&batch.schema()));
        assert_eq!(compact(batch.clone()).unwrap(), batch);
    }
}
