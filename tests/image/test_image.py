"""What is in the image, and how it runs."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

import pytest
from conftest import lay_out
from wait import until_healthy, until_ready

if TYPE_CHECKING:
    from pathlib import Path

    from podman import Container, Podman

POLARWAY = "/usr/bin/polarway"
USER = "10001"
MEBIBYTE = 1 << 20
# What the image may weigh, and what of it may be anything else than the binary. docs/container.md says both.
LIMIT = 200 * MEBIBYTE
LIMIT_BESIDE_THE_BINARY = 6 * MEBIBYTE
READ_ONLY = ("--read-only", "--read-only-tmpfs=false")
OPEN = ("up", "--listen", "0.0.0.0:50051", "--http-listen", "0.0.0.0:8080")
TRUSTED = ("--set", "identity.trusted_network=true")
TOKENS = ("--set", "identity.tokens=/etc/polarway/tokens.toml")
# Makes a file of a few rows in a directory that it makes, too.
WRITE = ("tpch", "--scale-factor", "0.001", "--table", "nation", "--output")


def query(server: Container, sql: str, *options: str) -> str:
    answer = server.ask(POLARWAY, "sql", "--format", "csv", *options, "--command", sql)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_image_says_how_it_is_run(podman: Podman, image: str) -> None:
    described = podman.inspect("image", image)
    config = described["Config"]
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"] == [POLARWAY]
    assert config["Cmd"] == ["up"]
    assert config["StopSignal"] == "SIGTERM"
    assert set(config["Volumes"]) == {"/var/lib/polarway"}
    assert set(config["ExposedPorts"]) == {"50051/tcp", "50052/tcp", "8080/tcp", "8081/tcp"}
    assert described["Healthcheck"]["Test"] == ["CMD", POLARWAY, "health"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == "Polarway"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_image_is_small(podman: Podman, image: str, binary: Path) -> None:
    size = podman.inspect("image", image)["Size"]
    assert size < LIMIT
    assert size - binary.stat().st_size < LIMIT_BESIDE_THE_BINARY


def test_image_holds_nothing_to_work_with_but_the_binary(files: Path) -> None:
    root = files / "image/files"
    regular = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in regular if path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)]
    programs = [path.relative_to(root).as_posix() for path in regular if os.access(path, os.X_OK)]
    libraries = ("libc.so", "libm.so", "libgcc_s.so", "ld-linux")
    others = [path for path in programs if not path.rpartition("/")[2].startswith(libraries)]
    assert others == ["usr/bin/polarway"]


def test_image_names_the_packages_of_its_libraries(files: Path) -> None:
    root = files / "image/files"
    packages = {path.name for path in (root / "var/lib/dpkg/status.d").iterdir()}
    assert {"ca-certificates", "libc6"} <= packages
    for package in packages:
        assert f"Package: {package}\n" in (root / "var/lib/dpkg/status.d" / package).read_text(encoding="utf-8")
        assert (root / "usr/share/doc" / package / "copyright").stat().st_size > 0
    assert "BEGIN CERTIFICATE" in (root / "etc/ssl/certs/ca-certificates.crt").read_text(encoding="ascii")


def test_same_inputs_give_the_same_image(
    podman: Podman, image: str, binary: Path, repository: Path, tmp_path: Path
) -> None:
    lay_out(binary, tmp_path / "image")
    again = f"{image}-again"
    podman.build(repository, tmp_path, again)
    first, second = (podman.inspect("image", name) for name in (image, again))
    assert first["RootFS"]["Layers"] == second["RootFS"]["Layers"]
    assert first["Config"] == second["Config"]


def test_build_sees_the_sources_and_nothing_else(podman: Podman, repository: Path) -> None:
    seen = set(podman.context(repository))
    members = re.search(
        r"^members = \[(.*?)\]", (repository / "Cargo.toml").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert members
    needed = {f"{member}/Cargo.toml" for member in re.findall(r'"(.+?)"', members.group(1))}
    needed |= {"Cargo.toml", "Cargo.lock", ".cargo/config.toml", "LICENSE", "scripts/image-root.sh"}
    sources = {path.relative_to(repository) for path in repository.glob("*/src/**/*.rs")}
    assert {path.as_posix() for path in sources} <= seen
    for source in sources:
        text = (repository / source).read_text(encoding="utf-8")
        for included in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', text):
            needed.add(os.path.normpath(source.parent / included))
    assert needed <= seen, needed - seen
    others = (".git/", ".github/", ".venv/", "docs/", "helm/", "tests/image/", "client/python/python/")
    assert not [path for path in seen if path.startswith(others) or path.endswith(".pyc")]


def test_binary_that_does_not_fit_the_system_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n", encoding="utf-8")
    script.chmod(0o755)
    with pytest.raises(AssertionError, match="is not linked against this system's libraries"):
        lay_out(script, tmp_path / "image")


def test_server_answers_queries(server: Container) -> None:
    assert query(server, "SELECT sum(value) AS s FROM generate_series(1, 100)") == "s\n5050\n"
    # By name: the resolver needs nothing of the system but the C library.
    assert query(server, "SELECT 1 AS a", "--endpoint", "localhost:50051") == "a\n1\n"


def test_server_is_not_root_and_may_do_nothing_special(server: Container) -> None:
    process = server.process()
    assert set(process["Uid"].split()) == {USER}
    assert set(process["Gid"].split()) == {USER}
    assert "0" not in process["Groups"].split()
    assert int(process["CapEff"], 16) == 0
    assert process["NoNewPrivs"] == "1"


def test_health_check_turns_healthy(server: Container) -> None:
    until_healthy(server)
    ready = server.ask(POLARWAY, "health", "--ready")
    assert ready.returncode == 0, ready.stderr


def test_health_check_fails_where_no_server_is(podman: Podman, image: str) -> None:
    asked = podman.run(image, ["health"], ["--read-only"])
    assert asked.returncode == 1
    assert "http://127.0.0.1:8080/healthz does not answer" in asked.stderr


def test_executor_without_its_scheduler_is_alive_and_not_ready(podman: Podman, image: str) -> None:
    command = ["executor", "--scheduler", "127.0.0.1:1"]
    executor = podman.start(image, command, READ_ONLY)
    try:
        until_healthy(executor)
        ready = executor.ask(POLARWAY, "health", "--ready")
        assert ready.returncode == 1
        assert "/readyz answers 503" in ready.stderr
    finally:
        executor.remove()


def test_root_file_system_cannot_be_written(podman: Podman, image: str, server: Container) -> None:
    for user in (USER, "0"):
        refused = server.ask(POLARWAY, *WRITE, "/etc/written", user=user)
        assert refused.returncode == 1
        assert "Read-only file system" in refused.stderr
    # It is the read-only root that refuses: without it root may.
    written = podman.run(image, [*WRITE, "/etc/written"], ["--user", "0"])
    assert written.returncode == 0, written.stderr


def test_data_outlives_a_restart_that_ends_well(podman: Podman, image: str) -> None:
    # Open to others, as docs/container.md has it.
    command = [*OPEN, "--allow", "/data", *TRUSTED]
    container = podman.start(image, command, [*READ_ONLY, "--volume", "/data"])
    try:
        until_ready(container)
        query(container, "CREATE VIEW kept AS SELECT 7 AS x")
        assert container.stop() == 0, container.logs()
        container.start()
        until_ready(container, starts=2)
        assert query(container, "SELECT x FROM kept") == "x\n7\n"
        until_healthy(container)
    finally:
        container.remove()


def test_server_is_not_open_to_others_unless_somebody_says_so(podman: Podman, image: str) -> None:
    refused = podman.run(image, OPEN, READ_ONLY)
    assert refused.returncode != 0
    assert "`scheduler.listen`" in refused.stderr
    assert "identity.tokens" in refused.stderr


def test_row_47_server_that_is_open_to_others_asks_for_tokens(podman: Podman, image: str, tmp_path: Path) -> None:
    token = "a-token-of-ana-0123456789"
    known = tmp_path / "tokens.toml"
    known.write_text(f"[[token]]\nname = 'ana'\nrole = 'write'\ntoken = '{token}'\n", encoding="utf-8")
    shown = tmp_path / "token"
    shown.write_text(f"{token}\n", encoding="utf-8")
    for path in (tmp_path, known, shown):
        path.chmod(0o755)
    mounts = ["--volume", f"{tmp_path}:/etc/polarway:ro"]
    container = podman.start(image, [*OPEN, *TOKENS], [*READ_ONLY, *mounts])
    try:
        until_ready(container)
        until_healthy(container)
        nobody = container.ask(POLARWAY, "sql", "--command", "SELECT 1")
        assert nobody.returncode != 0
        assert "token" in nobody.stderr
        who = query(container, "SHOW polarway.user", "--token-file", "/etc/polarway/token")
        assert "ana" in who
        assert token not in container.logs()
    finally:
        container.remove()
