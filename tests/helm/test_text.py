"""The chart's own files agree with each other."""

import json
import subprocess
import sys

import pytest
import yaml

from chart import CHART, GOLDEN, NAME, NAMESPACE, RELEASE, REPOSITORY, VALUES, helm, render
from golden import text


@pytest.mark.parametrize("name", VALUES)
def test_lint(name: str) -> None:
    values = VALUES[name]
    helm("lint", "--strict", str(CHART), *(["--values", str(values)] if values else []))


@pytest.mark.parametrize("name", VALUES)
def test_golden_file(name: str) -> None:
    golden = GOLDEN / f"{name}.yaml"
    assert golden.is_file(), "run `make helm`"
    assert text(render(VALUES[name])) == golden.read_text(), (
        f"{golden.name}: look at the difference, then run `make helm`"
    )


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(VALUES)


def test_readme_is_made_from_the_values() -> None:
    script = REPOSITORY / "scripts/helm_readme.py"
    subprocess.run([sys.executable, str(script), "--check"], check=True)


def keys(values: object, schema: dict, root: dict, path: str = "") -> list[str]:
    """Keys that only one of the two knows."""
    schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")] if "$ref" in schema else schema
    if not isinstance(values, dict) or schema.get("additionalProperties") is not False:
        return []
    known = schema["properties"]
    wrong = [f"{path}{key} has no schema" for key in values.keys() - known.keys()]
    if path == "" or "$defs" not in schema:
        wrong += [f"{path}{key} has no default" for key in known.keys() - values.keys() - {"global"}]
    for key in values.keys() & known.keys():
        # Times of a probe and amounts of resources: their keys are those of Kubernetes.
        if key not in {"startup", "liveness", "readiness", "resources"}:
            wrong += keys(values[key], known[key], root, f"{path}{key}.")
    return wrong


def test_schema_and_values_have_the_same_keys() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert keys(yaml.safe_load((CHART / "values.yaml").read_text()), schema, schema) == []


def test_the_check_of_keys_sees_differences() -> None:
    schema = {"additionalProperties": False, "properties": {"a": {}, "b": {}}}
    assert keys({"a": 1, "c": 2}, schema, schema) == ["c has no schema", "b has no default"]


@pytest.mark.parametrize("name", VALUES)
def test_notes(name: str) -> None:
    """What a person reads after the installation."""
    values = VALUES[name]
    arguments = ["install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--dry-run=client"]
    _, _, notes = helm(*arguments, *(["--values", str(values)] if values else [])).partition("NOTES:")
    identified = name == "identity"
    assert (f"{NAME}-scheduler-0 -- polarway sql" in notes) is not identified
    assert ("polarway sql --token-file" in notes) is identified
    assert ("whoever reaches a Service of this release may do everything" in notes) is not identified
    assert f"{NAME}-client=true" in notes
    assert ("No data can be read yet" in notes) is (name == "default")
    assert (f"helm test {RELEASE}" in notes) is (
        name in {"identity", "keda-to-zero", "minimal", "s3-secret", "streams", "workload-identity"}
    )
    assert ("ws://" in notes) is (name in {"identity", "streams"})
