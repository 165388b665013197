//! JSON pointers (RFC 6901).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many steps a pointer may have: they are walked by recursion.
const MAX_STEPS: usize = 16;

/// A place in a JSON value; without steps it is the whole value.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pointer(Vec<String>);

/// A text that is no pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PointerError {
    NoSlash(String),
    Escape(String),
    TooLong(String),
}

impl fmt::Display for PointerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlash(text) => write!(f, "`{text}` is no JSON pointer: it has to begin with `/`"),
            Self::Escape(text) => write!(f, "`{text}` is no JSON pointer: after `~` comes 0 or 1"),
            Self::TooLong(text) => write!(f, "`{text}` has more than {MAX_STEPS} steps"),
        }
    }
}

impl std::error::Error for PointerError {}

impl Pointer {
    /// To the field with this name.
    #[must_use]
    pub fn to_field(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }

    /// Keys and indexes from the outermost on, escapes resolved.
    #[must_use]
    pub fn steps(&self) -> &[String] {
        &self.0
    }
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let Some(steps) = text.strip_prefix('/') else { return Err(PointerError::NoSlash(text.to_owned())) };
        let steps: Vec<String> = steps
            .split('/')
            .map(|step| unescaped(step).ok_or_else(|| PointerError::Escape(text.to_owned())))
            .collect::<Result<_, _>>()?;
        if steps.len() > MAX_STEPS {
            return Err(PointerError::TooLong(text.to_owned()));
        }
        Ok(Self(steps))
    }
}

fn unescaped(step: &str) -> Option<String> {
    let mut parts = step.split('~');
    let mut whole = parts.next()?.to_owned();
    for part in parts {
        let (character, rest) = match part.as_bytes().first()? {
            b'0' => ('~', &part[1..]),
            b'1' => ('/', &part[1..]),
            _ => return None,
        };
        whole.push(character);
        whole.push_str(rest);
    }
    Some(whole)
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "/{}", step.replace('~', "~0").replace('/', "~1")))
    }
}

impl TryFrom<String> for Pointer {
    type Error = PointerError;

    fn try_from(text: String) -> Result<Self, PointerError> {
        text.parse()
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> Self {
        pointer.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_unescaped_and_escaped_again() {
        let pointer: Pointer = "/a~1b/m~0n/0/".parse().unwrap();
        assert_eq!(pointer.steps(), ["a/b", "m~n", "0", ""]);
        assert_eq!(pointer.to_string(), "/a~1b/m~0n/0/");
        assert_eq!("".parse(), Ok(Pointer::default()));
        assert_eq!(Pointer::to_field("a/~").to_string(), "/a~1~0");
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        assert_eq!("a".parse::<Pointer>(), Err(PointerError::NoSlash("a".into())));
        assert_eq!("/a~2".parse::<Pointer>(), Err(PointerError::Escape("/a~2".into())));
        assert_eq!("/a~".parse::<Pointer>(), Err(PointerError::Escape("/a~".into())));
        assert!("/a".repeat(17).parse::<Pointer>().is_err());
    }
}
