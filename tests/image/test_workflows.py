"""The workflows: valid to GitHub, with few permissions, and all that they name is in the repository."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from conftest import REPOSITORY
from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))
# What a path in a script of a workflow starts with; other words with a slash are no paths of the repository.
TOP = sorted(path.name for path in REPOSITORY.iterdir() if path.is_dir() and path.name != ".git")


def load(workflow: Path) -> dict[str, Any]:
    return YAML(typ="safe").load(workflow.read_text(encoding="utf-8"))


def steps(workflow: Path) -> Iterator[dict[str, Any]]:
    for job in load(workflow)["jobs"].values():
        yield from job.get("steps", [])


def check_schema(workflow: Path) -> subprocess.CompletedProcess[str]:
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow)]
    return subprocess.run(checker, capture_output=True, text=True, check=False)


def make_targets(script: str) -> set[str]:
    return set(re.findall(r"\bmake ([a-z]+)\b", script))


def paths(text: str) -> set[str]:
    """The paths of the repository that a text names, by their first part: what a workflow makes has another one."""
    words = re.findall(r"[\w.@/-]*/[\w./-]+", text)
    plain = {word.removeprefix("./") for word in words}
    return {path for path in plain if path.partition("/")[0] in {*TOP, "helm"}}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_is_valid(workflow: Path) -> None:
    checked = check_schema(workflow)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_workflow_that_is_wrong_is_found(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOWS[0].read_text(encoding="utf-8").replace("runs-on:", "run-on:"), encoding="utf-8")
    assert check_schema(wrong).returncode != 0


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_may_do_no_more_than_it_must(workflow: Path) -> None:
    loaded = load(workflow)
    assert loaded["permissions"] == {"contents": "read"}
    assert "group" in loaded["concurrency"]
    for name, job in loaded["jobs"].items():
        if "steps" in job:
            assert "timeout-minutes" in job, name
    text = workflow.read_text(encoding="utf-8")
    # Registries are entered by tokens that GitHub makes for the run.
    assert "secrets." not in text
    assert "pull_request_target" not in text


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_scripts_do_not_take_in_what_others_write(workflow: Path) -> None:
    # An expression in a script becomes part of its text: names of branches and tags could hold commands.
    for step in steps(workflow):
        assert "${{" not in step.get("run", ""), step
        assert not re.search(r"\bset -x\b|\becho .*TOKEN", step.get("run", "")), step


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_named_by_version_and_leave_no_credentials(workflow: Path) -> None:
    for step in steps(workflow):
        uses = step.get("uses", "")
        if uses:
            assert re.search(r"@(v\d+|release/v\d+|[0-9a-f]{40})$", uses), uses
        if uses.startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_all_that_a_workflow_names_is_there(workflow: Path) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    for step in steps(workflow):
        script = step.get("run", "")
        assert make_targets(script) <= targets, script
        given = step.get("with", {})
        told = "\n".join([script, str(given.get("working-directory", "")), str(given.get("file", ""))])
        missing = [path for path in paths(told) if not (REPOSITORY / path).exists()]
        assert not missing, (missing, step)
    for job in load(workflow)["jobs"].values():
        called = job.get("uses", "")
        assert not called.startswith("./") or (REPOSITORY / called).is_file(), called


def test_what_is_not_there_would_be_found() -> None:
    assert make_targets("sudo env PATH=x make test && make lint") == {"test", "lint"}
    assert paths("./scripts/absent.sh && helm lint helm/absent; ls dist/x") == {"scripts/absent.sh", "helm/absent"}


def test_target_of_the_image_is_a_stage() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", dockerfile, re.MULTILINE))
    given = [step.get("with", {}) for workflow in WORKFLOWS for step in steps(workflow)]
    asked = {each["target"] for each in given if "target" in each}
    assert asked
    assert asked <= stages


def test_compiler_is_the_same_in_image_and_wheels() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    found = set(re.findall(r"rust:(\d[\d.]*)-|RUSTUP_TOOLCHAIN=(\S+)", dockerfile))
    versions = {version for pair in found for version in pair if version}
    for workflow in WORKFLOWS:
        given = (step.get("with", {}) for step in steps(workflow))
        versions |= {each["rust-toolchain"] for each in given if "rust-toolchain" in each}
    assert len(versions) == 1
    manifest = (REPOSITORY / "Cargo.toml").read_text(encoding="utf-8")
    minimum = re.search(r'^rust-version = "(.*)"$', manifest, re.MULTILINE)
    assert minimum
    assert versions.pop().startswith(minimum.group(1))


def test_crates_that_are_published_have_all_that_it_takes() -> None:
    manifest = (REPOSITORY / "Cargo.toml").read_text(encoding="utf-8")
    version = subprocess.run(
        [REPOSITORY / "scripts/release-version.sh", "v0.0.0-none"], capture_output=True, text=True, check=False
    )
    assert version.returncode == 1
    current = re.search(r"in Cargo.toml (\S+)", version.stderr)
    assert current
    released = (REPOSITORY / ".github/workflows/release.yml").read_text(encoding="utf-8")
    published = re.findall(r"--package (polarway-\w+)", released)
    assert published
    for crate in published:
        found = re.search(rf'^{crate} = {{ path = "([^"]+)", version = "([^"]+)" }}$', manifest, re.MULTILINE)
        assert found, f"{crate} has no version among the dependencies of the workspace"
        assert found.group(2) == current.group(1)
        own = (REPOSITORY / found.group(1) / "Cargo.toml").read_text(encoding="utf-8")
        assert "\npublish = true\n" in own
        assert "\ndescription = " in own
        needed = set(re.findall(r"^(polarway-\w+)\.workspace", own.partition("[dev-dependencies]")[0], re.MULTILINE))
        assert needed <= set(published), f"{crate} needs crates that are not published"
