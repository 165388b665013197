//! Lays one source of settings over another.
//!
//! All layers are written into one TOML tree. Each value is tried on its own, in an otherwise default
//! configuration, before it goes in: so a wrong value is reported with its key and source, and the finished tree
//! always fits the structs.

use std::fmt;

use toml::{Table, Value};

use super::Config;
use super::keys::{Keys, Shape, is_secret, join};
use super::secret::REDACTED;
use crate::error::{Error, ErrorKind, Result};

const ENV_PREFIX: &str = "POLARWAY_";

/// Variables that are read elsewhere and are no settings.
const RESERVED: [&str; 7] = [
    "POLARWAY_CONFIG",
    "POLARWAY_ENDPOINT",
    "POLARWAY_BIN",
    "POLARWAY_HISTORY",
    "POLARWAY_TOKEN",
    "POLARWAY_TOKEN_FILE",
    "POLARWAY_TLS_CA",
];

enum Source<'a> {
    File(&'a str),
    Environment,
    Flag,
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(name) => write!(f, "in {name}"),
            Source::Environment => f.write_str("in the environment"),
            Source::Flag => f.write_str("on the command line"),
        }
    }
}

impl Source<'_> {
    /// How somebody who writes to this source names a key.
    fn name_of(&self, key: &str) -> String {
        match self {
            Source::Environment => env_name(key),
            Source::File(_) | Source::Flag => key.to_owned(),
        }
    }
}

pub(super) struct Layers {
    keys: Keys,
    defaults: Table,
    tree: Table,
}

impl Layers {
    pub(super) fn over(defaults: Config) -> Result<Self> {
        let keys = Keys::of(&defaults)?;
        let tree = Table::try_from(&defaults)
            .map_err(|error| Error::internal(format!("cannot lay out the default configuration: {error}")))?;
        Ok(Self { keys, defaults: tree.clone(), tree })
    }

    pub(super) fn apply_file(&mut self, name: &str, text: &str) -> Result<()> {
        let table = text.parse::<Table>().map_err(|error| {
            // The error's own text shows the line, which may hold a secret.
            let place = error.span().map_or_else(String::new, |span| place_of(text, span.start));
            invalid(format!("{name}{place} is not valid TOML: {}", error.message()))
        })?;
        self.apply_table("", table, &Source::File(name))
    }

    fn apply_table(&mut self, section: &str, table: Table, source: &Source<'_>) -> Result<()> {
        for (name, value) in table {
            let key = join(section, &name);
            match value {
                Value::Table(inner) if self.keys.is_section(&key) => self.apply_table(&key, inner, source)?,
                Value::Table(_) if self.keys.shape(&key).is_none() => {
                    return Err(unknown("section", &key, source, self.keys.nearest_section(&key)));
                }
                _ if self.keys.is_section(&key) => {
                    return Err(invalid(format!(
                        "`{key}` {source} is a section, written [{key}], and has no value"
                    )));
                }
                value => self.set(&key, value, source)?,
            }
        }
        Ok(())
    }

    pub(super) fn apply_env(&mut self, env: &[(String, String)]) -> Result<()> {
        for (name, text) in env {
            if !name.starts_with(ENV_PREFIX) || RESERVED.contains(&name.as_str()) {
                continue;
            }
            let key = name[ENV_PREFIX.len()..].replace("__", ".").to_lowercase();
            if self.keys.shape(&key).is_none() || env_name(&key) != *name {
                let nearest = self.keys.nearest(&key).map(env_name);
                return Err(unknown("variable", name, &Source::Environment, nearest.as_deref()));
            }
            self.set_text(&key, text, &Source::Environment)?;
        }
        Ok(())
    }

    pub(super) fn apply_flags(&mut self, flags: &[(String, String)]) -> Result<()> {
        flags.iter().try_for_each(|(key, text)| self.set_text(key, text, &Source::Flag))
    }

    pub(super) fn finish(self) -> Result<Config> {
        Value::Table(self.tree).try_into().map_err(|error: toml::de::Error| {
            invalid(format!("the configuration is not valid: {}", error.message()))
        })
    }

    /// Reads a text as what the key takes and sets it.
    fn set_text(&mut self, key: &str, text: &str, source: &Source<'_>) -> Result<()> {
        let value = match self.keys.shape(key) {
            Some(Shape::Integer) => text.trim().parse().ok().map(Value::Integer),
            Some(Shape::Number) => text.trim().parse().ok().map(Value::Float),
            Some(Shape::Boolean) => text.trim().parse().ok().map(Value::Boolean),
            Some(Shape::List) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Some(Value::Array(parts.map(|part| Value::String(part.to_owned())).collect()))
            }
            Some(Shape::Text) | None => Some(Value::String(text.to_owned())),
        };
        // What does not parse is passed on as the text it is, to be refused like any value of a wrong type.
        self.set(key, value.unwrap_or_else(|| Value::String(text.to_owned())), source)
    }

    fn set(&mut self, key: &str, value: Value, source: &Source<'_>) -> Result<()> {
        let Some(shape) = self.keys.shape(key) else {
            return Err(unknown("key", key, source, self.keys.nearest(key)));
        };
        let mut trial = self.defaults.clone();
        insert(&mut trial, key, value.clone());
        let fault = if is_blank(&value) {
            Some("it must not be empty".to_owned())
        } else if is_secret(key) && value.as_str() == Some(REDACTED) {
            Some("this is how a printed configuration hides the secret; write the secret itself".to_owned())
        } else {
            let outcome: Result<Config, toml::de::Error> = Value::Table(trial).try_into();
            outcome.err().map(|error| expectation(key, shape, error.message()))
        };
        if let Some(fault) = fault {
            let shown = if is_secret(key) { REDACTED.to_owned() } else { shown(&value) };
            let name = source.name_of(key);
            return Err(invalid(format!("`{name}` {source} has the value `{shown}`: {fault}")));
        }
        insert(&mut self.tree, key, value);
        Ok(())
    }
}

fn expectation(key: &str, shape: Shape, message: &str) -> String {
    match shape {
        Shape::Integer => "expected a whole number that is not negative, such as 4".to_owned(),
        Shape::Number => "expected a number such as 0.01".to_owned(),
        Shape::Boolean => "expected true or false".to_owned(),
        Shape::List => "expected a list of texts; in the file [\"a\", \"b\"], elsewhere a,b".to_owned(),
        Shape::Text if is_secret(key) => "expected a text".to_owned(),
        Shape::Text => message.trim_end().to_owned(),
    }
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::String(text) => text.trim().is_empty(),
        Value::Array(values) => values.iter().any(is_blank),
        _ => false,
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "__").to_uppercase())
}

fn place_of(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    format!(", line {line}, column {column},")
}

fn unknown(what: &str, name: &str, source: &Source<'_>, nearest: Option<&str>) -> Error {
    let suggestion = nearest.map_or_else(String::new, |nearest| format!(", did you mean `{nearest}`?"));
    invalid(format!("unknown {what} `{name}` {source}{suggestion}"))
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Configuration, message)
}
