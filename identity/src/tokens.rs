//! The tokens that a server knows, as its file has them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use polarway_common::config::Secret;
use polarway_common::{Caller, Error, ErrorKind, Namespace, Role};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// SHA-256 of a token. Tokens themselves are not kept.
pub type Digest = [u8; 32];

/// A shorter token may be guessed.
const SHORTEST: usize = 16;
const LONGEST_NAME: usize = 64;

/// Roots that paths in statements of a namespace may lead below, as directories and URL prefixes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Roots {
    /// To read.
    pub allowed: Vec<String>,
    pub writable: Vec<String>,
}

/// See the module's page.
pub struct Tokens {
    known: Vec<(Digest, Caller)>,
    roots: HashMap<Namespace, Arc<Roots>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.iter().map(|(_, caller)| caller)).finish()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Entry>,
    #[serde(default)]
    namespace: Vec<NamespaceEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamespaceEntry {
    name: String,
    #[serde(default)]
    allowed: Vec<String>,
    #[serde(default)]
    writable: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    role: Role,
    namespace: Option<String>,
    token: Option<Secret>,
    sha256: Option<Secret>,
}

impl Tokens {
    /// Reads the text of a file: a table `[[token]]` for each, with `name`, `role` (`read`, `write` or `admin`) and either
    /// `token` or `sha256`, its digest in hexadecimal digits, and with `namespace` where that is not `default`. Somebody may
    /// have several tokens, with one role and one namespace. A table `[[namespace]]` has a `name` and the roots that paths
    /// in its statements lead below: `allowed` to read, `writable`.
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
        let mut users: HashMap<String, Caller> = HashMap::new();
        let mut known: Vec<(Digest, Caller)> = vec![];
        for (at, entry) in file.token.into_iter().enumerate() {
            let (number, name) = (at + 1, entry.name.clone());
            let (digest, caller) = entry
                .read()
                .map_err(|told| fault(format!("the token {number} (`{}`) {told}", name.escape_default())))?;
            if known.iter().any(|(other, _)| *other == digest) {
                return Err(fault(format!("the token {number} (`{name}`) is there twice")));
            }
            let other = users.entry(name.clone()).or_insert_with(|| caller.clone());
            let (role, namespace) = (other.role(), other.namespace());
            if role != caller.role() {
                let told =
                    format!("`{name}` has the role `{role}` by one token and `{}` by another", caller.role());
                return Err(fault(told));
            }
            if namespace != caller.namespace() {
                let told = format!(
                    "`{name}` is in the namespace `{namespace}` by one token and in `{}` by another",
                    caller.namespace()
                );
                return Err(fault(told));
            }
            known.push((digest, caller));
        }
        Ok(Self { known, roots: roots(file.namespace)? })
    }

    /// Whether anybody is, or may reach files, in another namespace than `default`.
    pub fn has_namespaces(&self) -> bool {
        !self.roots.is_empty() || self.known.iter().any(|(_, caller)| !caller.namespace().is_default())
    }

    /// Where paths of a namespace may lead; nowhere without an entry.
    pub fn roots(&self, namespace: &Namespace) -> Option<Arc<Roots>> {
        self.roots.get(namespace).cloned()
    }

    /// Who has this token. All entries are compared, each in the same time, whichever of them it is.
    pub fn find(&self, digest: &Digest) -> Option<Caller> {
        let same = |known: &Digest| bool::from(known.ct_eq(digest));
        self.known
            .iter()
            .fold(None, |found, (known, caller)| if same(known) { Some(caller) } else { found })
            .cloned()
    }
}

impl Entry {
    fn read(self) -> Result<(Digest, Caller), String> {
        let Self { name, role, namespace, token, sha256 } = self;
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
        let namespace = match namespace {
            Some(name) => {
                Namespace::parse(&name).map_err(|error| format!("is refused: {}", error.message))?
            }
            None => Namespace::default(),
        };
        Ok((digest, Caller::new(name, role).of(namespace)))
    }
}

fn roots(entries: Vec<NamespaceEntry>) -> Result<HashMap<Namespace, Arc<Roots>>, Error> {
    let mut roots = HashMap::new();
    for (at, NamespaceEntry { name, allowed, writable }) in entries.into_iter().enumerate() {
        let place = format!("the namespace {} (`{}`)", at + 1, shown(&name.escape_default().to_string()));
        let namespace = Namespace::parse(&name)
            .map_err(|error| fault(format!("{place} is refused: {}", error.message)))?;
        if namespace.is_default() {
            let told =
                format!("{place}: what `default` reaches stands in `storage.allowed` and `storage.writable`");
            return Err(fault(told));
        }
        if roots.insert(namespace, Arc::new(Roots { allowed, writable })).is_some() {
            return Err(fault(format!("{place} is there twice")));
        }
    }
    Ok(roots)
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
    fn row_47_a_token_is_of_one_namespace_which_reaches_what_its_entry_names() {
        let text =
            format!("[[token]]\nname = 'ana'\nrole = 'write'\nnamespace = 'acme'\ntoken = '{SECRET}'\n");
        let (acme, beta) = (Namespace::parse("acme").unwrap(), Namespace::parse("beta").unwrap());
        assert_eq!(known(&text, SECRET), Some(Caller::new("ana", Role::Write).of(acme.clone())));
        let without = Tokens::parse(&text).unwrap();
        assert!(without.has_namespaces());
        assert_eq!(without.roots(&acme), None);
        let more = "[[namespace]]\nname = 'acme'\nallowed = ['s3://acme/', '/srv/acme']\n";
        let with = Tokens::parse(&format!("{text}{more}")).unwrap();
        let roots = Roots { allowed: vec!["s3://acme/".into(), "/srv/acme".into()], writable: vec![] };
        assert_eq!(with.roots(&acme).as_deref(), Some(&roots));
        assert_eq!((with.roots(&beta), with.roots(&Namespace::default())), (None, None));
        let plain =
            format!("[[token]]\nname = 'ana'\nrole = 'write'\nnamespace = 'default'\ntoken = '{SECRET}'\n");
        assert_eq!(known(&plain, SECRET), Some(Caller::new("ana", Role::Write)));
        assert!(!Tokens::parse(&plain).unwrap().has_namespaces());
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
            (entry(&format!("namespace = 'Acme Inc'\n{twice}")), "lower-case letters"),
            (
                format!(
                    "{}{}",
                    entry(&twice),
                    entry("role = 'read'\nnamespace = 'acme'\ntoken = 'another-one-0123456789'\n")
                ),
                "namespace `default` by one token and in `acme` by another",
            ),
            (format!("{}[[namespace]]\nname = 'default'\n", entry(&twice)), "`storage.allowed`"),
            (format!("{}[[namespace]]\nname = 'a b'\n", entry(&twice)), "the namespace 1"),
            (format!("{0}{1}{1}", entry(&twice), "[[namespace]]\nname = 'acme'\n"), "is there twice"),
            (format!("{}[[namespace]]\nname = 'acme'\nallow = []\n", entry(&twice)), "allow"),
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
