//! What is measured. Each module starts its engines, measures them in turn, and states what the figures mean.

pub mod beside;
mod cases;
pub mod concurrency;
pub mod fetch;
pub mod files;
pub mod guests;
pub mod live;
pub mod memory;
pub mod small;
pub mod staged;
pub mod telemetry;
pub mod tls;
pub mod tpch;

use std::fmt;
use std::io::Write;
use std::path::Path;

use crate::cli::RunArgs;
use crate::data::Store;
use crate::engines::{Engine, Launcher};
use crate::failure::Result;
use crate::record::{EngineRecord, ProcessPeak, SuiteRecord};

/// Files of each TPC-H table.
const PARTS: usize = 4;

/// What every suite needs.
#[derive(Debug)]
pub struct Bench {
    pub launcher: Launcher,
    pub store: Store,
    pub args: RunArgs,
}

/// Tells the person at the terminal what goes on.
pub fn note(line: impl fmt::Display) {
    // Progress is a courtesy: with standard error closed the run goes on.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Makes Parquet at `path` a table of every engine. One that refuses is absent from then on.
async fn table(engines: &mut [Engine], name: &str, path: &Path) {
    for engine in engines.iter_mut().filter(|engine| engine.absent().is_none()) {
        if let Err(failure) = engine.table(name, path).await {
            note(format_args!("{}: {failure}", engine.name()));
        }
    }
}

/// Says of each engine that did not start why not.
fn announce(engines: &[Engine]) {
    for engine in engines {
        if let Some(failure) = engine.absent() {
            note(format_args!("{} is not measured: {failure}", engine.name()));
        }
    }
}

/// Ends all engines.
async fn stop(engines: Vec<Engine>) -> Result<Vec<EngineRecord>> {
    let mut records = Vec::with_capacity(engines.len());
    for engine in engines {
        records.push(engine.stop().await?);
    }
    Ok(records)
}

/// Peaks of the engine called `name` over the whole suite.
fn peaks(record: &SuiteRecord, name: &str) -> Vec<ProcessPeak> {
    record.engine(name).map(|engine| engine.processes.clone()).unwrap_or_default()
}
