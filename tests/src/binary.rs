//! Where the binary under test and the test data are.

use std::env;
use std::path::PathBuf;

/// The `polarway` binary: `POLARWAY_BIN`, or the one that was built into the directory of this test.
pub fn polarway() -> PathBuf {
    if let Some(path) = env::var_os("POLARWAY_BIN").map(PathBuf::from) {
        assert!(path.is_file(), "POLARWAY_BIN names {}, which is no file", path.display());
        return path;
    }
    let path = profile_dir().join("polarway");
    assert!(
        path.is_file(),
        "{} is not there: build it with `cargo build --workspace`, or name another by POLARWAY_BIN",
        path.display()
    );
    path
}

/// The native part of the Python package, which `cargo build --workspace` makes.
pub fn python_module() -> PathBuf {
    let path = profile_dir().join("lib_polarway.so");
    assert!(path.is_file(), "{} is not there: build it with `cargo build --workspace`", path.display());
    path
}

/// A directory that outlives the tests and is shared by them; made if it is not there.
pub fn cache_dir() -> PathBuf {
    let directory = profile_dir().join("../test-cache");
    std::fs::create_dir_all(&directory).unwrap();
    directory.canonicalize().unwrap()
}

/// The repository's root. The runner says where that is now: a build directory that several checkouts share may hold this
/// crate as another of them built it.
pub fn repository() -> PathBuf {
    let crate_dir = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(crate_dir).join("..").canonicalize().unwrap()
}

/// `target/debug` of a test that runs as `target/debug/deps/name-hash`.
fn profile_dir() -> PathBuf {
    let test = env::current_exe().unwrap();
    let deps = test.parent().unwrap();
    if deps.ends_with("deps") { deps.parent().unwrap().to_path_buf() } else { deps.to_path_buf() }
}
