"""Each object is one that Kubernetes, or the operator that it is for, takes."""

import functools
import json
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
from kubernetes_validate import utils

from chart import Document, find, kinds, render

#: From the oldest that the chart takes to the newest that there is a schema of.
VERSIONS = ["1.30", "1.34", utils.latest_version()]
OPERATORS = {
    path.stem: json.loads(path.read_text()) for path in sorted((Path(__file__).parent / "operators").glob("*.json"))
}

# It reads the same files, some of megabytes, for each object.
utils.schema_contents = functools.cache(utils.schema_contents)


def check(document: Document, version: str) -> None:
    if document["kind"] in OPERATORS:
        jsonschema.Draft202012Validator(OPERATORS[document["kind"]]).validate(document)
    else:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_fit_the_schemas(documents: list[Document], version: str) -> None:
    for document in documents:
        check(document, version)


def test_a_misspelled_field_does_not_fit(default: list[Document]) -> None:
    deployment = kinds(default, "Deployment")[0]
    deployment["spec"]["template"]["spec"]["terminationGracePeriod"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        check(deployment, VERSIONS[-1])


def test_a_misspelled_field_of_an_operator_does_not_fit() -> None:
    documents = render(None, "metrics.serviceMonitor.enabled=true")
    monitor = kinds(documents, "ServiceMonitor")[0]
    monitor["spec"]["endpoints"][0]["intervall"] = "1s"
    with pytest.raises(jsonschema.ValidationError):
        check(monitor, VERSIONS[-1])


def test_names_are_unique_and_fit(documents: list[Document]) -> None:
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 63 for _, name in names)


def test_long_names_of_releases_fit() -> None:
    long = "a" * 40
    documents = render(None, f'fullnameOverride="{long}"', "ingest.enabled=true", 'ingest.directory="s3://a/b"')
    # A StatefulSet's pods have a label with its name and a checksum of ten characters behind it.
    assert all(len(document["metadata"]["name"]) <= 52 for document in documents)
    assert find(documents, "StatefulSet", f"{long}-scheduler")


def test_services_select_pods_that_there_are(documents: list[Document]) -> None:
    pods = [
        (it["spec"]["template"]["metadata"]["labels"], it["spec"]["template"]["spec"])
        for it in kinds(documents, "Deployment") + kinds(documents, "StatefulSet")
    ]
    for service in kinds(documents, "Service"):
        selector = service["spec"]["selector"].items()
        selected = [spec for labels, spec in pods if selector <= labels.items()]
        assert len(selected) == 1, service["metadata"]["name"]
        ports = {port["name"] for container in selected[0]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_budgets_and_policies_select_pods_that_there_are(documents: list[Document]) -> None:
    pods = [it["spec"]["template"]["metadata"]["labels"] for it in documents if "template" in it.get("spec", {})]
    for kind, field in [("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")]:
        for it in kinds(documents, kind):
            selector = it["spec"][field]["matchLabels"].items()
            assert sum(selector <= labels.items() for labels in pods) == 1, it["metadata"]["name"]
