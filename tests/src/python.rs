//! Python environments with packages of a fixed version, made once a machine.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::Command;

use crate::{binary, tpch};

/// The interpreter of an environment that holds the packages of `tests/python/<requirements>`.
pub fn with(requirements: &str) -> PathBuf {
    let requirements = script(requirements);
    let mut hasher = DefaultHasher::new();
    std::fs::read_to_string(&requirements).unwrap().hash(&mut hasher);
    let environment = tpch::made_once(&format!("python-{:016x}", hasher.finish()), |directory| {
        let run = |program: &str, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).status();
            let status = status
                .unwrap_or_else(|error| panic!("{program}: {error}; the test needs Python 3 with venv"));
            assert!(status.success(), "{program} {arguments:?}: {status}");
        };
        let directory = directory.to_str().unwrap();
        run("python3", &["-m", "venv", directory]);
        let requirements = requirements.to_str().unwrap();
        let pip =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements];
        run(&format!("{directory}/bin/python"), &pip);
    });
    environment.join("bin/python")
}

/// Runs a program to its end and shows what it told. One that fails fails the test.
pub fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?}\n{told}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("{told}");
}

/// The path of `tests/python/<name>`.
pub fn script(name: &str) -> PathBuf {
    binary::repository().join("tests/python").join(name)
}
