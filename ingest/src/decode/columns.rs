//! The columns of the batch in the making. Own vectors rather than Arrow's builders, which cannot be cut back to
//! before a bad row.

use std::sync::Arc;

use arrow::array::BooleanBufferBuilder;
use arrow::array::{ArrayRef, BooleanArray, PrimitiveArray, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DECIMAL128_MAX_PRECISION, Date32Type, Decimal128Type, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    validate_decimal_precision_and_scale,
};
use arrow::datatypes::{DataType, Field, TimeUnit};
use arrow::error::ArrowError;

use super::cursor::{Number, Token};
use super::decimal::{decimal, decimal_text};
use super::fault::{Reason, shown};
use super::number::{float32, float64, integer};
use super::timestamp::{date, timestamp};

/// Runs one of three pieces of code on the vector of a column: for plain values, for bits, for strings.
macro_rules! each_vector {
    ($values:expr, |$plain:ident| $on_plain:expr, |$bits:ident| $on_bits:expr, |$texts:ident| $on_texts:expr) => {
        match $values {
            Values::Boolean($bits) => $on_bits,
            Values::Utf8($texts) => $on_texts,
            Values::Int8($plain) => $on_plain,
            Values::Int16($plain) => $on_plain,
            Values::Int32($plain) | Values::Date($plain) => $on_plain,
            Values::Int64($plain) | Values::Timestamp { values: $plain, .. } => $on_plain,
            Values::UInt8($plain) => $on_plain,
            Values::UInt16($plain) => $on_plain,
            Values::UInt32($plain) => $on_plain,
            Values::UInt64($plain) => $on_plain,
            Values::Float32($plain) => $on_plain,
            Values::Float64($plain) => $on_plain,
            Values::Decimal { values: $plain, .. } => $on_plain,
        }
    };
}

/// Why a column does not take a value; [`Column::reason`] makes the message of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Null,
    WrongType,
    OutOfRange,
    TooFine,
    MissingOffset,
    Full,
}

/// The values of one column, in the form Arrow wants them.
#[derive(Debug)]
enum Values {
    Boolean(BooleanBufferBuilder),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    UInt8(Vec<u8>),
    UInt16(Vec<u16>),
    UInt32(Vec<u32>),
    UInt64(Vec<u64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal { values: Vec<i128>, precision: u8, scale: i8 },
    Utf8(Texts),
    Date(Vec<i32>),
    Timestamp { values: Vec<i64>, unit: TimeUnit, zoned: bool },
}

/// The values of a Utf8 column: all characters, and where each value ends.
#[derive(Debug)]
struct Texts {
    /// One more than values; the first is 0.
    offsets: Vec<i32>,
    bytes: Vec<u8>,
}

impl Default for Texts {
    fn default() -> Self {
        Self { offsets: vec![0], bytes: Vec::new() }
    }
}

impl Texts {
    #[inline]
    fn push(&mut self, text: &[u8]) -> Result<(), Refusal> {
        let end = i32::try_from(self.bytes.len() + text.len()).map_err(|_| Refusal::Full)?;
        self.bytes.extend_from_slice(text);
        self.offsets.push(end);
        Ok(())
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        let end = self.offsets.last().and_then(|&end| usize::try_from(end).ok()).unwrap_or(0);
        self.bytes.truncate(end);
    }
}

/// One declared column and the values it holds.
#[derive(Debug)]
pub(crate) struct Column {
    name: Box<str>,
    data_type: DataType,
    nullable: bool,
    values: Values,
    /// A bit for each row, from the first null on; columns without nulls need none.
    valid: Option<BooleanBufferBuilder>,
}

impl Column {
    /// `None` where the type is not supported.
    pub fn new(field: &Field) -> Option<Self> {
        Some(Self {
            name: field.name().as_str().into(),
            data_type: field.data_type().clone(),
            nullable: field.is_nullable(),
            values: Values::new(field.data_type())?,
            valid: None,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the batch takes per row without the characters of strings, bytes, rounded up.
    pub fn row_bytes(&self) -> usize {
        // A bit of validity is counted as a byte: an estimate may be high.
        self.data_type.primitive_width().unwrap_or(4) + usize::from(self.nullable)
    }

    /// The characters held by a string column, bytes.
    #[inline]
    pub fn text_bytes(&self) -> usize {
        match &self.values {
            Values::Utf8(texts) => texts.bytes.len(),
            _ => 0,
        }
    }

    /// Makes room for `rows` more rows.
    pub fn reserve(&mut self, rows: usize, text_bytes: usize) {
        each_vector!(&mut self.values, |values| values.reserve(rows), |bits| bits.reserve(rows), |texts| {
            texts.offsets.reserve(rows);
            texts.bytes.reserve(text_bytes);
        });
    }

    /// Appends one value.
    #[inline]
    pub fn append(&mut self, token: &Token<'_>) -> Result<(), Refusal> {
        match (&mut self.values, token) {
            (_, Token::Null) => return self.append_null(),
            (Values::Int64(values), Token::Number(number)) => values.push(integer(number)?),
            (Values::Utf8(texts), Token::Text(text)) => texts.push(text)?,
            (Values::Float64(values), Token::Number(number)) => values.push(float64(number)?),
            (Values::Decimal { values, precision, scale }, Token::Text(text)) => {
                values.push(decimal_text(text, *precision, *scale)?);
            }
            (Values::Decimal { values, precision, scale }, Token::Number(number)) => {
                values.push(decimal(number, *precision, *scale)?);
            }
            (Values::Timestamp { values, .. }, Token::Number(number)) => values.push(integer(number)?),
            (Values::Timestamp { values, unit, zoned }, Token::Text(text)) => {
                values.push(timestamp(text, *unit, *zoned)?);
            }
            (Values::Date(values), Token::Text(text)) => values.push(date(text)?),
            (Values::Boolean(bits), Token::Boolean(value)) => bits.append(*value),
            (Values::Int8(values), Token::Number(number)) => values.push(integer(number)?),
            (Values::Int16(values), Token::Number(number)) => values.push(integer(number)?),
            (Values::Int32(values), Token::Number(number)) => values.push(integer(number)?),
            (Values::UInt8(values), Token::Number(number)) => values.push(integer(number)?),
            (Values::UInt16(values), Token::Number(number)) => values.push(integer(number)?),
            (Values::UInt32(values), Token::Number(number)) => values.push(integer(number)?),
            (Values::UInt64(values), Token::Number(number)) => values.push(integer(number)?),
            (Values::Float32(values), Token::Number(number)) => values.push(float32(number)?),
            _ => return Err(Refusal::WrongType),
        }
        if let Some(valid) = &mut self.valid {
            valid.append(true);
        }
        Ok(())
    }

    /// Appends an instant given as a number of `unit`s since 1970, exactly.
    ///
    /// # Errors
    /// [`Refusal::TooFine`] where the column's unit is too coarse for it; [`Refusal::WrongType`] where the column
    /// holds no instants.
    pub fn append_epoch(&mut self, number: &Number<'_>, unit: TimeUnit) -> Result<(), Refusal> {
        let Values::Timestamp { values, unit: kept, .. } = &mut self.values else {
            return Err(Refusal::WrongType);
        };
        let value = decimal(number, DECIMAL128_MAX_PRECISION, places(*kept) - places(unit))?;
        values.push(i64::try_from(value).map_err(|_| Refusal::OutOfRange)?);
        if let Some(valid) = &mut self.valid {
            valid.append(true);
        }
        Ok(())
    }

    /// Appends a null; the value under it is zero or empty.
    pub fn append_null(&mut self) -> Result<(), Refusal> {
        if !self.nullable {
            return Err(Refusal::Null);
        }
        let rows = each_vector!(
            &mut self.values,
            |values| {
                values.push(Default::default());
                values.len() - 1
            },
            |bits| {
                bits.append(false);
                bits.len() - 1
            },
            |texts| {
                texts.push(b"")?;
                texts.offsets.len() - 2
            }
        );
        let valid = self.valid.get_or_insert_with(|| {
            let mut valid = BooleanBufferBuilder::new(rows + 1);
            valid.append_n(rows, true);
            valid
        });
        valid.append(false);
        Ok(())
    }

    /// Cuts the column back to its first `rows` rows.
    pub fn truncate(&mut self, rows: usize) {
        each_vector!(&mut self.values, |values| values.truncate(rows), |bits| bits.truncate(rows), |texts| {
            texts.truncate(rows)
        });
        if let Some(valid) = &mut self.valid {
            valid.truncate(rows);
        }
    }

    /// Takes the values out as an Arrow array; the column is empty afterwards.
    pub fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let nulls = self
            .valid
            .take()
            .map(|valid| NullBuffer::new(valid.build()))
            .filter(|nulls| nulls.null_count() > 0);
        let fresh = Values::new(&self.data_type)
            .ok_or_else(|| ArrowError::NotYetImplemented(self.data_type.to_string()))?;
        let kind = &self.data_type;
        match std::mem::replace(&mut self.values, fresh) {
            Values::Boolean(bits) => Ok(Arc::new(BooleanArray::new(bits.build(), nulls))),
            Values::Int8(values) => primitive::<Int8Type>(values, nulls, kind),
            Values::Int16(values) => primitive::<Int16Type>(values, nulls, kind),
            Values::Int32(values) => primitive::<Int32Type>(values, nulls, kind),
            Values::Int64(values) => primitive::<Int64Type>(values, nulls, kind),
            Values::UInt8(values) => primitive::<UInt8Type>(values, nulls, kind),
            Values::UInt16(values) => primitive::<UInt16Type>(values, nulls, kind),
            Values::UInt32(values) => primitive::<UInt32Type>(values, nulls, kind),
            Values::UInt64(values) => primitive::<UInt64Type>(values, nulls, kind),
            Values::Float32(values) => primitive::<Float32Type>(values, nulls, kind),
            Values::Float64(values) => primitive::<Float64Type>(values, nulls, kind),
            Values::Decimal { values, .. } => primitive::<Decimal128Type>(values, nulls, kind),
            Values::Date(values) => primitive::<Date32Type>(values, nulls, kind),
            Values::Timestamp { values, unit, .. } => match unit {
                TimeUnit::Second => primitive::<TimestampSecondType>(values, nulls, kind),
                TimeUnit::Millisecond => primitive::<TimestampMillisecondType>(values, nulls, kind),
                TimeUnit::Microsecond => primitive::<TimestampMicrosecondType>(values, nulls, kind),
                TimeUnit::Nanosecond => primitive::<TimestampNanosecondType>(values, nulls, kind),
            },
            Values::Utf8(texts) => {
                // `try_new` checks the characters once more, all at once: no unsafe code vouches for them.
                let offsets = OffsetBuffer::new(ScalarBuffer::from(texts.offsets));
                Ok(Arc::new(StringArray::try_new(offsets, texts.bytes.into(), nulls)?))
            }
        }
    }

    /// The message of a refusal of `found`, the text of the value as it stands in the frame.
    #[cold]
    pub fn reason(&self, refusal: Refusal, found: &[u8]) -> Reason {
        self.reason_of(refusal, found, self.expected())
    }

    /// As [`reason`](Self::reason), where something else was expected than the column takes by itself.
    #[cold]
    pub fn reason_of(&self, refusal: Refusal, found: &[u8], expected: String) -> Reason {
        let column = self.name.to_string();
        let found = shown(found);
        match refusal {
            Refusal::Null => Reason::NullValue { column, expected },
            Refusal::WrongType => Reason::WrongType { column, found, expected },
            Refusal::OutOfRange => Reason::OutOfRange { column, found, expected },
            Refusal::TooFine => Reason::TooFine { column, found, expected },
            Refusal::MissingOffset => Reason::MissingOffset { column, found, expected },
            Refusal::Full => Reason::ColumnFull { column },
        }
    }

    /// The unit of a column of instants.
    pub fn time_unit(&self) -> Option<TimeUnit> {
        match &self.values {
            Values::Timestamp { unit, .. } => Some(*unit),
            _ => None,
        }
    }

    /// What the column takes, in words.
    pub fn expected(&self) -> String {
        match &self.values {
            Values::Boolean(_) => "true or false".into(),
            Values::Int8(_) => "an integer from -128 to 127".into(),
            Values::Int16(_) => "an integer from -32768 to 32767".into(),
            Values::Int32(_) => "an integer of 32 bits".into(),
            Values::Int64(_) => "an integer of 64 bits".into(),
            Values::UInt8(_) => "an integer from 0 to 255".into(),
            Values::UInt16(_) => "an integer from 0 to 65535".into(),
            Values::UInt32(_) => "an unsigned integer of 32 bits".into(),
            Values::UInt64(_) => "an unsigned integer of 64 bits".into(),
            Values::Float32(_) => "a number (Float32)".into(),
            Values::Float64(_) => "a number (Float64)".into(),
            Values::Decimal { precision, scale, .. } => format!("a decimal({precision}, {scale})"),
            Values::Utf8(_) => "a string".into(),
            Values::Date(_) => "a date as \"YYYY-MM-DD\"".into(),
            Values::Timestamp { unit, zoned, .. } => {
                let offset = if *zoned { " with an offset" } else { "" };
                format!("a timestamp as an integer of {} or an RFC 3339 string{offset}", unit_name(*unit))
            }
        }
    }
}

pub(crate) fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "seconds",
        TimeUnit::Millisecond => "milliseconds",
        TimeUnit::Microsecond => "microseconds",
        TimeUnit::Nanosecond => "nanoseconds",
    }
}

/// Digits after the point of a second.
fn places(unit: TimeUnit) -> i8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

impl Values {
    fn new(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int8 => Self::Int8(Vec::new()),
            DataType::Int16 => Self::Int16(Vec::new()),
            DataType::Int32 => Self::Int32(Vec::new()),
            DataType::Int64 => Self::Int64(Vec::new()),
            DataType::UInt8 => Self::UInt8(Vec::new()),
            DataType::UInt16 => Self::UInt16(Vec::new()),
            DataType::UInt32 => Self::UInt32(Vec::new()),
            DataType::UInt64 => Self::UInt64(Vec::new()),
            DataType::Float32 => Self::Float32(Vec::new()),
            DataType::Float64 => Self::Float64(Vec::new()),
            &DataType::Decimal128(precision, scale) => {
                validate_decimal_precision_and_scale::<Decimal128Type>(precision, scale).ok()?;
                Self::Decimal { values: Vec::new(), precision, scale }
            }
            DataType::Utf8 => Self::Utf8(Texts::default()),
            DataType::Date32 => Self::Date(Vec::new()),
            DataType::Timestamp(unit, zone) => {
                Self::Timestamp { values: Vec::new(), unit: *unit, zoned: zone.is_some() }
            }
            _ => return None,
        })
    }
}

fn primitive<T: ArrowPrimitiveType>(
    values: Vec<T::Native>,
    nulls: Option<NullBuffer>,
    data_type: &DataType,
) -> Result<ArrayRef, ArrowError> {
    let array = PrimitiveArray::<T>::try_new(ScalarBuffer::from(values), nulls)?;
    // Precision, scale and time zone are part of the declared type, not of the native one.
    Ok(Arc::new(array.with_data_type(data_type.clone())))
}
