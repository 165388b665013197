"""A copy of etcd brings the catalog back, by the steps of docs/kubernetes.md."""

import shutil
from pathlib import Path

import pytest

from chart import REPOSITORY, render
from local import Pod, Release, run, running

VALUES = ("sharedVolume.enabled=true", "etcd.replicas=3", "metastore.leaseSeconds=2")


def flag(release: Release, pod: Pod, name: str) -> str:
    """The value of a flag of a pod's command."""
    return next(it.partition("=")[2] for it in release.command(pod) if it.startswith(f"--{name}="))


def test_a_snapshot_of_etcd_is_brought_back(tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot.db"
    with running(render(None, *VALUES), tmp_path / "release") as release:
        release.sql("-c", "CREATE TABLE before AS SELECT value AS n FROM generate_series(1, 1000) AS t(value)")
        members = release.of("etcd")
        run(["etcdctl", "--endpoints", f"http://{members[0].at('client')}", "snapshot", "save", str(snapshot)])
        release.sql("-c", "CREATE TABLE after AS SELECT 1 AS n")
        release.stop()

        for member in members:
            data = Path(flag(release, member, "data-dir"))
            shutil.rmtree(data)
            restore = ["etcdctl", "snapshot", "restore", str(snapshot), "--data-dir", str(data)]
            for name in ["name", "initial-cluster", "initial-cluster-token", "initial-advertise-peer-urls"]:
                restore += [f"--{name}", flag(release, member, name)]
            run(restore)

        release.start()
        assert release.sql("-c", "SELECT sum(n) FROM before").split() == ["sum(before.n)", "500500"]
        with pytest.raises(ChildProcessError, match="after"):
            release.sql("-c", "SELECT * FROM after")


def test_the_guide_names_the_flags_of_the_restore() -> None:
    guide = (REPOSITORY / "docs/kubernetes.md").read_text()
    for name in ["data-dir", "name", "initial-cluster", "initial-cluster-token", "initial-advertise-peer-urls"]:
        assert f"--{name} " in guide
