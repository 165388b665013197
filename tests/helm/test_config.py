"""The server takes the files and variables that the chart makes, whatever the values: it refuses no key of them."""

import subprocess
from pathlib import Path

import pytest

from chart import VALUES, Document, find, kinds, render, role, workloads
from local import polarway

ROLES = {"scheduler", "executor", "ingest"}
SECRET = "a-secret-that-is-long-enough-for-all"


def environment(pod: Document) -> dict[str, str]:
    """The variables of a pod, whose secrets hold a text that is long enough for each."""
    variables = {}
    for variable in pod["spec"]["containers"][0]["env"]:
        source = variable.get("valueFrom", {})
        of_field = "10.0.0.1" if source.get("fieldRef", {}).get("fieldPath") == "status.podIP" else "pod-0"
        # The id of a key and the name of a user are no secrets.
        known = variable["name"].endswith(("ACCESS_KEY_ID", "USER"))
        text = of_field if "fieldRef" in source else "somebody" if known else SECRET
        variables[variable["name"]] = variable.get("value", text).replace("$(POD_NAME)", "pod-0")
    return variables


@pytest.mark.parametrize("name", VALUES)
def test_the_server_takes_its_configuration(name: str, tmp_path: Path) -> None:
    documents = render(VALUES[name])
    checked = set()
    for workload in workloads(documents):
        if role(workload) not in ROLES:
            continue
        file = tmp_path / f"{role(workload)}.toml"
        file.write_text(find(documents, "ConfigMap", "pw-polarway-config")["data"][file.name])
        command = [polarway(), "config", "--config", str(file)]
        env = environment(workload["spec"]["template"])
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert SECRET not in done.stdout
        checked.add(role(workload))
    assert checked >= {"scheduler", "executor"}


def test_a_wrong_key_is_refused(tmp_path: Path) -> None:
    """What shows that the check above can fail."""
    documents = render(None, "config.query.bath_size=1")
    file = tmp_path / "scheduler.toml"
    file.write_text(kinds(documents, "ConfigMap")[0]["data"]["scheduler.toml"])
    done = subprocess.run([polarway(), "config", "--config", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "query.batch_size" in done.stderr
