"""The chart, rendered by helm itself."""

import copy
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "helm/polarway"
GOLDEN = Path(__file__).parent / "golden"
RELEASE = "pw"
NAMESPACE = "data"
NAME = f"{RELEASE}-polarway"

#: Every values file that is rendered: the defaults, and the examples.
VALUES: Mapping[str, Path | None] = {
    "default": None,
    **{path.stem: path for path in sorted((CHART / "examples").glob("*.yaml"))},
}


class RefusedError(Exception):
    """helm did not render the chart, and says why."""


def tool(name: str, directory: str) -> str:
    """A program that scripts/setup_helm.sh has put where it belongs."""
    tools = Path(os.environ.get("POLARWAY_TOOLS") or Path.home() / ".cache/polarway/tools")
    path = tools / directory / name
    found = str(path) if path.is_file() else shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not there: run scripts/setup_helm.sh")
    return found


def helm(*arguments: str) -> str:
    """What helm prints."""
    command = [tool("helm", "helm-4.1.4"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RefusedError(done.stderr)
    return done.stdout


def render(values: Path | None = None, *sets: str) -> list[Document]:
    """The objects that a release has with these values, in the order of their kinds and names."""
    # Callers may change what they get.
    return copy.deepcopy(rendered(values, sets))


@functools.cache
def rendered(values: Path | None, sets: tuple[str, ...]) -> list[Document]:
    """The same, once."""
    arguments = ["template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--kube-version", "1.35.0"]
    if values is not None:
        arguments += ["--values", str(values)]
    for text in sets:
        arguments += ["--set-json", text]
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    documents = [document for document in yaml.load_all(helm(*arguments), loader) if document]
    return sorted(documents, key=lambda document: (document["kind"], document["metadata"]["name"]))


def find(documents: Sequence[Document], kind: str, name: str) -> Document:
    """The one object of a kind and a name."""
    found = [it for it in documents if it["kind"] == kind and it["metadata"]["name"] == name]
    if len(found) != 1:
        have = sorted(it["metadata"]["name"] for it in documents if it["kind"] == kind)
        raise LookupError(f"there are {len(found)} of {kind} {name}; there is {have}")
    return found[0]


def kinds(documents: Sequence[Document], kind: str) -> list[Document]:
    """All objects of a kind."""
    return [document for document in documents if document["kind"] == kind]


def workloads(documents: Sequence[Document]) -> list[Document]:
    """What keeps pods running."""
    return kinds(documents, "Deployment") + kinds(documents, "StatefulSet")


def role(document: Document) -> str:
    """What the chart calls the component of an object."""
    return document["metadata"]["labels"]["app.kubernetes.io/component"]


def pod_templates(documents: Sequence[Document]) -> Iterator[tuple[str, Document]]:
    """All pods, with the name of what makes them."""
    for document in workloads(documents):
        yield f"{document['kind']} {document['metadata']['name']}", document["spec"]["template"]
    for document in kinds(documents, "Pod"):
        yield f"Pod {document['metadata']['name']}", document


def containers(pod: Document) -> list[Document]:
    """All containers of a pod."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
