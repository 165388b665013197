//! A value as a text of SQL that gives it back, in every dialect that a session may speak.

use arrow::array::Array;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use polarway_common::{Error, ErrorKind};

/// See the module's page.
///
/// # Errors
/// `Unsupported` for maps and unions.
pub fn of(value: &ScalarValue) -> Result<String, Error> {
    if value.is_null() {
        return Ok(match value.data_type() {
            DataType::Null => "NULL".to_owned(),
            of_type => cast("NULL", &of_type),
        });
    }
    match value {
        ScalarValue::Boolean(Some(value)) => Ok(if *value { "TRUE" } else { "FALSE" }.to_owned()),
        // The smallest has no literal of its own: the number without its sign is too large.
        ScalarValue::Int64(Some(value)) if *value >= 0 => Ok(value.to_string()),
        ScalarValue::Int64(Some(value)) if *value > i64::MIN => Ok(format!("({value})")),
        ScalarValue::Utf8(Some(text))
        | ScalarValue::Utf8View(Some(text))
        | ScalarValue::LargeUtf8(Some(text)) => Ok(quoted(text)),
        ScalarValue::Binary(Some(bytes))
        | ScalarValue::BinaryView(Some(bytes))
        | ScalarValue::LargeBinary(Some(bytes))
        | ScalarValue::FixedSizeBinary(_, Some(bytes)) => Ok(hex(bytes)),
        ScalarValue::Dictionary(_, value) | ScalarValue::RunEndEncoded(_, _, value) => of(value),
        // By their number: it says it all, where a text would have to be read in the right time zone.
        ScalarValue::TimestampSecond(Some(number), _)
        | ScalarValue::TimestampMillisecond(Some(number), _)
        | ScalarValue::TimestampMicrosecond(Some(number), _)
        | ScalarValue::TimestampNanosecond(Some(number), _)
        | ScalarValue::DurationSecond(Some(number))
        | ScalarValue::DurationMillisecond(Some(number))
        | ScalarValue::DurationMicrosecond(Some(number))
        | ScalarValue::DurationNanosecond(Some(number)) => {
            Ok(cast(&of(&ScalarValue::Int64(Some(*number)))?, &value.data_type()))
        }
        ScalarValue::List(list) => elements(&list.value(0), &value.data_type()),
        ScalarValue::LargeList(list) => elements(&list.value(0), &value.data_type()),
        ScalarValue::FixedSizeList(list) => elements(&list.value(0), &value.data_type()),
        ScalarValue::Struct(row) => {
            let mut parts = vec![];
            for (field, column) in row.fields().iter().zip(row.columns()) {
                parts.push(quoted(field.name()));
                parts.push(of(&element(column.as_ref(), 0)?)?);
            }
            Ok(format!("named_struct({})", parts.join(", ")))
        }
        ScalarValue::Map(_) | ScalarValue::Union(..) => {
            Err(Error::new(ErrorKind::Unsupported, format!("a {} has no literal", value.data_type())))
        }
        other => {
            let text = other.cast_to(&DataType::Utf8).map_err(|error| {
                Error::new(ErrorKind::Unsupported, format!("a {} has no literal: {error}", other.data_type()))
            })?;
            let ScalarValue::Utf8(Some(text)) = text else {
                return Err(Error::internal(format!("{} has no text", other.data_type())));
            };
            Ok(cast(&quoted(&text), &other.data_type()))
        }
    }
}

fn element(array: &dyn Array, index: usize) -> Result<ScalarValue, Error> {
    ScalarValue::try_from_array(array, index)
        .map_err(|error| Error::internal(format!("a value cannot be read: {error}")))
}

fn elements(array: &dyn Array, of_type: &DataType) -> Result<String, Error> {
    let values =
        (0..array.len()).map(|index| of(&element(array, index)?)).collect::<Result<Vec<_>, Error>>()?;
    Ok(cast(&format!("make_array({})", values.join(", ")), of_type))
}

fn cast(text: &str, to: &DataType) -> String {
    format!("arrow_cast({text}, {})", quoted(&to.to_string()))
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("X'{digits}'")
}

/// Some dialects read a backslash as the beginning of an escape, and none reads what is written in digits otherwise.
fn quoted(text: &str) -> String {
    if text.contains(['\\', '\0']) {
        return format!("arrow_cast({}, 'Utf8')", hex(text.as_bytes()));
    }
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, ListArray, StringArray, StructArray};
    use arrow::compute::concat;
    use arrow::datatypes::{Field, Int32Type, IntervalMonthDayNano, TimeUnit, i256};
    use datafusion::prelude::SessionContext;
    use proptest::prelude::*;

    use super::*;

    async fn back(value: &ScalarValue) -> ScalarValue {
        let sql = format!("SELECT {}", of(value).unwrap());
        let batches = SessionContext::new().sql(&sql).await.unwrap().collect().await.unwrap();
        let column: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(0).as_ref()).collect();
        ScalarValue::try_from_array(&concat(&column).unwrap(), 0).unwrap()
    }

    #[tokio::test]
    async fn every_value_comes_back_with_its_type() {
        let zone: Option<Arc<str>> = Some("Europe/Berlin".into());
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None, Some(3)])]);
        let empty = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(Vec::<Option<i32>>::new())]);
        let row = StructArray::from(vec![
            (
                Arc::new(Field::new("it's", DataType::Int32, true)),
                Arc::new(Int32Array::from(vec![1])) as ArrayRef,
            ),
            (
                Arc::new(Field::new("b", DataType::Utf8, true)),
                Arc::new(StringArray::from(vec!["x"])) as ArrayRef,
            ),
        ]);
        let values = [
            ScalarValue::Null,
            ScalarValue::Boolean(Some(true)),
            ScalarValue::Boolean(None),
            ScalarValue::Int8(Some(-8)),
            ScalarValue::Int32(None),
            ScalarValue::Int64(Some(i64::MIN)),
            ScalarValue::Int64(Some(-1)),
            ScalarValue::Int64(Some(i64::MAX)),
            ScalarValue::UInt64(Some(u64::MAX)),
            ScalarValue::Float32(Some(1.5e-30)),
            ScalarValue::Float64(Some(0.1 + 0.2)),
            ScalarValue::Float64(Some(f64::NEG_INFINITY)),
            ScalarValue::Float64(Some(-0.0)),
            ScalarValue::Utf8(Some("it's \"\\\n é".into())),
            ScalarValue::Binary(Some(vec![0, 255, 39])),
            ScalarValue::Decimal128(Some(-12345), 10, 3),
            ScalarValue::Decimal128(None, 10, 3),
            ScalarValue::Decimal256(Some(i256::from_i128(7)), 40, 2),
            ScalarValue::Date32(Some(-1)),
            ScalarValue::Date64(Some(86_400_000)),
            ScalarValue::Time32Second(Some(3661)),
            ScalarValue::Time64Nanosecond(Some(3_661_000_000_001)),
            ScalarValue::TimestampSecond(Some(-1), None),
            ScalarValue::TimestampMillisecond(Some(1), None),
            ScalarValue::TimestampMicrosecond(Some(1_700_000_000_000_001), zone.clone()),
            ScalarValue::TimestampNanosecond(Some(1_700_000_000_000_000_001), Some("+02:00".into())),
            ScalarValue::TimestampNanosecond(None, zone),
            ScalarValue::DurationMillisecond(Some(-5)),
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(14, -3, 1_500_000_000))),
            ScalarValue::List(Arc::new(list)),
            ScalarValue::List(Arc::new(empty)),
            ScalarValue::Struct(Arc::new(row)),
        ];
        for value in &values {
            assert_eq!(&back(value).await, value, "{}", of(value).unwrap());
        }
        // The value is what is told, not how it is kept.
        let kept =
            ScalarValue::Dictionary(Box::new(DataType::Int32), Box::new(ScalarValue::Utf8(Some("a".into()))));
        assert_eq!(of(&kept).unwrap(), "'a'");
        assert_eq!(
            of(&ScalarValue::TimestampSecond(None, None)).unwrap(),
            format!("arrow_cast(NULL, '{}')", DataType::Timestamp(TimeUnit::Second, None))
        );
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn texts_and_numbers_come_back(text: String, bytes: Vec<u8>, float: f64, number: i64) {
            let values = [
                ScalarValue::Utf8(Some(text)),
                ScalarValue::Binary(Some(bytes)),
                ScalarValue::Float64(Some(float)),
                ScalarValue::Int64(Some(number)),
            ];
            let runtime = runtime();
            for value in values {
                prop_assert_eq!(runtime.block_on(back(&value)), value);
            }
        }
    }
}
