//! What a sender can hand to a query so that it sees the sender's rows or fails.

use std::fmt;
use std::str::FromStr;

/// All rows of a stream before a place. Written `STREAM:PLACE`, the stream's identity and a decimal number; several are
/// separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadToken {
    /// Identity of the stream: another one of the same name has another.
    pub stream: String,
    /// The place after the last row.
    pub place: u64,
}

/// A text that is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenError(String);

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no token of an acknowledgement", self.0)
    }
}

impl std::error::Error for TokenError {}

impl fmt::Display for ReadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.stream, self.place)
    }
}

impl FromStr for ReadToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let parsed = || {
            let (stream, place) = text.split_once(':')?;
            let named = !stream.is_empty() && stream.bytes().all(|byte| byte.is_ascii_graphic());
            let counted = place.bytes().all(|byte| byte.is_ascii_digit());
            (named && counted).then_some(())?;
            Some(Self { stream: stream.to_owned(), place: place.parse().ok()? })
        };
        parsed().ok_or_else(|| TokenError(text.to_owned()))
    }
}

/// A list of tokens, as a setting holds it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadTokens(Vec<ReadToken>);

impl ReadTokens {
    /// The place up to which rows of `stream` have to be there; none when any will do.
    pub fn place(&self, stream: &str) -> Option<u64> {
        self.0.iter().filter(|token| token.stream == stream).map(|token| token.place).max()
    }
}

impl FromStr for ReadTokens {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        text.split(',').map(|token| token.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_the_farthest_of_several_counts() {
        let token = ReadToken { stream: "0193-ab".into(), place: 17 };
        assert_eq!(token.to_string().parse(), Ok(token));
        let tokens: ReadTokens = "a:3, b:9,a:7".parse().unwrap();
        assert_eq!([tokens.place("a"), tokens.place("b"), tokens.place("c")], [Some(7), Some(9), None]);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "a", "a:", ":3", "a:-3", "a:+3", "a:3.0", "a b:3", "a:3,", "a:99999999999999999999"]
        {
            assert!(text.parse::<ReadTokens>().is_err(), "{text}");
        }
    }
}
