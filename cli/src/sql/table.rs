//! Results as an aligned text table, printed as they arrive.
//!
//! Column widths come from the first rows, which are held back until there are enough of them; later rows go out at
//! once. A later value that is wider is printed whole and shifts its line.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::width::{printable, width};

/// Rows that decide the column widths.
const SAMPLE_ROWS: usize = 1000;
/// Bytes of cells after which the held-back rows go out whatever their number.
const SAMPLE_BYTES: usize = 4 << 20;

pub struct TablePrinter {
    columns: Vec<Column>,
    held: Vec<Vec<String>>,
    held_bytes: usize,
    started: bool,
}

struct Column {
    name: String,
    align_right: bool,
    width: usize,
}

impl TablePrinter {
    pub fn new(schema: &SchemaRef) -> Self {
        let columns = schema.fields().iter().map(|field| {
            let name = printable(field.name()).replace('\n', "\\n");
            Column { width: width(&name), name, align_right: is_number(field.data_type()) }
        });
        Self { columns: columns.collect(), held: vec![], held_bytes: 0, started: false }
    }

    /// Takes the rows of `batch`; what can be printed now is appended to `out`.
    pub fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let options = FormatOptions::default().with_null("NULL").with_display_error(true);
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let columns: Vec<_> = columns.collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            let cells: Vec<_> =
                columns.iter().map(|column| printable(&column.value(row).to_string())).collect();
            if self.started {
                self.row(&cells, out);
                continue;
            }
            self.held_bytes += cells.iter().map(String::len).sum::<usize>();
            self.held.push(cells);
            if self.held.len() >= SAMPLE_ROWS || self.held_bytes >= SAMPLE_BYTES {
                self.start(out);
            }
        }
        Ok(())
    }

    /// Prints what is held back and closes the table.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.started {
            self.start(out);
        }
        self.border(out);
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        for cells in &held {
            for (column, cell) in self.columns.iter_mut().zip(cells) {
                let widest = cell.split('\n').map(width).max().unwrap_or(0);
                column.width = column.width.max(widest);
            }
        }
        self.border(out);
        let names: Vec<_> =
            self.columns.iter().map(|column| (column.name.as_str(), column.align_right)).collect();
        self.line(&names, out);
        self.border(out);
        for cells in &held {
            self.row(cells, out);
        }
        self.started = true;
    }

    fn border(&self, out: &mut Vec<u8>) {
        for column in &self.columns {
            out.push(b'+');
            out.resize(out.len() + column.width + 2, b'-');
        }
        out.extend_from_slice(b"+\n");
    }

    /// A row takes as many lines as its highest cell.
    fn row(&self, cells: &[String], out: &mut Vec<u8>) {
        if !cells.iter().any(|cell| cell.contains('\n')) {
            let parts =
                self.columns.iter().zip(cells).map(|(column, cell)| (cell.as_str(), column.align_right));
            return self.line(&parts.collect::<Vec<_>>(), out);
        }
        let cells: Vec<Vec<&str>> =
            cells.iter().map(|cell| cell.trim_end_matches('\n').split('\n').collect()).collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(1);
        for index in 0..height {
            let parts = self
                .columns
                .iter()
                .zip(&cells)
                .map(|(column, cell)| (cell.get(index).copied().unwrap_or(""), column.align_right));
            self.line(&parts.collect::<Vec<_>>(), out);
        }
    }

    fn line(&self, parts: &[(&str, bool)], out: &mut Vec<u8>) {
        for (column, (text, align_right)) in self.columns.iter().zip(parts) {
            let padding = column.width.saturating_sub(width(text));
            let (before, after) = if *align_right { (padding, 0) } else { (0, padding) };
            out.extend_from_slice(b"| ");
            out.resize(out.len() + before, b' ');
            out.extend_from_slice(text.as_bytes());
            out.resize(out.len() + after + 1, b' ');
        }
        out.extend_from_slice(b"|\n");
    }
}

fn is_number(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => is_number(value),
        other => other.is_numeric(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn batch(numbers: Vec<Option<i64>>, texts: Vec<Option<&str>>) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("text", DataType::Utf8, true),
        ]);
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(Int64Array::from(numbers)), Arc::new(StringArray::from(texts))];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    fn printed(batches: &[RecordBatch]) -> String {
        let mut printer = TablePrinter::new(&batches[0].schema());
        let mut out = vec![];
        for batch in batches {
            printer.rows(batch, &mut out).unwrap();
        }
        printer.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_align_right_texts_left_and_null_shows() {
        let shown = printed(&[batch(vec![Some(1), Some(1000), None], vec![Some("a"), None, Some("日本")])]);
        let expected = "\
+------+------+
|    n | text |
+------+------+
|    1 | a    |
| 1000 | NULL |
| NULL | 日本 |
+------+------+
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_cell_with_line_breaks_takes_several_lines() {
        let shown = printed(&[batch(vec![Some(7)], vec![Some("Sort\n  Scan\n")])]);
        let expected = "\
+---+--------+
| n | text   |
+---+--------+
| 7 | Sort   |
|   |   Scan |
+---+--------+
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn an_empty_result_shows_its_columns() {
        let expected = "+---+------+\n| n | text |\n+---+------+\n+---+------+\n";
        assert_eq!(printed(&[batch(vec![], vec![])]), expected);
    }

    #[test]
    fn rows_beyond_the_sample_are_printed_at_once_and_whole() {
        let many = batch(vec![Some(1); SAMPLE_ROWS], vec![Some("x"); SAMPLE_ROWS]);
        let mut printer = TablePrinter::new(&many.schema());
        let mut out = vec![];
        printer.rows(&many.slice(0, SAMPLE_ROWS - 1), &mut out).unwrap();
        assert!(out.is_empty());
        printer.rows(&many.slice(0, 1), &mut out).unwrap();
        assert!(!out.is_empty());
        out.clear();
        printer.rows(&batch(vec![Some(123_456)], vec![Some("wider than its column")]), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "| 123456 | wider than its column |\n");
    }
}
