//! The tokens that a server knows, as its file has them.

use std::collections::HashMap;
use std::fmt;

use polarway_common::config::Secret;
use polarway_common::{Caller, Error, ErrorKind, Role};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// SHA-256 of a token. Tokens themselves are not kept.
pub type Digest = [u8; 32];

/// A shorter token may be guessed.
const SHORTEST: usize = 16;
const LONGEST_NAME: usize = 64;

/// See the module's page.
pub struct Tokens(Vec<(Digest, Caller)>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(_, caller)| caller)).finish()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    role: Role,
    token: Option<Secret>,
    sha256: Option<Secret>,
}

impl Tokens {
    /// Reads the text of a file: a table `[[token]]` for each, with `name`, `role` (`read`, `write` or `admin`) and either
    /// `token` or `sha256`, its digest in hexadecimal digits. Somebody may have several tokens, with one role.
    ///
    /// # Errors
    /// `Configuration` that names the place. It shows nothing of a token.
    pub fn parse(text: &str) -> Result<Self, Error> {
        // The error's own text shows the line that it is about.
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map(|span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
            let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            fault(format!("{place}{}", shown(error.message())))
        })?;
        if file.token.is_empty() {
            return Err(fault("there is no `[[token]]` in it, so that nobody could call".to_owned()));
        }
        let mut roles: HashMap<String, Role> = HashMap::new();
        let mut known: Vec<(Digest, Caller)> = vec![];
        for (at, entry) in file.token.into_iter().enumerate() {
            let (number, name) = (at + 1, entry.name.clone());
            let (digest, caller) = entry
                .read()
                .map_err(|told| fault(format!("the token {number} (`{}`) {told}", name.escape_default())))?;
            if known.iter().any(|(other, _)| *other == digest) {
                return Err(fault(format!("the token {number} (`{name}`) is there twice")));
            }
            let role = *roles.entry(name.clone()).or_insert(caller.role());
            if role != caller.role() {
                let told =
                    format!("`{name}` has the role `{role}` by one token and `{}` by another", caller.role());
                return Err(fault(told));
            }
            known.push((digest, caller));
        }
        Ok(Self(known))
    }

    /// Who has this token. All entries are compared, each in the same time, whichever of them it is.
    pub fn find(&self, digest: &Digest) -> Option<Caller> {
        let same = |known: &Digest| bool::from(known.ct_eq(digest));
        self.0
            .iter()
            .fold(None, |found, (known, caller)| if same(known) { Some(caller) } else { found })
            .cloned()
    }
}

impl Entry {
    fn read(self) -> Result<(Digest, Caller), String> {
        let Self { name, role, token, sha256 } = self;
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(in_name) {
            return Err(format!(
                "needs a name of 1 to {LONGEST_NAME} letters, digits, `.`, `_`, `@` and `-`"
            ));
        }
        let digest = match (token, sha256) {
            (Some(token), None) => {
                let token = token.expose();
                if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(format!("must have {SHORTEST} visible ASCII characters or more"));
                }
                digest(token.as_bytes())
            }
            (None, Some(text)) => from_hexadecimal(text.expose())
                .ok_or_else(|| "needs 64 hexadecimal digits as its `sha256`".to_owned())?,
            _ => return Err("needs either `token` or `sha256`".to_owned()),
        };
        Ok((digest, Caller::new(name, role)))
    }
}

pub(crate) fn digest(token: &[u8]) -> Digest {
    Sha256::digest(token).into()
}

fn from_hexadecimal(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    if text.len() != 2 * digest.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

/// What the parser says, without what it quotes, where that could be a token.
fn shown(message: &str) -> String {
    let parts = message.split(['"', '`', '\'']).enumerate();
    let shown = parts.map(|(at, part)| match at % 2 {
        1 if part.len() < SHORTEST => format!("`{part}`"),
        1 => "`…`".to_owned(),
        _ if part.split_whitespace().any(|word| word.len() >= SHORTEST) => "…".to_owned(),
        _ => part.to_owned(),
    });
    shown.collect()
}

fn fault(told: String) -> Error {
    Error::new(ErrorKind::Configuration, told)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "a-token-of-ana-0123456789";

    fn known(text: &str, token: &str) -> Option<Caller> {
        Tokens::parse(text).unwrap().find(&digest(token.as_bytes()))
    }

    #[test]
    fn row_47_a_token_is_found_by_its_text_and_by_its_digest() {
        let text = format!("[[token]]\nname = 'ana'\nrole = 'write'\ntoken = '{SECRET}'\n");
        assert_eq!(known(&text, SECRET), Some(Caller::new("ana", Role::Write)));
        assert_eq!(known(&text, "a-token-of-ana-012345678"), None);
        assert_eq!(known(&text, ""), None);
        let hexadecimal: String =
            digest(SECRET.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!("[[token]]\nname = 'root'\nrole = 'admin'\nsha256 = '{hexadecimal}'\n");
        assert_eq!(known(&text, SECRET), Some(Caller::new("root", Role::Admin)));
        assert_eq!(known(&text, &hexadecimal), None);
        assert!(!format!("{:?}", Tokens::parse(&text).unwrap()).contains(&hexadecimal));
    }

    #[test]
    fn row_47_a_wrong_file_is_refused_without_showing_a_token() {
        let entry = |rest: &str| format!("[[token]]\nname = 'ana'\n{rest}");
        let twice = format!("role = 'read'\ntoken = '{SECRET}'\n");
        let cases = [
            (String::new(), "no `[[token]]`"),
            (entry("role = 'read'\n"), "either `token` or `sha256`"),
            (
                entry(&format!("role = 'read'\ntoken = '{SECRET}'\nsha256 = 'x'\n")),
                "either `token` or `sha256`",
            ),
            (entry(&format!("role = 'root'\ntoken = '{SECRET}'\n")), "line 3"),
            (entry(&format!("role = 'read'\ntokn = '{SECRET}'\n")), "tokn"),
            (entry("role = 'read'\ntoken = 'short'\n"), "16 visible"),
            (entry("role = 'read'\ntoken = 'with space 0123456789'\n"), "16 visible"),
            (entry("role = 'read'\nsha256 = 'abc'\n"), "64 hexadecimal"),
            (format!("[[token]]\nname = ''\n{twice}"), "needs a name"),
            (format!("[[token]]\nname = 'a b'\n{twice}"), "needs a name"),
            (format!("{0}{0}", entry(&twice)), "is there twice"),
            (
                format!("{}{}", entry(&twice), entry("role = 'admin'\ntoken = 'another-one-0123456789'\n")),
                "`read` by one token and `admin` by another",
            ),
            (format!("token = \"{SECRET}\"\n"), "line 1"),
            (format!("[[token]]\nname = 'ana' {SECRET}\n"), "line 2"),
            (format!("[[token]]\nname = {SECRET}\n"), "line 2"),
        ];
        for (text, told) in cases {
            let error = Tokens::parse(&text).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Configuration);
            assert!(error.message.contains(told), "`{told}` is missing in: {error}");
            assert!(!error.to_string().contains("0123456789"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn row_47_no_text_shows_the_token_that_is_in_it(before in "[\\[\\]a-z='\" \n]{0,40}", after in "[a-z='\" \n]{0,40}") {
            if let Err(error) = Tokens::parse(&format!("{before}{SECRET}{after}")) {
                prop_assert!(!error.to_string().contains(SECRET), "{error}");
            }
        }
    }
}
