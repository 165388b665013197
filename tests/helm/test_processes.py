"""The rendered commands, environments and configurations as processes of this machine."""

import json
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import metrics
import oracle
from chart import CHART, NAME, REPOSITORY, VALUES, find, render
from local import Pod, Release, Repeated, get, network, polarway, run, running, until

VALUES_OF_RELEASE = (
    "sharedVolume.enabled=true",
    'shuffle.url="/data/shuffle"',
    "executor.replicas=2",
    "scheduler.replicas=2",
    'ingest={"enabled": true, "replicas": 1}',
    "etcd.replicas=3",
    "tests.rounds=3",
    'metrics={"prometheusRule": {"enabled": true}, "serviceMonitor": {"enabled": true}}',
)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """Three etcds, two schedulers, two executors and a process for streams, of which nobody is killed."""
    with running(render(None, *VALUES_OF_RELEASE), tmp_path_factory.mktemp("release")) as release:
        yield release


def shared(release: Release) -> Path:
    """The volume that all mount."""
    return release.directories(release.of("executor")[0])["/data"]


def queries(release: Release) -> list[dict]:
    """What the schedulers tell of queries."""
    return [query for pod in release.of("scheduler") for query in json.loads(pod.get("/v1/queries")[1])]


def progress(release: Release, query: str) -> dict:
    """What the scheduler that has a query tells of it."""
    for pod in release.of("scheduler"):
        status, body = pod.get(f"/v1/queries/{query}")
        if status == 200:
            return json.loads(body)
    raise LookupError(query)


def executors_of(release: Release, query: str) -> set[str]:
    """The names of executors that tasks of a query ran on."""
    ids = progress(release, query)["executors"]
    return {pod.name for pod in release.of("executor") if any(it.startswith(pod.name) for it in ids)}


def assert_staged_on_all(release: Release) -> None:
    """The latest query of all ran in stages, and every executor had tasks of it."""
    # Ids begin with the time.
    latest = max(queries(release), key=lambda query: query["id"])
    assert (latest["route"], latest["state"]) == ("staged", "finished")
    told = progress(release, latest["id"])
    assert len(told["stages"]) >= 2
    assert executors_of(release, latest["id"]) == {pod.name for pod in release.of("executor")}


def test_all_pods_are_members_of_one_cluster(release: Release) -> None:
    members = oracle.told(release.sql("-c", "SELECT name, role, state FROM system.nodes"))
    for pod in release.of("executor") + release.of("ingest"):
        assert (pod.name, pod.role, "active") in members
    assert sum(role == "scheduler" for _, role, _ in members) == 2


def test_the_query_of_helm_test_is_distributed_and_right(release: Release) -> None:
    files = find(release.documents, "ConfigMap", f"{NAME}-test")["data"]
    directory = release.directory / "test"
    directory.mkdir()
    for name in ["data.sql", "queries.sql"]:
        # All but the last statement, which drops the table.
        (directory / name).write_text(files[name].replace("DROP TABLE helm_test_pw;", ""))
        answers = release.sql("--file", str(directory / name))
    assert answers.count("right_answer\n1\n") == 4
    assert_staged_on_all(release)
    release.sql("-c", "DROP TABLE helm_test_pw")


def test_a_wrong_answer_fails_helm_test(release: Release) -> None:
    """Its check can fail."""
    text = find(release.documents, "ConfigMap", f"{NAME}-test")["data"]["queries.sql"]
    wrong = re.sub(r"FROM \w+ AS a JOIN \w+ AS b ON a.n = b.n", "FROM (VALUES (1)) AS a(n)", text.splitlines()[1])
    with pytest.raises(ChildProcessError, match="division by zero"):
        release.sql("-c", wrong)


@pytest.fixture(scope="module")
def tpch(release: Release) -> Path:
    """TPC-H tables on the shared volume, known to the catalog."""
    data = shared(release) / "tpch"
    run([polarway(), "tpch", "--scale-factor", "0.1", "--parts", "4", "--output", str(data)])
    for table in oracle.TABLES:
        release.sql("-c", f"CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{data / table}/'")
    return data


@pytest.mark.parametrize("route", ["auto", "direct", "staged"])
def test_row_1_tpc_h(release: Release, tpch: Path, route: str) -> None:
    for number in range(1, 23):
        query = (REPOSITORY / f"examples/tpch/q{number:02}.sql").read_text()
        output = release.sql("-c", f"SET polarway.route = '{route}'", f"--command={query}")
        assert oracle.same(oracle.told(output), oracle.answer(tpch, query)), f"query {number}"
        if route == "staged":
            assert_staged_on_all(release)


def test_metrics_that_are_asked_for_are_there(release: Release) -> None:
    """An alert or a panel over a name that no process shows fails."""
    release.sql("-c", "CREATE STREAM IF NOT EXISTS ticks (id BIGINT NOT NULL)")
    by_role: dict[str, str] = {}
    for role, port in {"scheduler": "http", "executor": "http", "ingest": "http", "etcd": "metrics"}.items():
        pod = release.of(role)[0]
        status, by_role[role] = pod.get("/metrics", port)
        assert status == 200
    ingest = release.of("ingest")[0]
    until("the stream is shown", lambda: "ticks" in ingest.get("/metrics")[1])
    by_role["ingest"] = ingest.get("/metrics")[1]
    names = {role: metrics.shown(text) for role, text in by_role.items()}

    expressions = {
        **metrics.of_alerts(release.documents),
        **metrics.of_panels(),
        **metrics.of_scalers(render(VALUES["keda-to-zero"])),
        **metrics.of_scalers(render(VALUES["hpa"])),
    }
    assert len(expressions) > 60
    for what, expression in expressions.items():
        selectors = re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", expression)
        assert selectors or what == "$namespace", what
        for name, selector in selectors:
            if name in metrics.ITS_OWN:
                continue
            role = re.search(r'job="[^"]*-(\w+)"', selector)
            # Of those that name no job the name has to be somewhere.
            wanted = names[role[1]] if role else set().union(*names.values())
            assert name in wanted, f"{what}: no {role[1] if role else 'process'} shows {name}"
        for name, label in metrics.grouped(expression):
            if label not in {"pod", "le"} and "stream" in name:
                assert label in metrics.labels(by_role["ingest"], name), f"{what}: {name} has no {label}"


def test_metrics_that_nobody_shows_are_noticed() -> None:
    text = '# TYPE a counter\n# TYPE b gauge\nb{x="1"} 2\n# TYPE c histogram\n'
    assert metrics.shown(text) == {"a_total", "b", "c_bucket", "c_sum", "c_count"}
    assert metrics.labels(text, "b") == {"x"}
    assert metrics.asked('sum(rate(polarway_x_total{job="y"}[5m])) / up{a="b"}') == {"polarway_x_total", "up"}
    assert set(metrics.grouped('max by (stream, pod) (polarway_z{a="b"})')) == {
        ("polarway_z", "stream"),
        ("polarway_z", "pod"),
    }


def test_ports_that_others_have_on_all_addresses_are_left_to_them() -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        port = other.getsockname()[1]
        _, shift = network([port])
    assert shift > 0


# Those below start releases of their own, since processes end in them.

SMALL = (
    "sharedVolume.enabled=true",
    'shuffle.url="/data/shuffle"',
    "etcd.replicas=1",
    "metastore.leaseSeconds=2",
    "executor.drainSeconds=60",
)
TABLE = "CREATE TABLE numbers AS SELECT value AS n, value % 97 AS k FROM generate_series(1, 200000) AS t(value)"
SUM = "SELECT sum(a.n) FROM numbers AS a JOIN numbers AS b ON a.n = b.n"


def ask(release: Release, route: str = "staged") -> None:
    """One query, whose answer has to be right."""
    assert release.sql("-c", f"SET polarway.route = '{route}'", "-c", SUM).split() == ["sum(a.n)", "20000100000"]


def leave(pod: Pod) -> None:
    """Lets a pod go as a rolling update does."""
    pod.signal(signal.SIGTERM)
    assert pod.wait() == 0, pod.log()


def test_a_rolling_update_fails_no_query_and_all_end_in_their_grace(tmp_path: Path) -> None:
    with running(render(None, *SMALL), tmp_path) as release:
        release.sql("-c", TABLE)
        asking = Repeated(lambda: ask(release))
        asking.start()
        for role in ["executor", "scheduler"]:
            for pod in release.of(role):
                done = asking.rounds
                until("queries are asked", lambda done=done: asking.rounds > done or asking.failure)
                leave(pod)
                release.spawn(pod)
                until(f"{pod.name} is back", lambda pod=pod: release.ready(pod))
        assert asking.finish() >= 4
        codes = release.stop()
        # etcd ends by the signal itself.
        assert all(code == 0 or (code == -signal.SIGTERM and "etcd" in name) for name, code in codes.items()), codes


def test_a_single_scheduler_keeps_its_metadata_on_its_volume(tmp_path: Path) -> None:
    with running(render(VALUES["minimal"]), tmp_path) as release:
        assert release.of("etcd") == []
        release.sql("-c", TABLE)
        ask(release)
        scheduler = release.of("scheduler")[0]
        leave(scheduler)
        release.spawn(scheduler)
        until("the scheduler is back", lambda: release.ready(scheduler))
        until("executors are back", lambda: release.metric(scheduler, "polarway_executors") == 2)
        ask(release)
        began = time.monotonic()
        assert set(release.stop().values()) == {0}
        assert time.monotonic() - began < max(pod.spec["terminationGracePeriodSeconds"] for pod in release.pods)


WRITER, READER, LATER = (f"a-token-of-the-{who}-0123456789" for who in ("writer", "reader", "later-one"))
PROCESS = "what-processes-know-each-other-by"


def tokens(writer: str) -> str:
    """A file of tokens."""
    known = {"writer": ("write", writer), "reader": ("read", READER)}
    return "".join(
        f"[[token]]\nname = '{name}'\nrole = '{role}'\ntoken = '{token}'\n" for name, (role, token) in known.items()
    )


def test_row_47_a_release_with_identity_asks_who_calls(tmp_path: Path) -> None:
    secrets = {"who": {"tokens.toml": tokens(WRITER), "process-secret": PROCESS, "token": WRITER}}
    streams = ('ingest={"enabled": true, "replicas": 1}', 'identity.existingSecret="who"')
    with running(render(None, *SMALL, *streams), tmp_path, secrets, WRITER) as release:
        release.sql("-c", TABLE)
        for route in ["direct", "staged"]:
            ask(release, route)
        scheduler = release.of("scheduler")[0]
        address = f"http://{scheduler.at('http')}"
        for path, known, allowed in [("/healthz", 200, 200), ("/metrics", 401, 200), ("/api/jobs", 401, 403)]:
            assert [get(f"{address}{path}", token)[0] for token in ("", READER)] == [known, allowed], path
        # What the kubelet and Prometheus ask of the others needs nothing.
        for pod in release.of("executor") + release.of("ingest"):
            assert get(f"http://{pod.at('http')}/metrics")[0] == 200

        release.token = ""
        with pytest.raises(ChildProcessError, match="token"):
            ask(release)
        release.token = READER
        ask(release)
        with pytest.raises(ChildProcessError, match="needs the role `write`"):
            release.sql("-c", "CREATE TABLE other AS SELECT 1 AS n")

        # The secret changes, and with it the files that are mounted; no pod starts anew.
        secrets["who"]["tokens.toml"] = tokens(LATER)
        for pod in release.of("scheduler") + release.of("ingest"):
            release.configure(pod)
        for pod in release.of("scheduler"):
            until(
                "the old token is known no more",
                lambda it=pod: get(f"http://{it.at('http')}/metrics", WRITER)[0] == 401,
            )
        release.token = LATER
        ask(release)
        told = "".join(pod.log() for pod in release.pods)
        assert "polarway::audit" in told
        for token in [WRITER, READER, LATER, PROCESS]:
            assert token not in told


def test_without_executors_queries_wait_and_say_so_to_what_scales(tmp_path: Path) -> None:
    """From zero: what KEDA goes by rises while a query waits, and the query goes on when there is an executor."""
    with running(render(None, *SMALL, "executor.replicas=1", "scheduler.replicas=1"), tmp_path) as release:
        release.sql("-c", TABLE)
        scheduler, executor = release.of("scheduler")[0], release.of("executor")[0]
        leave(executor)
        until("it is gone", lambda: release.metric(scheduler, "polarway_executors") == 0)
        assert release.metric(scheduler, "polarway_queries_running") == 0
        for route in ["direct", "staged"]:
            waiting = Repeated(lambda route=route: ask(release, route))
            waiting.start()
            until("the query is seen", lambda: release.metric(scheduler, "polarway_queries_running") == 1)
            release.spawn(executor)
            until("it goes on", lambda waiting=waiting: waiting.rounds >= 1 or waiting.failure)
            waiting.finish()
            leave(executor)
            until("it is gone", lambda: release.metric(scheduler, "polarway_executors") == 0)
        release.spawn(executor)
        until("it is back", lambda: release.ready(executor))


def test_the_two_commands_of_the_readme(tmp_path: Path) -> None:
    readme = (CHART / "README.md").read_text()
    assert "--values helm/polarway/examples/minimal.yaml" in readme
    statements = re.findall(r'-c "([^"]+)"', readme)
    assert len(statements) == 2
    with running(render(VALUES["minimal"]), tmp_path) as release:
        answers = [release.sql("-c", statement) for statement in statements]
        assert answers[1].split() == ["count(*),sum(t.n)", "1000000,500000500000"]
