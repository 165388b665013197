//! The name that a process keeps over restarts.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use polarway_common::{Error, ErrorKind};
use uuid::Uuid;

const FILE: &str = "node";

/// The name of the process whose logs are in `logs`: the one that was kept there, or `wanted`, or a new one. It goes with
/// the logs, since whoever has them has the rows that are nowhere else.
///
/// # Errors
/// `Configuration` when the directory cannot be used, or when its logs are another process's.
pub fn node_name(logs: &Path, wanted: Option<&str>) -> Result<String, Error> {
    let fault = |error: io::Error| {
        Error::new(ErrorKind::Configuration, format!("cannot use `{}` for logs: {error}", logs.display()))
    };
    fs::create_dir_all(logs).map_err(fault)?;
    let path = logs.join(FILE);
    let kept = match fs::read_to_string(&path) {
        Ok(text) => text.trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = wanted.map_or_else(|| format!("ingest-{}", Uuid::now_v7().simple()), str::to_owned);
            let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(fault)?;
            file.write_all(name.as_bytes()).and_then(|()| file.sync_all()).map_err(fault)?;
            name
        }
        Err(error) => return Err(fault(error)),
    };
    match wanted {
        Some(wanted) if wanted != kept => Err(Error::new(
            ErrorKind::Configuration,
            format!("the logs in `{}` are those of `{kept}` and not of `{wanted}`", logs.display()),
        )
        .with_hint(
            "set `executor.name` to the name they had, or `ingest.log_directory` to another directory",
        )),
        _ => Ok(kept),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_with_its_logs() {
        let directory = tempfile::tempdir().unwrap();
        let made = node_name(directory.path(), None).unwrap();
        assert_eq!(node_name(directory.path(), None).unwrap(), made);
        assert_eq!(node_name(directory.path(), Some(&made)).unwrap(), made);
        let other = node_name(directory.path(), Some("other")).unwrap_err();
        assert_eq!(other.kind, ErrorKind::Configuration);
        assert_eq!(node_name(&directory.path().join("a/b"), Some("ingest-0")).unwrap(), "ingest-0");
    }
}
