//! The container image around the binary of this build, and the workflows that release it: their tests are in `tests/image`.

use std::process::Command;

use polarway_tests::{binary, python};

fn pytest(file: &str) {
    python::run(
        Command::new(python::with("image-requirements.txt"))
            .current_dir(binary::repository().join("tests/image"))
            .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", file])
            .env("POLARWAY_BIN", binary::polarway())
            .env("PYTHONDONTWRITEBYTECODE", "1"),
    );
}

#[test]
fn image_is_built_and_runs_confined() {
    pytest("test_image.py");
}

#[test]
fn workflows_are_valid_and_name_what_is_there() {
    pytest("test_workflows.py");
}
