//! Integers and floats from the text of JSON numbers.

use super::columns::Refusal;
use super::cursor::Number;

/// An integer column takes numbers without a point and without an exponent that fit the type; `-0` is 0.
///
/// # Errors
/// [`Refusal::WrongType`] for `1.0` and `1e3`; [`Refusal::OutOfRange`] beyond the type.
#[inline]
pub(crate) fn integer<T: TryFrom<i128> + TryFrom<u64>>(number: &Number<'_>) -> Result<T, Refusal> {
    if !number.integer {
        return Err(Refusal::WrongType);
    }
    if !number.negative && number.count <= Number::EXACT_DIGITS {
        return T::try_from(number.digits).map_err(|_| Refusal::OutOfRange);
    }
    long_integer(number).and_then(|value| T::try_from(value).ok()).ok_or(Refusal::OutOfRange)
}

/// Negative numbers and those of 20 digits. JSON has no leading zeros, so that more digits than 20 exceed every
/// integer type.
fn long_integer(number: &Number<'_>) -> Option<i128> {
    let size = if number.count <= Number::EXACT_DIGITS {
        i128::from(number.digits)
    } else {
        let digits = number.text.get(usize::from(number.negative)..)?;
        if digits.len() > 20 {
            return None;
        }
        digits.iter().fold(0, |value, digit| value * 10 + i128::from(digit - b'0'))
    };
    Some(if number.negative { -size } else { size })
}

/// The powers of ten that an `f64` holds exactly.
const EXACT_F64: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// The powers of ten that an `f32` holds exactly.
const EXACT_F32: [f32; 11] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];

/// The nearest `f64`, correctly rounded; a number too small for the type rounds to zero as IEEE 754 has it.
///
/// # Errors
/// [`Refusal::OutOfRange`] where the nearest is infinite.
#[inline]
pub(crate) fn float64(number: &Number<'_>) -> Result<f64, Refusal> {
    // Digits and power both exact: one IEEE operation, rounded once, is the nearest value.
    if number.count <= Number::EXACT_DIGITS
        && number.digits <= 1 << 53
        && number.exponent == 0
        && let Some(power) = EXACT_F64.get(number.fraction)
    {
        let size = number.digits as f64 / power;
        return Ok(if number.negative { -size } else { size });
    }
    parsed::<f64>(number.text).filter(|value| value.is_finite()).ok_or(Refusal::OutOfRange)
}

/// The nearest `f32`, rounded once from the text and never by way of an `f64`.
///
/// # Errors
/// [`Refusal::OutOfRange`] where the nearest is infinite.
#[inline]
pub(crate) fn float32(number: &Number<'_>) -> Result<f32, Refusal> {
    if number.count <= Number::EXACT_DIGITS
        && number.digits <= 1 << 24
        && number.exponent == 0
        && let Some(power) = EXACT_F32.get(number.fraction)
    {
        let size = number.digits as f32 / power;
        return Ok(if number.negative { -size } else { size });
    }
    parsed::<f32>(number.text).filter(|value| value.is_finite()).ok_or(Refusal::OutOfRange)
}

fn parsed<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::cursor::Cursor;
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> Number<'_> {
        Cursor::new(text.as_bytes(), 0).number().unwrap()
    }

    #[test]
    fn integers_hold_their_range() {
        assert_eq!(integer::<i8>(&number("-128")), Ok(-128));
        assert_eq!(integer::<i8>(&number("128")), Err(Refusal::OutOfRange));
        assert_eq!(integer::<i64>(&number("9223372036854775807")), Ok(i64::MAX));
        assert_eq!(integer::<i64>(&number("-9223372036854775808")), Ok(i64::MIN));
        assert_eq!(integer::<i64>(&number("9223372036854775808")), Err(Refusal::OutOfRange));
        assert_eq!(integer::<u64>(&number("18446744073709551615")), Ok(u64::MAX));
        assert_eq!(integer::<u64>(&number("18446744073709551616")), Err(Refusal::OutOfRange));
        assert_eq!(integer::<u64>(&number("100000000000000000000000000")), Err(Refusal::OutOfRange));
        assert_eq!(integer::<u64>(&number("-1")), Err(Refusal::OutOfRange));
        assert_eq!(integer::<u8>(&number("-0")), Ok(0));
        assert_eq!(integer::<i64>(&number("1.0")), Err(Refusal::WrongType));
        assert_eq!(integer::<i64>(&number("1e3")), Err(Refusal::WrongType));
    }

    #[test]
    fn floats_are_finite() {
        assert_eq!(float64(&number("1e999")), Err(Refusal::OutOfRange));
        assert_eq!(float32(&number("3.5e38")), Err(Refusal::OutOfRange));
        assert_eq!(float32(&number("1e38")), Ok(1e38));
        assert!(float64(&number("-0")).unwrap().is_sign_negative());
        assert_eq!(float64(&number("0.0125")), Ok(0.0125));
    }

    proptest! {
        #[test]
        fn floats_round_as_the_standard_library(text in "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,2})?") {
            let number = number(&text);
            prop_assert_eq!(float64(&number).ok(), text.parse::<f64>().ok().filter(|value| value.is_finite()));
            prop_assert_eq!(float32(&number).ok(), text.parse::<f32>().ok().filter(|value| value.is_finite()));
        }

        #[test]
        fn integers_are_those_of_the_standard_library(text in "-?(0|[1-9][0-9]{0,21})") {
            let number = number(&text);
            let value = text.parse::<i128>().unwrap();
            prop_assert_eq!(integer::<i64>(&number).ok(), i64::try_from(value).ok());
            prop_assert_eq!(integer::<u64>(&number).ok(), u64::try_from(value).ok());
            prop_assert_eq!(integer::<i16>(&number).ok(), i16::try_from(value).ok());
        }
    }
}
