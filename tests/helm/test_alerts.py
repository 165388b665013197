"""Alerts fire when they should and only then, by Prometheus' own reckoning; and each says what to do."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart import CHART, REPOSITORY, Document, kinds, render, tool
from metrics import of_alerts

DOCUMENTS = render(
    None,
    'ingest={"enabled": true, "directory": "s3://lake/streams"}',
    'shuffle.url="s3://lake/shuffle"',
    'tls={"enabled": true, "existingSecret": "certificates"}',
    "metrics.prometheusRule.enabled=true",
)
ALERTS = of_alerts(DOCUMENTS)
RUNBOOK = REPOSITORY / "docs/kubernetes.md"
GIB = 2**30


def series(role: str, name: str, values: str, **labels: str) -> tuple[str, str]:
    """A series of samples, one a minute, as Prometheus labels those of a role."""
    pod = labels.pop("pod", f"{role}-0")
    every = {"namespace": "data", "job": f"pw-polarway-{role}", "pod": pod, **labels}
    return f"{name}{{{','.join(f'{key}={json.dumps(value)}' for key, value in every.items())}}}", values


def of(role: str, **metrics: str) -> list[tuple[str, str]]:
    """Several of them."""
    return [series(role, name, values) for name, values in metrics.items()]


def stream(name: str, values: str) -> list[tuple[str, str]]:
    """One of a stream."""
    return [series("ingest", name, values, stream="public.ticks")]


#: An hour in which all is well.
WELL = {
    **dict(
        of(
            "scheduler",
            up="1x60",
            polarway_executors="2x60",
            polarway_queries_running="3x60",
            polarway_queries_finished_total="0+600x60",
            polarway_queries_failed_total="0+1x60",
            polarway_queries_staged_total="0+300x60",
            polarway_attempts_resubmitted_total="0+1x60",
            polarway_admission_refused_total="0x60",
            polarway_admission_waiting="0x60",
            polarway_planning_waiting="0x60",
            polarway_memory_reserved_bytes=f"{GIB}x60",
            polarway_spill_used_bytes=f"{GIB}x60",
        )
    ),
    **dict(
        of(
            "executor",
            up="1x60",
            polarway_executor_slots="2x60",
            polarway_executor_tasks_running="2x60",
            polarway_executor_tasks_started_total="0+600x60",
            polarway_executor_tasks_failed_total="0+1x60",
            polarway_memory_reserved_bytes=f"{4 * GIB}x60",
            polarway_spill_used_bytes=f"{4 * GIB}x60",
            polarway_shuffle_outputs_not_stored_total="0x60",
            polarway_shuffle_waiting_bytes=f"{GIB}x60",
            polarway_shuffle_store_puts_total="0+100x60",
            polarway_shuffle_store_gets_total="0+100x60",
            polarway_shuffle_store_retries_total="0+1x60",
        )
    ),
    **dict(
        of(
            "ingest",
            up="1x60",
            polarway_ingest_registered="1x60",
            polarway_ingest_rows_total="0+1000x60",
            polarway_ingest_bad_rows_total="0+1x60",
            polarway_ingest_blocked_microseconds_total="0+1000x60",
        )
    ),
    **dict(
        stream("polarway_feed_connected", "1x60")
        + stream("polarway_feed_gaps_total", "0x60")
        + stream("polarway_stream_log_bytes", f"{GIB // 2}x60")
        + stream("polarway_stream_hot_bytes", f"{GIB // 8}x60")
        + stream("polarway_stream_owed_logs", "0x60")
    ),
    **dict(
        series("etcd", name, values, pod=f"etcd-{number}")
        for number in range(3)
        for name, values in [
            ("up", "1x60"),
            ("etcd_server_has_leader", "1x60"),
            ("etcd_mvcc_db_total_size_in_bytes", f"{GIB // 2}x60"),
        ]
    ),
    series("executor", "polarway_tls_handshakes_failed_total", "", protocol="grpc")[0]: "0+1x60",
    series("etcd", "etcd_disk_wal_fsync_duration_seconds_bucket", "", le="0.01")[0]: "0+100x60",
    series("etcd", "etcd_disk_wal_fsync_duration_seconds_bucket", "", le="+Inf")[0]: "0+100x60",
}

#: What is different when each alert fires. An empty text takes a series away.
ILL: dict[str, list[tuple[str, str]]] = {
    "PolarwayNoScheduler": of("scheduler", up="0x60"),
    "PolarwayProcessDown": of("executor", up="0x60"),
    "PolarwayNoExecutors": of("scheduler", polarway_executors="0x60"),
    "PolarwaySchedulersDisagree": [series("scheduler", "polarway_executors", "1x60", pod="scheduler-1")],
    "PolarwayQueriesFail": of("scheduler", polarway_queries_failed_total="0+60x60"),
    "PolarwayQueriesRefused": of("scheduler", polarway_admission_refused_total="0+1x60"),
    "PolarwayQueriesWait": of("scheduler", polarway_planning_waiting="1x60"),
    "PolarwayAttemptsRepeated": of("scheduler", polarway_attempts_resubmitted_total="0+60x60"),
    "PolarwayTasksFail": of("executor", polarway_executor_tasks_failed_total="0+60x60"),
    "PolarwayHandshakesFail": [series("executor", "polarway_tls_handshakes_failed_total", "0+60x60", protocol="grpc")],
    "PolarwayExecutorsBusy": of("executor", polarway_executor_tasks_running="9x60"),
    "PolarwaySchedulerMemory": of("scheduler", polarway_memory_reserved_bytes=f"{int(1.38 * GIB)}x60"),
    "PolarwayExecutorMemory": of("executor", polarway_memory_reserved_bytes=f"{int(5.5 * GIB)}x60"),
    "PolarwaySchedulerSpill": of("scheduler", polarway_spill_used_bytes=f"{7 * GIB}x60"),
    "PolarwayExecutorSpill": of("executor", polarway_spill_used_bytes=f"{17 * GIB}x60"),
    "PolarwayShuffleNotStored": of("executor", polarway_shuffle_outputs_not_stored_total="0+1x60"),
    "PolarwayShuffleBehind": of("executor", polarway_shuffle_waiting_bytes=f"{3 * GIB}x60"),
    "PolarwayStoreRetries": of("executor", polarway_shuffle_store_retries_total="0+30x60"),
    "PolarwayIngestNotRegistered": of("ingest", polarway_ingest_registered="0x60"),
    "PolarwayFeedDisconnected": stream("polarway_feed_connected", "0x60"),
    "PolarwayFeedGaps": stream("polarway_feed_gaps_total", "0x50 1x10"),
    "PolarwayRowsRefused": of("ingest", polarway_ingest_bad_rows_total="0+50x60"),
    "PolarwaySendersBlocked": of("ingest", polarway_ingest_blocked_microseconds_total="0+45000000x60"),
    "PolarwayStreamLogFills": stream("polarway_stream_log_bytes", f"{int(0.9 * GIB)}x60"),
    "PolarwayStreamMemory": stream("polarway_stream_hot_bytes", f"{int(0.24 * GIB)}x60"),
    "PolarwayStreamOwedLogs": stream("polarway_stream_owed_logs", "1x60"),
    "PolarwayEtcdNoLeader": [series("etcd", "etcd_server_has_leader", "0x60", pod="etcd-1")],
    "PolarwayEtcdMemberLost": [series("etcd", "up", "", pod="etcd-2")],
    "PolarwayEtcdSlowDisk": [
        series("etcd", "etcd_disk_wal_fsync_duration_seconds_bucket", "0x60", le="0.01"),
        series("etcd", "etcd_disk_wal_fsync_duration_seconds_bucket", "0+100x60", le="0.5"),
    ],
    "PolarwayEtcdFull": [series("etcd", "etcd_mvcc_db_total_size_in_bytes", f"{int(1.7 * GIB)}x60", pod="etcd-0")],
}
#: Alerts that come with another one.
ALONG = {"PolarwayNoScheduler": {"PolarwayProcessDown"}}


def promtool(*arguments: str) -> None:
    done = subprocess.run([tool("promtool", "promtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": kinds(DOCUMENTS, "PrometheusRule")[0]["spec"]["groups"]}))
    return path


def test_rules_are_rules(rules: Path) -> None:
    promtool("check", "rules", str(rules))


def fires(rules: Path, name: str, samples: dict[str, str], expected: set[str]) -> None:
    """That of all alerts just these fire at the end of the hour."""

    def count(alert: str) -> dict[str, Any]:
        expr = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) > 0 or vector(0)'
        there = {"labels": "{}", "value": 1} if alert in expected else {"labels": "{}", "value": 0}
        return {"expr": f"({expr}) > bool 0", "eval_time": "60m", "exp_samples": [there]}

    test = {
        "rule_files": [rules.name],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": it, "values": values} for it, values in samples.items() if values],
                "promql_expr_test": [count(alert) for alert in ALERTS],
            }
        ],
    }
    path = rules.parent / f"{name}.yaml"
    path.write_text(yaml.safe_dump(test))
    promtool("test", "rules", str(path))


def test_no_alert_fires_when_all_is_well(rules: Path) -> None:
    fires(rules, "well", WELL, set())


def test_every_alert_has_a_case() -> None:
    assert ILL.keys() == ALERTS.keys()


@pytest.mark.parametrize("alert", ILL)
def test_alert_fires(rules: Path, alert: str) -> None:
    fires(rules, alert, WELL | dict(ILL[alert]), {alert} | ALONG.get(alert, set()))


def anchors(markdown: str) -> set[str]:
    """The anchors of headings, as they are made on the web."""
    headings = re.findall(r"^#+ (.*)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_every_alert_has_a_section_in_the_runbook() -> None:
    sections = anchors(RUNBOOK.read_text())
    rules = [rule for group in kinds(DOCUMENTS, "PrometheusRule")[0]["spec"]["groups"] for rule in group["rules"]]
    assert len(rules) == len(ALERTS)
    for rule in rules:
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert page == "docs/kubernetes.md"
        assert anchor in sections, f"{RUNBOOK.name} has no section {rule['alert']}"
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}


def test_sections_of_the_runbook_are_alerts() -> None:
    """None is left over from an alert that is gone."""
    _, _, runbook = RUNBOOK.read_text().partition("\n## Runbook\n")
    runbook = runbook.partition("\n## ")[0]
    assert set(re.findall(r"^### (\w+)$", runbook, re.MULTILINE)) == ALERTS.keys()


def test_alerts_can_be_left_out_and_labelled() -> None:
    documents = render(
        None,
        "metrics.prometheusRule.enabled=true",
        'metrics.prometheusRule.disabled=["PolarwayExecutorsBusy"]',
        'metrics.prometheusRule.alertLabels={"team": "data"}',
    )
    alerts = of_alerts(documents)
    assert "PolarwayExecutorsBusy" not in alerts
    # Nor those of what is not there.
    assert not any(re.search("Stream|Shuffle|Handshakes", alert) for alert in alerts)
    rule: Document = kinds(documents, "PrometheusRule")[0]["spec"]["groups"][0]["rules"][0]
    assert rule["labels"] == {"severity": "critical", "team": "data"}


def test_the_dashboard_is_one() -> None:
    board = json.loads((CHART / "dashboards/polarway.json").read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["targets"]
    for one in board["panels"]:
        for other in board["panels"]:
            if one["id"] < other["id"]:
                assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])
    config_maps = {
        it["metadata"]["name"]: it for it in kinds(render(None, "metrics.dashboard.enabled=true"), "ConfigMap")
    }
    shown = config_maps["pw-polarway-dashboard"]
    assert json.loads(shown["data"]["polarway.json"]) == board
    assert shown["metadata"]["labels"]["grafana_dashboard"] == "1"


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    """Whether two rectangles share a place."""
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )
