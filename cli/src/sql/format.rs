//! The forms in which results are written.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::ValueEnum;

use super::table::TablePrinter;

/// Rows that are turned into text at a time, which bounds the text held in memory.
const SLICE_ROWS: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns, for people.
    Table,
    /// Comma-separated values with a header line; NULL is an empty field.
    Csv,
    /// One JSON object a line; NULL is null.
    Ndjson,
    /// An Apache Parquet file; needs an output file.
    Parquet,
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        <Format as ValueEnum>::from_str(text, true)
            .map_err(|_| format!("`{text}` is not a format; use table, csv, ndjson or parquet"))
    }
}

/// Turns one result into text.
pub enum TextWriter {
    Table(TablePrinter),
    Csv { header_due: bool, schema: SchemaRef },
    Ndjson,
}

impl TextWriter {
    /// `None` for a format that is not text.
    pub fn new(format: Format, schema: &SchemaRef) -> Option<Self> {
        match format {
            Format::Table => Some(TextWriter::Table(TablePrinter::new(schema))),
            Format::Csv => Some(TextWriter::Csv { header_due: true, schema: Arc::clone(schema) }),
            Format::Ndjson => Some(TextWriter::Ndjson),
            Format::Parquet => None,
        }
    }

    /// Hands the text of `batch` to `write`, piece by piece.
    pub fn rows<E: From<ArrowError>>(
        &mut self,
        batch: &RecordBatch,
        mut write: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut out = vec![];
        for start in (0..batch.num_rows()).step_by(SLICE_ROWS) {
            let slice = batch.slice(start, SLICE_ROWS.min(batch.num_rows() - start));
            out.clear();
            self.slice(&slice, &mut out)?;
            write(&out)?;
        }
        Ok(())
    }

    fn slice(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        match self {
            TextWriter::Table(printer) => printer.rows(batch, out),
            TextWriter::Csv { header_due, .. } => {
                let header = std::mem::take(header_due);
                csv_writer(header, out).write(&nested_as_text(batch)?)
            }
            TextWriter::Ndjson => {
                let builder = arrow::json::WriterBuilder::new().with_explicit_nulls(true);
                let mut writer = builder.build::<_, arrow::json::writer::LineDelimited>(out);
                writer.write(batch)?;
                writer.finish()
            }
        }
    }

    /// The text that ends the result.
    pub fn finish(&mut self) -> Result<Vec<u8>, ArrowError> {
        let mut out = vec![];
        match self {
            TextWriter::Table(printer) => printer.finish(&mut out),
            TextWriter::Csv { header_due: true, schema } => {
                let empty = nested_as_text(&RecordBatch::new_empty(Arc::clone(schema)))?;
                csv_writer(true, &mut out).write(&empty)?;
            }
            TextWriter::Csv { .. } | TextWriter::Ndjson => {}
        }
        Ok(out)
    }
}

fn csv_writer(header: bool, out: &mut Vec<u8>) -> arrow::csv::Writer<&mut Vec<u8>> {
    arrow::csv::WriterBuilder::new().with_header(header).build(out)
}

/// CSV has no lists or structs, so they are written as the text a table would show.
fn nested_as_text(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    if !batch.columns().iter().any(|column| column.data_type().is_nested()) {
        return Ok(batch.clone());
    }
    let mut fields = vec![];
    let mut columns = vec![];
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if column.data_type().is_nested() {
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
            columns.push(as_text(column)?);
        } else {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn as_text(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column, &options)?;
    let values = (0..column.len())
        .map(|row| column.is_valid(row).then(|| formatter.value(row).try_to_string()).transpose())
        .collect::<Result<StringArray, _>>()?;
    Ok(Arc::new(values))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, ListArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn batch() -> RecordBatch {
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
        ]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("name", Arc::new(StringArray::from(vec![Some("a,\"b\""), None, Some("")]))),
            ("x", Arc::new(Float64Array::from(vec![Some(0.5), None, Some(-1.0)]))),
            ("list", Arc::new(lists)),
        ];
        RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .unwrap()
    }

    fn written(format: Format, batches: &[RecordBatch], schema: &SchemaRef) -> String {
        let mut writer = TextWriter::new(format, schema).unwrap();
        let mut out = vec![];
        for batch in batches {
            let append = |text: &[u8]| {
                out.extend_from_slice(text);
                Ok::<_, ArrowError>(())
            };
            writer.rows(batch, append).unwrap();
        }
        out.extend(writer.finish().unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn csv_has_one_header_and_empty_nulls() {
        let batch = batch();
        let text = written(Format::Csv, &[batch.slice(0, 1), batch.slice(1, 2)], &batch.schema());
        assert_eq!(text, "name,x,list\n\"a,\"\"b\"\"\",0.5,\"[1, ]\"\n,,\n,-1.0,[]\n");
    }

    #[test]
    fn csv_of_nothing_is_the_header() {
        assert_eq!(written(Format::Csv, &[], &batch().schema()), "name,x,list\n");
        assert_eq!(written(Format::Csv, &[batch().slice(0, 0)], &batch().schema()), "name,x,list\n");
    }

    #[test]
    fn ndjson_has_explicit_nulls() {
        let text = written(Format::Ndjson, &[batch()], &batch().schema());
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], serde_json::json!({"name": "a,\"b\"", "x": 0.5, "list": [1, null]}));
        assert_eq!(lines[1], serde_json::json!({"name": null, "x": null, "list": null}));
    }

    #[test]
    fn large_batches_are_written_in_slices() {
        let rows = SLICE_ROWS * 2 + 1;
        let column: ArrayRef = Arc::new(Float64Array::from(vec![1.0; rows]));
        let batch = RecordBatch::try_from_iter([("x", column)]).unwrap();
        let mut pieces = 0;
        let mut writer = TextWriter::new(Format::Ndjson, &batch.schema()).unwrap();
        let count = |_: &[u8]| {
            pieces += 1;
            Ok::<_, ArrowError>(())
        };
        writer.rows(&batch, count).unwrap();
        assert_eq!(pieces, 3);
        assert_eq!(
            written(Format::Ndjson, std::slice::from_ref(&batch), &batch.schema()).lines().count(),
            rows
        );
    }

    #[test]
    fn formats_are_read_in_any_case() {
        assert_eq!("CSV".parse(), Ok(Format::Csv));
        assert!("xml".parse::<Format>().unwrap_err().contains("`xml`"));
    }
}
