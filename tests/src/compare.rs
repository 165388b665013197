//! Whether two results are the same: types, names and values; decimals exactly, floating-point numbers up to the
//! rounding that another order of addition brings.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::session::Answer;

const TOLERANCE: f64 = 1e-9;

/// Which order of rows a result has to have.
#[derive(Debug, Clone, Copy)]
pub enum Order<'a> {
    /// Any.
    None,
    /// That of these columns; rows that are equal in them may stand in any order.
    By(&'a [usize]),
    /// Row by row the same.
    Total,
}

#[derive(Debug, Clone)]
enum Cell {
    Null,
    Text(String),
    Float(f64),
}

impl Cell {
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Cell::Null, Cell::Null) => true,
            (Cell::Text(a), Cell::Text(b)) => a == b,
            (Cell::Float(a), Cell::Float(b)) => {
                a == b
                    || (a.is_nan() && b.is_nan())
                    || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0)
            }
            _ => false,
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Cell::Text(a), Cell::Text(b)) => a.cmp(b),
            (Cell::Float(a), Cell::Float(b)) => a.total_cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Cell::Null => 0,
            Cell::Text(_) => 1,
            Cell::Float(_) => 2,
        }
    }
}

type Row = Vec<Cell>;

/// Panics with the first difference.
pub fn assert_same(what: &str, actual: &Answer, expected: &Answer, order: Order<'_>) {
    if let Some(difference) = difference(actual, expected, order) {
        panic!("{what} (query {}, route {}): {difference}", actual.query_id, actual.route);
    }
}

/// The first difference between two results, in words.
pub fn difference(actual: &Answer, expected: &Answer, order: Order<'_>) -> Option<String> {
    let (ours, theirs) = (plain_schema(&actual.schema), plain_schema(&expected.schema));
    if ours != theirs {
        return Some(format!("the columns are {ours:?}, expected {theirs:?}"));
    }
    let (mut ours, mut theirs) = (rows(&actual.batches), rows(&expected.batches));
    if ours.len() != theirs.len() {
        return Some(format!("{} rows, expected {}", ours.len(), theirs.len()));
    }
    match order {
        Order::Total => return first_difference(&ours, &theirs),
        Order::By(keys) => {
            let keys_of = |rows: &[Row]| -> Vec<Row> {
                rows.iter().map(|row| keys.iter().map(|key| row[*key].clone()).collect()).collect()
            };
            if let Some(difference) = first_difference(&keys_of(&ours), &keys_of(&theirs)) {
                return Some(format!("in the columns that are sorted by: {difference}"));
            }
        }
        Order::None => {}
    }
    ours.sort_by(compare_rows);
    theirs.sort_by(compare_rows);
    first_difference(&ours, &theirs)
}

/// All values as texts, row by row; null is `NULL`.
pub fn texts(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let text = |cell: &Cell| match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Text(text) => text.clone(),
        Cell::Float(value) => value.to_string(),
    };
    rows(batches).iter().map(|row| row.iter().map(text).collect()).collect()
}

/// Columns without floating-point numbers decide first: rounding must not change the order of rows.
fn compare_rows(a: &Row, b: &Row) -> Ordering {
    let exact = |row: &Row| -> Vec<usize> {
        (0..row.len()).filter(|index| !matches!(row[*index], Cell::Float(_))).collect()
    };
    let by = |columns: &[usize]| {
        columns.iter().map(|column| a[*column].order(&b[*column])).find(|order| order.is_ne())
    };
    by(&exact(a)).or_else(|| by(&(0..a.len()).collect::<Vec<_>>())).unwrap_or(Ordering::Equal)
}

fn first_difference(ours: &[Row], theirs: &[Row]) -> Option<String> {
    let index = ours
        .iter()
        .zip(theirs)
        .position(|(ours, theirs)| !ours.iter().zip(theirs).all(|(ours, theirs)| ours.same(theirs)))?;
    Some(format!("row {index} is {:?}, expected {:?}", ours[index], theirs[index]))
}

fn rows(batches: &[RecordBatch]) -> Vec<Row> {
    let mut rows = vec![];
    for batch in batches {
        let columns: Vec<Vec<Cell>> = batch.columns().iter().map(cells).collect();
        rows.extend(
            (0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()),
        );
    }
    rows
}

fn cells(column: &ArrayRef) -> Vec<Cell> {
    let plain = plain_type(column.data_type());
    let column =
        if &plain == column.data_type() { Arc::clone(column) } else { cast(column, &plain).unwrap() };
    if plain.is_floating() {
        let values = cast(&column, &DataType::Float64).unwrap();
        return values
            .as_primitive::<Float64Type>()
            .iter()
            .map(|value| value.map_or(Cell::Null, Cell::Float))
            .collect();
    }
    let options = FormatOptions::default().with_null("NULL");
    let formatter = ArrayFormatter::try_new(&column, &options).unwrap();
    (0..column.len())
        .map(|row| {
            if column.is_null(row) {
                Cell::Null
            } else {
                Cell::Text(formatter.value(row).try_to_string().unwrap())
            }
        })
        .collect()
}

/// Names and types; whether a column may be null is not part of an answer.
fn plain_schema(schema: &Schema) -> Vec<(String, DataType)> {
    schema.fields().iter().map(|field| (field.name().clone(), plain_type(field.data_type()))).collect()
}

/// The type without the ways of laying it out in memory.
fn plain_type(data_type: &DataType) -> DataType {
    let plain_field = |field: &Field| Arc::new(Field::new(field.name(), plain_type(field.data_type()), true));
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => {
            DataType::List(Arc::new(Field::new("item", plain_type(item.data_type()), true)))
        }
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| plain_field(field)).collect::<Fields>())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, StringArray, StringViewArray};

    use super::*;

    fn answer(columns: Vec<(&str, ArrayRef)>) -> Answer {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .unwrap();
        Answer { query_id: String::new(), route: String::new(), schema: batch.schema(), batches: vec![batch] }
    }

    fn numbers(values: &[i64]) -> Answer {
        answer(vec![("n", Arc::new(Int64Array::from(values.to_vec())))])
    }

    fn floats(values: &[f64]) -> Answer {
        answer(vec![("x", Arc::new(Float64Array::from(values.to_vec())))])
    }

    #[test]
    fn rows_may_change_places_unless_an_order_is_asked_for() {
        let (one, other) = (numbers(&[1, 2, 2]), numbers(&[2, 1, 2]));
        assert_eq!(difference(&one, &other, Order::None), None);
        assert!(difference(&one, &other, Order::Total).is_some());
        assert!(difference(&one, &other, Order::By(&[0])).is_some());
    }

    #[test]
    fn rows_that_are_missing_doubled_or_changed_are_found() {
        for other in [&[1, 2][..], &[1, 2, 3, 3], &[1, 2, 4], &[]] {
            assert!(difference(&numbers(&[1, 2, 3]), &numbers(other), Order::None).is_some(), "{other:?}");
        }
    }

    #[test]
    fn ties_may_stand_in_any_order() {
        let rows = |keys: [i64; 3], texts: [&str; 3]| {
            answer(vec![
                ("k", Arc::new(Int64Array::from(keys.to_vec()))),
                ("t", Arc::new(StringArray::from(texts.to_vec()))),
            ])
        };
        let (one, other) = (rows([1, 1, 2], ["a", "b", "c"]), rows([1, 1, 2], ["b", "a", "c"]));
        assert_eq!(difference(&one, &other, Order::By(&[0])), None);
        assert!(difference(&one, &other, Order::Total).is_some());
        assert!(difference(&one, &rows([2, 1, 1], ["c", "a", "b"]), Order::By(&[0])).is_some());
    }

    #[test]
    fn floats_differ_by_rounding_only() {
        assert_eq!(difference(&floats(&[0.1 + 0.2, f64::NAN]), &floats(&[0.3, f64::NAN]), Order::None), None);
        assert!(difference(&floats(&[0.3001]), &floats(&[0.3]), Order::None).is_some());
    }

    #[test]
    fn layouts_are_the_same_and_types_are_not() {
        let plain = answer(vec![("t", Arc::new(StringArray::from(vec![Some("a"), None])))]);
        let view = answer(vec![("t", Arc::new(StringViewArray::from(vec![Some("a"), None])))]);
        assert_eq!(difference(&plain, &view, Order::Total), None);
        assert!(difference(&numbers(&[1]), &floats(&[1.0]), Order::Total).is_some());
        let null = answer(vec![("t", Arc::new(StringArray::from(vec![Some("a"), Some("")])))]);
        assert!(difference(&plain, &null, Order::Total).is_some(), "null is not the empty text");
    }
}
