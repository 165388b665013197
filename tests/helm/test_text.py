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
    identified = name in {"identity", "tls"}
    encrypted = name == "tls"
    assert (f"{NAME}-scheduler-0 -- polarway sql" in notes) is not identified
    assert ("polarway sql --token-file" in notes) is (identified and not encrypted)
    assert ("polarway sql --endpoint https://localhost:50051 --tls-ca ca.crt --token-file" in notes) is encrypted
    assert ("who sees the traffic can read it" in notes) is (identified and not encrypted)
    assert (f"From pods: https://{NAME}.{NAMESPACE}.svc:50051" in notes) is encrypted
    assert ("whoever reaches a Service of this release may do everything" in notes) is not identified
    assert f"{NAME}-client=true" in notes
    assert ("No data can be read yet" in notes) is (name == "default")
    assert (f"helm test {RELEASE}" in notes) is (
        name in {"identity", "keda-to-zero", "minimal", "s3-secret", "streams", "tls", "workload-identity"}
    )
    assert ("ws://" in notes) is (name in {"identity", "streams"})
    assert ("wss://" in notes) is encrypted


@pytest.mark.parametrize(
    ("tls", "told"),
    [
        (
            {"existingSecret": "pair"},
            f"--endpoint https://{NAME}.{NAMESPACE}.svc:50051 --tls-ca /etc/polarway/tls/ca.crt",
        ),
        (
            {"existingSecret": "pair", "public": {"existingSecret": "public", "host": "sql.example.com"}},
            "polarway sql --endpoint https://sql.example.com:50051 -c",
        ),
        (
            {"existingSecret": "pair", "public": {"existingSecret": "public", "caKey": "root.crt"}},
            f"--endpoint https://{NAME}.{NAMESPACE}.svc:50051 --tls-ca /etc/polarway/tls-public/ca.crt",
        ),
    ],
)
def test_notes_name_the_authority(tls: dict, told: str) -> None:
    values = f"tls={json.dumps({'enabled': True, **tls})}"
    arguments = ["install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--dry-run=client", "--set-json", values]
    notes = helm(*arguments).partition("NOTES:")[2]
    assert told in notes
    assert "the release's own etcd speaks no TLS" in notes
