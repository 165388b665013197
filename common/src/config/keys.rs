//! The names that settings have, derived from the structs, and the nearest to one that is not among them.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::Config;
use crate::error::{Error, Result};

/// The form of a key's value in TOML, which decides how a text from the environment or a flag is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Integer,
    /// With a fraction or without.
    Number,
    Boolean,
    List,
}

/// Keys without a default value, which the default configuration therefore does not show.
const OPTIONAL: [(&str, Shape); 45] = [
    ("admission.max_running", Shape::Integer),
    ("executor.advertise_host", Shape::Text),
    ("executor.http_listen", Shape::Text),
    ("executor.memory_limit", Shape::Text),
    ("executor.name", Shape::Text),
    ("executor.slots", Shape::Integer),
    ("executor.work_dir", Shape::Text),
    ("identity.process_secret", Shape::Text),
    ("identity.tokens", Shape::Text),
    ("ingest.certificates", Shape::Text),
    ("ingest.connection_rate", Shape::Text),
    ("ingest.directory", Shape::Text),
    ("ingest.listen", Shape::Text),
    ("ingest.log_directory", Shape::Text),
    ("ingest.secrets", Shape::Text),
    ("metastore.ca", Shape::Text),
    ("metastore.certificate", Shape::Text),
    ("metastore.key", Shape::Text),
    ("metastore.password", Shape::Text),
    ("metastore.password_file", Shape::Text),
    ("metastore.user", Shape::Text),
    ("query.memory_limit", Shape::Text),
    ("query.per_query_memory", Shape::Text),
    ("query.spill_dir", Shape::Text),
    ("query.target_partitions", Shape::Integer),
    ("query.timeout", Shape::Text),
    ("scheduler.advertise_host", Shape::Text),
    ("scheduler.ticket_secret", Shape::Text),
    ("shuffle.mode", Shape::Text),
    ("shuffle.url", Shape::Text),
    ("storage.s3.access_key_id", Shape::Text),
    ("storage.s3.ca", Shape::Text),
    ("storage.s3.endpoint", Shape::Text),
    ("storage.s3.region", Shape::Text),
    ("storage.s3.secret_access_key", Shape::Text),
    ("storage.s3.session_token", Shape::Text),
    ("storage.tables", Shape::Text),
    ("telemetry.otlp_endpoint", Shape::Text),
    ("telemetry.slow_query", Shape::Text),
    ("tls.ca", Shape::Text),
    ("tls.certificate", Shape::Text),
    ("tls.key", Shape::Text),
    ("tls.public_certificate", Shape::Text),
    ("tls.public_key", Shape::Text),
    ("zone", Shape::Text),
];

/// Keys whose value no message may show.
const SECRET: [&str; 5] = [
    "identity.process_secret",
    "metastore.password",
    "scheduler.ticket_secret",
    "storage.s3.secret_access_key",
    "storage.s3.session_token",
];

/// All keys and sections.
#[derive(Debug)]
pub(super) struct Keys {
    shapes: BTreeMap<String, Shape>,
    sections: BTreeSet<String>,
}

impl Keys {
    pub(super) fn of(defaults: &Config) -> Result<Self> {
        let tree = Table::try_from(defaults)
            .map_err(|error| Error::internal(format!("cannot list the configuration's keys: {error}")))?;
        let mut keys = Self { shapes: BTreeMap::new(), sections: BTreeSet::new() };
        keys.collect("", &tree);
        keys.shapes.extend(OPTIONAL.map(|(key, shape)| (key.to_owned(), shape)));
        Ok(keys)
    }

    fn collect(&mut self, section: &str, table: &Table) {
        for (name, value) in table {
            let key = join(section, name);
            let shape = match value {
                Value::Table(inner) => {
                    self.collect(&key, inner);
                    self.sections.insert(key);
                    continue;
                }
                Value::Integer(_) => Shape::Integer,
                Value::Boolean(_) => Shape::Boolean,
                Value::Array(_) => Shape::List,
                Value::Float(_) => Shape::Number,
                Value::String(_) | Value::Datetime(_) => Shape::Text,
            };
            self.shapes.insert(key, shape);
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.shapes.keys().map(String::as_str)
    }

    pub(super) fn shape(&self, key: &str) -> Option<Shape> {
        self.shapes.get(key).copied()
    }

    pub(super) fn is_section(&self, key: &str) -> bool {
        self.sections.contains(key)
    }

    /// The key that was probably meant: one that is spelt nearly so, or one of (nearly) that name in another
    /// section.
    pub(super) fn nearest(&self, unknown: &str) -> Option<&str> {
        nearest(unknown, self.names(), |name| name).or_else(|| nearest(last(unknown), self.names(), last))
    }

    /// The section that was probably meant.
    pub(super) fn nearest_section(&self, unknown: &str) -> Option<&str> {
        nearest(unknown, self.sections.iter().map(String::as_str), |name| name)
    }
}

pub(super) fn is_secret(key: &str) -> bool {
    SECRET.contains(&key)
}

pub(super) fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

fn last(key: &str) -> &str {
    key.rsplit_once('.').map_or(key, |(_, name)| name)
}

/// The candidate whose `part` differs least from `unknown`, unless more than a third of it differs.
fn nearest<'a>(
    unknown: &str,
    candidates: impl Iterator<Item = &'a str>,
    part: impl Fn(&'a str) -> &'a str,
) -> Option<&'a str> {
    let tolerated = (unknown.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(unknown, part(candidate)), candidate))
        .filter(|(distance, _)| *distance <= tolerated)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
