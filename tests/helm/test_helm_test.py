"""What `helm test` does, with processes in place of pods: its containers as they are rendered, kubectl among them."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from api_server import Kubernetes
from chart import NAME, find, render, tool
from local import Pod, run, running, until

TOKEN = "a-token-of-helm-test-0123456789"
SECRETS = {
    "who": {
        "tokens.toml": f"[[token]]\nname = 'helm-test'\nrole = 'write'\ntoken = '{TOKEN}'\n",
        "process-secret": "what-processes-know-each-other-by",
        "token": TOKEN,
    }
}
VALUES = ("sharedVolume.enabled=true", "etcd.replicas=1", "metastore.leaseSeconds=2", "tests.rounds=20")


@pytest.mark.parametrize(
    ("token", "pair"), [("", ""), (TOKEN, ""), (TOKEN, "pair")], ids=["open", "identified", "encrypted"]
)
def test_helm_test_kills_an_executor_in_the_midst_of_queries(token: str, pair: str, tmp_path: Path) -> None:
    identity = ['identity.existingSecret="who"'] if token else []
    tls = [f'tls={{"enabled": true, "existingSecret": "{pair}"}}'] if pair else []
    documents = render(None, *VALUES, *identity, *tls)
    spec = find(documents, "Pod", f"{NAME}-test")["spec"]
    first, (kill, query) = spec["initContainers"][0], spec["containers"]
    with running(documents, tmp_path / "release", SECRETS, token, pair) as release, Kubernetes(release) as kubernetes:
        test = Pod(f"{NAME}-test", "test", spec, f"{release.prefix}.200", tmp_path / "test", release.shift)
        test.directory.mkdir()
        release.configure(test)
        run(release.command(test, first), env=os.environ | release.environment(test, first))

        configuration = kubernetes.configuration(tmp_path / "kubeconfig")
        path = f"{Path(tool('kubectl', 'helm-4.1.4')).parent}:{os.environ['PATH']}"
        environment = release.environment(test) | {"PATH": path, "KUBECONFIG": str(configuration)}
        killing = subprocess.Popen(release.command(test, kill), env=environment | {"HOME": str(tmp_path)})
        try:
            run(release.command(test, query), env=os.environ | release.environment(test, query))
            assert killing.wait(timeout=60) == 0
        finally:
            killing.kill()
            killing.wait()

        assert [role for role, _ in kubernetes.deleted] == ["executor"]
        executors = release.of("executor")
        codes = until(
            "one is dead", lambda: [pod.process.poll() for pod in executors if pod.process.poll() is not None]
        )
        assert codes == [-signal.SIGKILL]
        # What its role in Kubernetes lets it do is what it did.
        allowed = find(documents, "Role", f"{NAME}-test")["rules"][0]["verbs"]
        assert kubernetes.verbs <= set(allowed)
        # It leaves nothing behind.
        assert "helm_test" not in release.sql("-c", "SHOW TABLES")
