"""Names of metrics: what processes show, and what alerts and panels ask for."""

import json
import re
from collections.abc import Iterator

from chart import CHART, Document

#: Names that Prometheus gives itself.
ITS_OWN = {"up"}


def shown(text: str) -> set[str]:
    """The names of samples that a text can hold: of those that it holds, and of metrics that have no sample yet."""
    names = set(re.findall(r"^([a-zA-Z_:][\w:]*)(?:\{| )", text, re.MULTILINE))
    for name, kind in re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE):
        if kind == "counter":
            names.add(name if name.endswith("_total") else f"{name}_total")
        elif kind == "histogram":
            names |= {f"{name}_{ending}" for ending in ("bucket", "sum", "count")}
        else:
            names.add(name)
    return names


def labels(text: str, name: str) -> set[str]:
    """The labels that samples of a metric have."""
    found = re.findall(rf"^{name}\{{(.*)\}} ", text, re.MULTILINE)
    return {label for sample in found for label in re.findall(r'(\w+)="', sample)}


def asked(expression: str) -> set[str]:
    """The names of metrics in an expression of Prometheus: what stands before the braces of a selector."""
    return set(re.findall(r"([a-zA-Z_:][\w:]*)\{", expression))


def grouped(expression: str) -> Iterator[tuple[str, str]]:
    """Metrics and the labels that an expression groups them by."""
    for group, rest in re.findall(r"by \(([\w, ]+)\) (\(.*)", expression):
        for name in asked(rest):
            yield from ((name, label.strip()) for label in group.split(","))


def of_alerts(documents: list[Document]) -> dict[str, str]:
    """The expressions of alerts by their names."""
    return {
        rule["alert"]: rule["expr"]
        for document in documents
        if document["kind"] == "PrometheusRule"
        for group in document["spec"]["groups"]
        for rule in group["rules"]
    }


def of_panels() -> dict[str, str]:
    """The expressions of the dashboard's panels, and of its variables."""
    board = json.loads((CHART / "dashboards/polarway.json").read_text())
    panels = {
        f"{panel['id']} {panel['title']} {target['refId']}": target["expr"]
        for panel in board["panels"]
        for target in panel.get("targets", [])
    }
    variables = {f"${it['name']}": it["query"]["query"] for it in board["templating"]["list"] if it["type"] == "query"}
    return panels | variables


def of_scalers(documents: list[Document]) -> dict[str, str]:
    """What autoscalers go by."""
    expressions = {}
    for document in documents:
        if document["kind"] == "ScaledObject":
            for number, trigger in enumerate(document["spec"]["triggers"]):
                expressions[f"trigger {number}"] = trigger["metadata"]["query"]
        elif document["kind"] == "HorizontalPodAutoscaler":
            for metric in document["spec"]["metrics"]:
                if metric["type"] == "Pods":
                    expressions["hpa"] = metric["pods"]["metric"]["name"] + "{}"
    return expressions
