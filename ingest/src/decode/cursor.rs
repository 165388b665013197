//! A strict JSON lexer over the bytes of a frame.
//!
//! Why not `serde_json`: a row must be followed byte by byte. The dead letter needs the exact bytes of a bad row
//! inside an array, decimals and messages need the exact text of a number, and floats must round correctly;
//! `serde_json` gives none of these without a second pass, and its visitor alone takes most of the time allowed
//! for a row. The tests hold this lexer to accept exactly what `serde_json` accepts.

/// How many levels of arrays and objects may be nested in one value. One bit of a `u128` remembers each.
pub(crate) const MAX_DEPTH: usize = 128;

/// Why the bytes are not JSON; offsets count from the start of the cursor's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The byte at `at` does not fit the grammar.
    Unexpected { at: usize, expected: &'static str },
    /// The bracket at `at` goes deeper than [`MAX_DEPTH`].
    TooDeep { at: usize },
}

/// One JSON value, read but not yet converted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Token<'a> {
    Null,
    Boolean(bool),
    Number(Number<'a>),
    /// The characters of a string, escapes resolved. UTF-8 where the input is.
    Text(&'a [u8]),
    /// An array or an object, skipped.
    Nested,
}

/// A JSON number: its text and its digits, read in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number<'a> {
    /// The text as it stands, such as `-12.50e3`.
    pub text: &'a [u8],
    pub negative: bool,
    /// All digits before and after the point as one integer; right only when `count` is at most
    /// [`Number::EXACT_DIGITS`].
    pub digits: u64,
    /// How many digits `digits` was read from, a leading zero included.
    pub count: usize,
    /// How many of the digits stand after the point.
    pub fraction: usize,
    /// The exponent after `e`, 0 where there is none; held at ±1 000 000 beyond that.
    pub exponent: i32,
    /// No point and no exponent.
    pub integer: bool,
}

impl Number<'_> {
    /// So many digits always fit a `u64`.
    pub const EXACT_DIGITS: usize = 19;
}

const MAX_EXPONENT: i32 = 1_000_000;

/// A text to look for again and again, such as the key of a column. Up to 16 bytes are compared as one word: a call
/// to compare a handful of bytes would cost more than the bytes.
#[derive(Debug)]
pub(crate) struct Pattern {
    text: Box<[u8]>,
    word: u128,
    mask: u128,
}

impl Pattern {
    pub fn new(text: Box<[u8]>) -> Self {
        let mut word = [0; 16];
        let mut mask = [0; 16];
        for (at, byte) in text.iter().enumerate().take(16) {
            word[at] = *byte;
            mask[at] = u8::MAX;
        }
        Self { text, word: u128::from_le_bytes(word), mask: u128::from_le_bytes(mask) }
    }

    #[inline]
    fn starts(&self, rest: &[u8]) -> bool {
        match rest.first_chunk::<16>() {
            Some(head) if u128::from_le_bytes(*head) & self.mask != self.word => false,
            Some(_) if self.text.len() <= 16 => true,
            _ => rest.starts_with(&self.text),
        }
    }
}

/// Reads JSON values one after the other. `Copy`, so that a reader can return to an earlier place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(input: &'a [u8], at: usize) -> Self {
        Self { input, at }
    }

    /// The offset of the next byte.
    #[inline]
    pub fn at(&self) -> usize {
        self.at
    }

    /// The bytes from `start` up to the cursor.
    pub fn since(&self, start: usize) -> &'a [u8] {
        self.input.get(start..self.at).unwrap_or_default()
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    /// The next byte that is not white space; the cursor stands on it.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = self.byte()?;
            // One comparison decides for nearly every byte of compact JSON.
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Steps over the byte that [`peek`](Self::peek) gave.
    #[inline]
    pub fn step(&mut self) {
        self.at += 1;
    }

    /// Steps over `text` if exactly that comes next.
    fn take(&mut self, text: &[u8]) -> bool {
        match self.input.get(self.at..) {
            Some(rest) if rest.starts_with(text) => {
                self.at += text.len();
                true
            }
            _ => false,
        }
    }

    /// Steps over the text of `pattern` if exactly that comes next.
    #[inline]
    pub fn take_pattern(&mut self, pattern: &Pattern) -> bool {
        let found = self.input.get(self.at..).is_some_and(|rest| pattern.starts(rest));
        if found {
            self.at += pattern.text.len();
        }
        found
    }

    pub fn unexpected<T>(&self, expected: &'static str) -> Result<T, Broken> {
        Err(Broken::Unexpected { at: self.at, expected })
    }

    /// A key and its colon. Escapes are resolved in `scratch`.
    #[inline]
    pub fn key<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Result<&'s [u8], Broken>
    where
        'a: 's,
    {
        if self.peek() != Some(b'"') {
            return self.unexpected("a key");
        }
        let key = self.string(scratch)?;
        if self.peek() != Some(b':') {
            return self.unexpected("':'");
        }
        self.at += 1;
        Ok(key)
    }

    /// The next value, whole. Escapes of a string are resolved in `scratch`.
    #[inline]
    pub fn value<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Result<Token<'s>, Broken>
    where
        'a: 's,
    {
        match self.peek() {
            Some(b'"') => Ok(Token::Text(self.string(scratch)?)),
            Some(b'-' | b'0'..=b'9') => Ok(Token::Number(self.number()?)),
            Some(b't') => self.literal(b"true", Token::Boolean(true)),
            Some(b'f') => self.literal(b"false", Token::Boolean(false)),
            Some(b'n') => self.literal(b"null", Token::Null),
            Some(b'[' | b'{') => {
                self.skip_nested(scratch)?;
                Ok(Token::Nested)
            }
            _ => self.unexpected("a value"),
        }
    }

    fn literal<'s>(&mut self, text: &'static [u8], token: Token<'s>) -> Result<Token<'s>, Broken> {
        if self.take(text) { Ok(token) } else { self.unexpected("a value") }
    }

    /// Skips an array or an object without recursion: a bit for each open bracket says what it is.
    fn skip_nested(&mut self, scratch: &mut Vec<u8>) -> Result<(), Broken> {
        let mut objects: u128 = 0;
        let mut depth = 0;
        loop {
            // A value is due here.
            match self.peek() {
                Some(bracket @ (b'[' | b'{')) => {
                    if depth == MAX_DEPTH {
                        return Err(Broken::TooDeep { at: self.at });
                    }
                    depth += 1;
                    let object = bracket == b'{';
                    objects = objects << 1 | u128::from(object);
                    self.at += 1;
                    if self.peek() != Some(if object { b'}' } else { b']' }) {
                        if object {
                            self.key(scratch)?;
                        }
                        continue;
                    }
                    self.at += 1;
                    objects >>= 1;
                    depth -= 1;
                }
                _ => {
                    self.value(scratch)?;
                }
            }
            // A value has ended: close what ends with it.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let object = objects & 1 == 1;
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        if object {
                            self.key(scratch)?;
                        }
                        break;
                    }
                    Some(b'}') if object => {}
                    Some(b']') if !object => {}
                    _ => return self.unexpected(if object { "',' or '}'" } else { "',' or ']'" }),
                }
                self.at += 1;
                objects >>= 1;
                depth -= 1;
            }
        }
    }

    /// A string; the cursor stands on its opening quote.
    #[inline]
    fn string<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Result<&'s [u8], Broken>
    where
        'a: 's,
    {
        self.at += 1;
        let start = self.at;
        self.at = end_of_plain(self.input, start);
        if self.byte() == Some(b'"') {
            let text = &self.input[start..self.at];
            self.at += 1;
            return Ok(text);
        }
        self.string_with_escapes(start, scratch)?;
        Ok(scratch)
    }

    #[cold]
    fn string_with_escapes(&mut self, start: usize, scratch: &mut Vec<u8>) -> Result<(), Broken> {
        scratch.clear();
        let mut plain = start;
        loop {
            scratch.extend_from_slice(self.since(plain));
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(scratch)?;
                }
                _ => return self.unexpected("the rest of a string"),
            }
            plain = self.at;
            self.at = end_of_plain(self.input, plain);
        }
    }

    /// One escape; the cursor stands behind the backslash.
    fn escape(&mut self, scratch: &mut Vec<u8>) -> Result<(), Broken> {
        let byte = match self.byte() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                self.at += 1;
                let character = self.unicode()?;
                scratch.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return self.unexpected("an escape"),
        };
        self.at += 1;
        scratch.push(byte);
        Ok(())
    }

    /// The character of `\uXXXX` or of a pair of surrogates; the cursor stands behind the `u`.
    fn unicode(&mut self) -> Result<char, Broken> {
        let at = self.at;
        let first = self.hex4()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            if !self.take(b"\\u") {
                return self.unexpected("the second surrogate");
            }
            let at = self.at;
            let second = self.hex4()?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(Broken::Unexpected { at, expected: "the second surrogate" });
            }
            0x1_0000 + ((first - 0xd800) << 10 | (second - 0xdc00))
        } else {
            first
        };
        char::from_u32(code).ok_or(Broken::Unexpected { at, expected: "a character" })
    }

    fn hex4(&mut self) -> Result<u32, Broken> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = self.byte().and_then(|byte| char::from(byte).to_digit(16)) else {
                return self.unexpected("four hexadecimal digits");
            };
            code = code << 4 | digit;
            self.at += 1;
        }
        Ok(code)
    }

    /// A number by the grammar of JSON; the cursor stands on its first byte.
    #[inline]
    pub fn number(&mut self) -> Result<Number<'a>, Broken> {
        let start = self.at;
        let negative = self.byte() == Some(b'-');
        if negative {
            self.at += 1;
        }
        let mut digits = 0;
        let whole = self.at;
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => digits = self.digits(0),
            _ => return self.unexpected("a digit"),
        }
        let mut count = self.at - whole;
        let mut integer = true;
        let mut fraction = 0;
        if self.byte() == Some(b'.') {
            integer = false;
            self.at += 1;
            let from = self.at;
            digits = self.digits(digits);
            fraction = self.at - from;
            count += fraction;
            if fraction == 0 {
                return self.unexpected("a digit");
            }
        }
        let mut exponent = 0;
        if let Some(b'e' | b'E') = self.byte() {
            integer = false;
            exponent = self.exponent()?;
        }
        Ok(Number { text: self.since(start), negative, digits, count, fraction, exponent, integer })
    }

    /// Appends the digits at the cursor to `value`, wrapping when there are too many.
    #[inline]
    fn digits(&mut self, mut value: u64) -> u64 {
        while let Some(chunk) = self.input.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let chunk = u64::from_le_bytes(*chunk);
            if !all_digits(chunk) {
                break;
            }
            value = value.wrapping_mul(100_000_000).wrapping_add(eight_digits(chunk));
            self.at += 8;
        }
        while let Some(digit @ b'0'..=b'9') = self.byte() {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        value
    }

    #[cold]
    fn exponent(&mut self) -> Result<i32, Broken> {
        self.at += 1;
        let negative = self.byte() == Some(b'-');
        if let Some(b'-' | b'+') = self.byte() {
            self.at += 1;
        }
        let from = self.at;
        let mut exponent: i32 = 0;
        while let Some(digit @ b'0'..=b'9') = self.byte() {
            exponent = (exponent * 10 + i32::from(digit - b'0')).min(MAX_EXPONENT);
            self.at += 1;
        }
        if self.at == from {
            return self.unexpected("a digit");
        }
        Ok(if negative { -exponent } else { exponent })
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The first byte from `at` on that ends a run of plain string bytes: a quote, a backslash, a control character
/// or the end of the input. Eight bytes at a time.
#[inline]
fn end_of_plain(input: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = input.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let chunk = u64::from_le_bytes(*chunk);
        let zero_byte = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
        let quote = zero_byte(chunk ^ (ONES * b'"' as u64));
        let backslash = zero_byte(chunk ^ (ONES * b'\\' as u64));
        let control = chunk.wrapping_sub(ONES * 0x20) & !chunk & HIGH;
        // A borrow can mark a byte falsely, but only behind a byte that is marked rightly: the first is exact.
        let marked = quote | backslash | control;
        if marked != 0 {
            return at + marked.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while input.get(at).is_some_and(|&byte| byte != b'"' && byte != b'\\' && byte >= 0x20) {
        at += 1;
    }
    at
}

/// True where all eight bytes are ASCII digits.
#[inline]
fn all_digits(chunk: u64) -> bool {
    let high = chunk & 0xf0f0_f0f0_f0f0_f0f0;
    let carried = chunk.wrapping_add(ONES * 6) & 0xf0f0_f0f0_f0f0_f0f0;
    high == ONES * 0x30 && carried == ONES * 0x30
}

/// The value of eight ASCII digits, the first in the lowest byte: pairs, then fours, then all eight.
#[inline]
fn eight_digits(chunk: u64) -> u64 {
    let ones = chunk - ONES * 0x30;
    let pairs = (ones * 10 + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours * 10_000 + (fours >> 32)) & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(text: &[u8]) -> Result<(), Broken> {
        let mut cursor = Cursor::new(text, 0);
        cursor.value(&mut Vec::new())?;
        match cursor.peek() {
            None => Ok(()),
            Some(_) => cursor.unexpected("the end"),
        }
    }

    fn string(text: &str) -> Option<String> {
        let mut scratch = Vec::new();
        match Cursor::new(text.as_bytes(), 0).value(&mut scratch) {
            Ok(Token::Text(text)) => Some(String::from_utf8(text.to_vec()).unwrap()),
            _ => None,
        }
    }

    /// `serde_json` refuses numbers beyond `f64`, which the grammar allows; its skipping takes any surrogates, which
    /// the grammar of characters forbids.
    fn accepted_by_serde(text: &[u8]) -> bool {
        serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
            && match serde_json::from_slice::<serde_json::Value>(text) {
                Ok(_) => true,
                Err(error) => error.to_string().starts_with("number out of range"),
            }
    }

    #[test]
    fn escapes_are_resolved() {
        assert_eq!(
            string(r#""a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00z""#).unwrap(),
            "a\"\\/\u{8}\u{c}\n\r\té😀z"
        );
        for text in
            [r#""\x""#, r#""\ud800""#, r#""\ud800\u0041""#, r#""\udc00""#, r#""\u12g4""#, "\"a\nb\"", "\"abc"]
        {
            assert_eq!(string(text), None, "{text}");
        }
    }

    #[test]
    fn patterns_of_every_length_are_found() {
        let input = b"abcdefghijklmnopqrstuvwxyz";
        for start in 0..input.len() {
            for end in start..input.len() {
                let mut text: Box<[u8]> = input[start..end].into();
                assert!(Cursor::new(input, start).take_pattern(&Pattern::new(text.clone())));
                if let Some(last) = text.last_mut() {
                    *last = b'!';
                    assert!(!Cursor::new(input, start).take_pattern(&Pattern::new(text)));
                }
            }
        }
        assert!(!Cursor::new(b"ab", 0).take_pattern(&Pattern::new((*b"abc").into())));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(value(nested(MAX_DEPTH).as_bytes()), Ok(()));
        assert_eq!(value(nested(MAX_DEPTH + 1).as_bytes()), Err(Broken::TooDeep { at: MAX_DEPTH }));
        assert_eq!(value(&[b'['; 1_000_000]), Err(Broken::TooDeep { at: MAX_DEPTH }));
    }

    #[test]
    fn the_grammar_is_that_of_serde_json() {
        for text in [
            "",
            " ",
            "null",
            "nul",
            "nulll",
            "true",
            "false",
            "True",
            "0",
            "-0",
            "-",
            "00",
            "01",
            "1.",
            ".1",
            "1.5e",
            "1e5",
            "1E+5",
            "1e-05",
            "+1",
            "0x1",
            "NaN",
            "Infinity",
            "[]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1,2]",
            "{}",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1 \"b\":2}",
            "{a:1}",
            "{\"a\":[{\"b\":{}}]}",
            "[}",
            "{]",
            "[[1],{\"a\":2}",
            "\"\u{7f}\"",
            "\"\t\"",
            "'a'",
            "[1]//",
            "/**/1",
            "\u{feff}1",
            "[\"a\",\"b\"]",
        ] {
            assert_eq!(value(text.as_bytes()).is_ok(), accepted_by_serde(text.as_bytes()), "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn random_text_is_accepted_as_by_serde_json(
            text in "([\\[\\]{},: ]|\"a\"|\"a\":|1|-2.5|1e7|0|true|null|\"\\\\u00e9\"|\n){0,12}"
        ) {
            prop_assert_eq!(value(text.as_bytes()).is_ok(), accepted_by_serde(text.as_bytes()));
        }

        #[test]
        fn damaged_text_is_accepted_as_by_serde_json(at in 0_usize..88, byte in 0_u8..128) {
            let mut text =
                br#"{"a": [1, -2.5e3, {"b\n": null, "c\ud83d\ude00": true}, "plain text"], "longer key": 1234567890}"#.to_vec();
            text[at] = byte;
            prop_assert_eq!(value(&text).is_ok(), accepted_by_serde(&text), "{}", String::from_utf8_lossy(&text));
        }

        #[test]
        fn every_string_is_read_back(text in any::<String>()) {
            prop_assert_eq!(string(&serde_json::to_string(&text).unwrap()), Some(text));
        }
    }
}
