//! `polarway config`: what the servers would run with.

use polarway_common::{Config, Error};
use toml::Table;

use crate::args::{ConfigArgs, GlobalArgs};
use crate::terminal;

/// Prints the configuration in effect, or every key with its default; secrets show as `***`.
pub async fn run(args: &ConfigArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let text = if args.keys { keys()? } else { global.load(vec![])?.to_toml()? };
    // A reader that has gone away (`| head`) is content.
    let _ = terminal::print(&text);
    Ok(0)
}

fn keys() -> Result<String, Error> {
    let defaults: Table = Config::default()
        .to_toml()?
        .parse()
        .map_err(|error| Error::internal(format!("the default configuration does not read back: {error}")))?;
    let keys = Config::keys()?;
    let width = keys.iter().map(String::len).max().unwrap_or(0);
    Ok(keys
        .iter()
        .map(|key| {
            let default = value_of(&defaults, key).unwrap_or_else(|| "(not set)".to_owned());
            format!("{key:width$} = {default}\n")
        })
        .collect())
}

fn value_of(table: &Table, key: &str) -> Option<String> {
    match key.split_once('.') {
        None => table.get(key).map(toml::Value::to_string),
        Some((section, rest)) => value_of(table.get(section)?.as_table()?, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_listed_with_its_default() {
        let text = keys().unwrap();
        assert_eq!(text.lines().count(), Config::keys().unwrap().len());
        let line =
            |key: &str| text.lines().find(|line| line.starts_with(&format!("{key} "))).unwrap().to_owned();
        assert!(line("scheduler.listen").ends_with("= \"127.0.0.1:50051\""));
        assert!(line("query.timeout").ends_with("= (not set)"));
        assert!(line("storage.s3.allow_http").ends_with("= false"));
    }
}
