//! The schema of an Arrow frame, held against the declared one.
//!
//! The conversion of `arrow-ipc` panics on schemas it does not know; this one knows the types a feed can have and
//! names the column of any other.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::ipc::{DateUnit, Endianness, Precision, TimeUnit as IpcUnit, Type};

use super::fault::ArrowFault;

/// The schema of the frame, if it has the declared columns and types.
pub(crate) fn schema(found: arrow::ipc::Schema<'_>, declared: &Schema) -> Result<Schema, ArrowFault> {
    if found.endianness() != Endianness::Little {
        return Err(ArrowFault::malformed("the bytes are big-endian"));
    }
    let mut fields: Vec<Field> = Vec::new();
    for field in found.fields().into_iter().flatten() {
        let name = field.name().unwrap_or_default();
        let column = || name.to_owned();
        if fields.iter().any(|other| other.name() == name) {
            return Err(ArrowFault::DuplicateColumn { column: column() });
        }
        let wanted =
            declared.field_with_name(name).map_err(|_| ArrowFault::UnknownColumn { column: column() })?;
        let expected = wanted.data_type();
        let data_type = match data_type(&field) {
            Some(found) if found == *expected || is_string(&found) && *expected == DataType::Utf8 => found,
            found => {
                let found = found.map_or_else(|| ipc_name(&field), |found| found.to_string());
                return Err(ArrowFault::ColumnType {
                    column: column(),
                    found,
                    expected: expected.to_string(),
                });
            }
        };
        // Whether the frame says nullable does not count: the data is looked at.
        fields.push(Field::new(name, data_type, true));
    }
    for field in declared.fields() {
        if !fields.iter().any(|found| found.name() == field.name()) {
            let (column, expected) = (field.name().clone(), field.data_type().to_string());
            return Err(ArrowFault::MissingColumn { column, expected });
        }
    }
    Ok(Schema::new(fields))
}

fn is_string(data_type: &DataType) -> bool {
    matches!(data_type, DataType::LargeUtf8 | DataType::Utf8View)
}

/// The type of a field of a kind that a feed can have.
fn data_type(field: &arrow::ipc::Field<'_>) -> Option<DataType> {
    if field.dictionary().is_some() {
        return None;
    }
    Some(match field.type_type() {
        Type::Bool => DataType::Boolean,
        Type::Int => {
            let int = field.type_as_int()?;
            match (int.bitWidth(), int.is_signed()) {
                (8, true) => DataType::Int8,
                (16, true) => DataType::Int16,
                (32, true) => DataType::Int32,
                (64, true) => DataType::Int64,
                (8, false) => DataType::UInt8,
                (16, false) => DataType::UInt16,
                (32, false) => DataType::UInt32,
                (64, false) => DataType::UInt64,
                _ => return None,
            }
        }
        Type::FloatingPoint => match field.type_as_floating_point()?.precision() {
            Precision::SINGLE => DataType::Float32,
            Precision::DOUBLE => DataType::Float64,
            _ => return None,
        },
        Type::Decimal => {
            let decimal = field.type_as_decimal()?;
            if decimal.bitWidth() != 128 {
                return None;
            }
            DataType::Decimal128(decimal.precision().try_into().ok()?, decimal.scale().try_into().ok()?)
        }
        Type::Utf8 => DataType::Utf8,
        Type::LargeUtf8 => DataType::LargeUtf8,
        Type::Utf8View => DataType::Utf8View,
        Type::Date if field.type_as_date()?.unit() == DateUnit::DAY => DataType::Date32,
        Type::Timestamp => {
            let timestamp = field.type_as_timestamp()?;
            let unit = match timestamp.unit() {
                IpcUnit::SECOND => TimeUnit::Second,
                IpcUnit::MILLISECOND => TimeUnit::Millisecond,
                IpcUnit::MICROSECOND => TimeUnit::Microsecond,
                IpcUnit::NANOSECOND => TimeUnit::Nanosecond,
                _ => return None,
            };
            DataType::Timestamp(unit, timestamp.timezone().map(Into::into))
        }
        _ => return None,
    })
}

/// The name of a type without its details, for messages.
fn ipc_name(field: &arrow::ipc::Field<'_>) -> String {
    if field.dictionary().is_some() {
        return "Dictionary".to_owned();
    }
    field.type_type().variant_name().unwrap_or("unknown").to_owned()
}
