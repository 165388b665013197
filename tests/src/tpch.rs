//! TPC-H: data made once a machine, and the 22 queries.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::compare::Order;
use crate::session::Session;
use crate::{binary, process};

pub const TABLES: [&str; 8] =
    ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"];

/// The directory of the data at this scale; each large table has four files.
pub fn data(scale_factor: &str) -> PathBuf {
    some_data(scale_factor, &[])
}

/// The same with some of the tables only.
pub fn some_data(scale_factor: &str, tables: &[&str]) -> PathBuf {
    made_once(&format!("tpch-{scale_factor}{}", tables.concat()), |directory| {
        let output = directory.display().to_string();
        let mut arguments =
            vec!["tpch", "--scale-factor", scale_factor, "--parts", "4", "--output", output.as_str()];
        arguments.extend(tables.iter().flat_map(|table| ["--table", table]));
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let made = process::command(&arguments, &[]).stdout(Stdio::null()).status().unwrap();
        assert!(made.success(), "polarway tpch: {made}");
    })
}

/// The cached directory `name`, made by `make` unless another test process has done it.
pub fn made_once(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let cache = binary::cache_dir();
    let finished = cache.join(name);
    let lock = File::create(cache.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if !finished.exists() {
        let unfinished = cache.join(format!("{name}.unfinished"));
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).unwrap();
        }
        make(&unfinished);
        std::fs::rename(&unfinished, &finished).unwrap();
    }
    finished
}

/// Creates the eight tables over `directory`.
pub async fn create_tables(session: &Session, directory: &Path) {
    for table in TABLES {
        let location = directory.join(table);
        session
            .ok(&format!(
                "CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{}/'",
                location.display()
            ))
            .await;
    }
}

/// The text of query 1 to 22.
pub fn query(number: usize) -> String {
    let path = binary::repository().join(format!("examples/tpch/q{number:02}.sql"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The columns that query's result is sorted by.
pub fn order(number: usize) -> Order<'static> {
    let keys: &[usize] = match number {
        1 => &[0, 1],
        2 => &[0, 2, 1, 3],
        3 => &[1, 2],
        4 | 8 | 12 | 15 | 20 | 22 => &[0],
        5 | 11 => &[1],
        7 => &[0, 1, 2],
        9 => &[0, 1],
        10 => &[2],
        13 => &[1, 0],
        16 => &[3, 0, 1, 2],
        18 => &[4, 3],
        21 => &[1, 0],
        _ => return Order::None,
    };
    Order::By(keys)
}
