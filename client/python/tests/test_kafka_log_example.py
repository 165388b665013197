from __future__ import annotations

import importlib
import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from polarway import KafkaMessage
from polarway.parsing import Unread, read

EXAMPLE = Path(__file__).parents[3] / "examples" / "log_analytics.py"
PUBLISHED = datetime(2026, 11, 30, 23, 59, 59, 999_000, tzinfo=timezone.utc)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - a module that is none of the package
    monkeypatch.setattr(sys, "path", [str(EXAMPLE.parent), *sys.path])
    return importlib.import_module(EXAMPLE.stem)


def message(log: object, offset: int = 7) -> KafkaMessage:
    value = log if isinstance(log, bytes) else json.dumps(log).encode()
    return KafkaMessage("logs", 3, offset, PUBLISHED, None, value)


@pytest.mark.parametrize(
    ("told", "at", "date"),
    [
        ("2026-11-30T23:30:00Z", "2026-11-30T23:30:00.000000Z", "2026-11-30"),
        # The day is that of UTC.
        ("2026-11-30T23:30:00.5-01:00", "2026-12-01T00:30:00.500000Z", "2026-12-01"),
        ("2026-11-30t23:30:00.123456789z", "2026-11-30T23:30:00.123456Z", "2026-11-30"),
        ("2026-11-30 23:30:00", "2026-11-30T23:30:00.000000Z", "2026-11-30"),
        (None, "2026-11-30T23:59:59.999000Z", "2026-11-30"),
    ],
)
def test_a_log_is_stored_by_its_day(example: Any, told: str | None, at: str, date: str) -> None:  # noqa: ANN401
    row = example.row(message({"service": "api", "timestamp": told}))
    assert (row["at"], row["date"]) == (at, date)


def test_a_row_has_what_the_log_says_and_where_it_came_from(example: Any) -> None:  # noqa: ANN401
    place = {"kafka_topic": "logs", "kafka_partition": 3, "kafka_offset": 7}
    when = {"at": "2026-11-30T23:59:59.999000Z", "date": "2026-11-30"}
    log = {"service": "api", "level": "error", "message": "no", "latency_ms": 12, "user": 5, "path": ["a"]}
    row = example.row(message(log))
    more = '{"path": ["a"], "user": 5}'
    said = {"service": "api", "level": "ERROR", "message": "no", "latency_ms": 12, "more": more}
    assert row == {**said, **place, **when}
    said = {"service": "api", "level": "INFO", "message": None, "latency_ms": None, "more": None}
    row = example.row(message({"service": "api"}))
    assert row == {**said, **place, **when}
    assert set(row) == set(example.COLUMNS)


def test_what_is_bad_is_quarantined_with_place_and_reason(example: Any, tmp_path: Path) -> None:  # noqa: ANN401
    logs: list[object] = [
        {"service": "api"},
        b"\xff no JSON",
        [1],
        {"level": "INFO"},
        {"service": "api", "timestamp": 1_764_547_199},
        {"service": "api", "timestamp": "22/Nov/2026"},
        {"service": "api", "latency_ms": "fast"},
        b'{"service": "api", "latency_ms": NaN}',
        {"service": "api", "level": 3},
        {"service": "api", "message": "\ud800"},
    ]
    rows, unread = read([message(log, offset) for offset, log in enumerate(logs)], example.row)
    assert [row["kafka_offset"] for row in rows] == [0]
    quarantine = example.Quarantine(tmp_path / "bad.ndjson")
    quarantine.add([])
    assert not (tmp_path / "bad.ndjson").exists()
    quarantine.add([example.place(one) for one in unread])
    quarantine.add([{**rows[0], "reason": "too long"}])
    told = [json.loads(line) for line in (tmp_path / "bad.ndjson").read_text().splitlines()]
    assert quarantine.count == len(told) == len(logs)
    assert [one["offset"] for one in told[:-1]] == list(range(1, len(logs)))
    assert {(one["topic"], one["partition"]) for one in told[:-1]} == {("logs", 3)}
    assert told[0]["value"] == "\\xff no JSON"
    assert all(one["reason"].partition(": ")[2] for one in told[:-1])
    assert (told[-1]["kafka_offset"], told[-1]["reason"]) == (0, "too long")


def test_a_tombstone_is_quarantined_too(example: Any) -> None:  # noqa: ANN401
    tombstone = KafkaMessage("logs", 0, 1, None, b"k", None)
    assert example.place(Unread(tombstone, ValueError("none")))["value"] == ""
    _, unread = read([tombstone], example.row)
    assert len(unread) == 1


def test_the_example_explains_itself() -> None:
    asked = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE), "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "Offsets are committed when the rows of a batch are in their files" in asked.stdout
    assert "--quarantine" in asked.stdout
