//! Exact decimals from the text of numbers: no float on the way.

use super::columns::Refusal;
use super::cursor::{Cursor, Number};

/// 10^0 to 10^38, all that an `i128` holds.
const POWERS: [i128; 39] = {
    let mut powers = [1; 39];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// The value of a string by the grammar of JSON numbers, in units of 10^-`scale`.
///
/// # Errors
/// [`Refusal::WrongType`] where the string is no number; else as [`decimal`].
#[inline]
pub(crate) fn decimal_text(text: &[u8], precision: u8, scale: i8) -> Result<i128, Refusal> {
    let mut cursor = Cursor::new(text, 0);
    match cursor.number() {
        Ok(number) if cursor.at() == text.len() => decimal(&number, precision, scale),
        _ => Err(Refusal::WrongType),
    }
}

/// The value of a number in units of 10^-`scale`.
///
/// # Errors
/// [`Refusal::TooFine`] where digits other than zero stand below the scale; [`Refusal::OutOfRange`] where the
/// value has more than `precision` digits.
#[inline]
pub(crate) fn decimal(number: &Number<'_>, precision: u8, scale: i8) -> Result<i128, Refusal> {
    // How many zeros the digits still lack.
    let shift = i64::from(scale) + i64::from(number.exponent) - number.fraction as i64;
    // 19 digits and 19 zeros stay below 10^38.
    if number.count <= Number::EXACT_DIGITS
        && let Ok(zeros @ 0..=19) = usize::try_from(shift)
    {
        return bounded(i128::from(number.digits) * POWERS[zeros], number.negative, precision);
    }
    long_decimal(number, shift, precision)
}

#[cold]
fn long_decimal(number: &Number<'_>, mut shift: i64, precision: u8) -> Result<i128, Refusal> {
    let mantissa = number.text.split(|byte| matches!(byte, b'e' | b'E')).next().unwrap_or_default();
    let digits = || mantissa.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0');
    // Only the digits from the first to the last that is not zero count; the zeros behind are part of the shift.
    let Some(first) = digits().position(|digit| digit != 0) else { return Ok(0) };
    let last = number.count
        - mantissa
            .iter()
            .rev()
            .filter(|byte| byte.is_ascii_digit())
            .take_while(|&&byte| byte == b'0')
            .count();
    shift += (number.count - last) as i64;
    let Ok(zeros) = usize::try_from(shift) else { return Err(Refusal::TooFine) };
    let significant = last - first;
    if significant.saturating_add(zeros) > usize::from(precision) {
        return Err(Refusal::OutOfRange);
    }
    // At most 38 digits in all by the check above.
    let value = digits().skip(first).take(significant).fold(0, |value, digit| value * 10 + i128::from(digit));
    match POWERS.get(zeros) {
        Some(power) => bounded(value * power, number.negative, precision),
        None => Err(Refusal::OutOfRange),
    }
}

#[inline]
fn bounded(size: i128, negative: bool, precision: u8) -> Result<i128, Refusal> {
    match POWERS.get(usize::from(precision)) {
        Some(&limit) if size >= limit => Err(Refusal::OutOfRange),
        _ => Ok(if negative { -size } else { size }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_exact() {
        assert_eq!(decimal_text(b"97123.45", 18, 8), Ok(9_712_345_000_000));
        assert_eq!(decimal_text(b"-0.00000001", 18, 8), Ok(-1));
        assert_eq!(decimal_text(b"1e-8", 18, 8), Ok(1));
        assert_eq!(decimal_text(b"1E+3", 18, 8), Ok(100_000_000_000));
        assert_eq!(decimal_text(b"0e999999999999", 18, 8), Ok(0));
        assert_eq!(decimal_text(b"1500e-10", 18, 8), Ok(15));
        assert_eq!(decimal_text(b"0.1000000000000000000000000000000000000000", 5, 1), Ok(1));
        assert_eq!(decimal_text(b"99999999999999999999999999999999999999", 38, 0), Ok(10_i128.pow(38) - 1));
        assert_eq!(decimal_text(b"1200", 3, -2), Ok(12));
    }

    #[test]
    fn faults_are_told_apart() {
        assert_eq!(decimal_text(b"0.000000001", 18, 8), Err(Refusal::TooFine));
        assert_eq!(decimal_text(b"1e-999999999999", 18, 8), Err(Refusal::TooFine));
        assert_eq!(decimal_text(b"1e999999999999", 18, 8), Err(Refusal::OutOfRange));
        assert_eq!(decimal_text(b"10000000000", 18, 8), Err(Refusal::OutOfRange));
        assert_eq!(decimal_text(b"100000000000000000000000000000000000000", 38, 0), Err(Refusal::OutOfRange));
        assert_eq!(decimal_text(b"1250", 3, -2), Err(Refusal::TooFine));
        for text in ["", "-", "+1", "01", ".5", "5.", "1e", "1 ", " 1", "0x1", "NaN", "1,5", "1.5.1"] {
            assert_eq!(decimal_text(text.as_bytes(), 18, 8), Err(Refusal::WrongType), "{text:?}");
        }
    }

    proptest! {
        /// A value written with any split between digits and exponent reads back exactly.
        #[test]
        fn every_form_of_a_value_is_the_same(value in -10_i128.pow(37)..10_i128.pow(37), scale in 0_i8..=20, zeros in 0_usize..20) {
            let text = format!("{value}{}e{}", "0".repeat(zeros), -(i64::from(scale) + zeros as i64));
            prop_assert_eq!(decimal_text(text.as_bytes(), 38, scale), Ok(value));
            let unit = POWERS[scale as usize];
            let sign = if value < 0 { "-" } else { "" };
            let plain = format!("{sign}{}.{:0width$}{}", (value / unit).abs(), (value % unit).abs(), "0".repeat(zeros), width = scale as usize);
            prop_assert_eq!(decimal_text(plain.as_bytes(), 38, scale), Ok(value));
        }
    }
}
