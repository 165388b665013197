"""What clusters with strict policies ask of every pod."""

import copy
import re

import pytest

from chart import Document, containers, kinds, pod_templates, render
from restricted import Spec, violations

STREAMS = ("ingest.enabled=true", 'ingest.directory="s3://a/b"')


def test_pods_are_restricted(documents: list[Document]) -> None:
    for name, pod in pod_templates(documents):
        assert list(violations(pod["spec"])) == [], name


GOOD: Spec = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {"name": "it", "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    ],
}


def changed(change: Spec) -> Spec:
    spec = copy.deepcopy(GOOD)
    container = spec["containers"][0]
    container["securityContext"].update(change.pop("context", {}))
    container.update(change.pop("container", {}))
    spec.update(change)
    return spec


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"hostNetwork": True}, ["hostNetwork is set"]),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, ["volume v is ['hostPath']"]),
        ({"context": {"privileged": True}}, ["it: is privileged"]),
        ({"context": {"allowPrivilegeEscalation": True}}, ["it: allows the escalation of privileges"]),
        ({"context": {"capabilities": {}}}, ["it: keeps capabilities"]),
        ({"context": {"runAsUser": 0}}, ["it: is root"]),
        ({"context": {"runAsNonRoot": False}}, ["it: may be root"]),
        ({"context": {"seccompProfile": {"type": "Unconfined"}}}, ["it: has no seccomp profile"]),
        ({"container": {"ports": [{"hostPort": 1}]}}, ["it: takes ports of the node"]),
    ],
)
def test_the_check_sees_what_is_forbidden(change: Spec, found: list[str]) -> None:
    assert list(violations(changed(change))) == found


def test_root_file_systems_are_read_only_and_what_is_written_is_bounded(documents: list[Document]) -> None:
    for name, pod in pod_templates(documents):
        for container in containers(pod):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
        for volume in pod["spec"].get("volumes", []):
            if "emptyDir" in volume:
                assert "sizeLimit" in volume["emptyDir"], (name, volume["name"])


def test_containers_have_resources_and_pinned_images(documents: list[Document]) -> None:
    for name, pod in pod_templates(documents):
        for container in containers(pod):
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), name
            assert "memory" in resources["limits"], name
            assert re.search(r":[^/:]*\d[^/:]*$|@sha256:", container["image"]), container["image"]
            assert not container["image"].endswith(":latest")


def test_no_server_has_a_token_for_kubernetes(documents: list[Document]) -> None:
    for name, pod in pod_templates(documents):
        assert pod["spec"]["automountServiceAccountToken"] is False, name
        for volume in pod["spec"].get("volumes", []):
            sources = volume.get("projected", {}).get("sources", [])
            if any("serviceAccountToken" in source for source in sources):
                assert name == "Pod pw-polarway-test"
    rules = kinds(documents, "Role")
    assert [it["metadata"]["name"] for it in rules] in ([], ["pw-polarway-test"])
    for it in rules:
        assert it["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "delete"]}]


def test_no_object_holds_a_secret() -> None:
    """Values can only name secrets."""
    documents = render(
        None,
        'objectStore.s3.existingSecret="keys"',
        'externalEtcd={"endpoints": ["https://etcd:2379"], "auth": {"existingSecret": "login"}}',
        "etcd.enabled=false",
        'scheduler.ticketSecret.existingSecret="tickets"',
        'identity.existingSecret="who"',
        'tls={"enabled": true, "existingSecret": "pair", "public": {"existingSecret": "public"}}',
        'storage.tables="s3://a/b"',
        *STREAMS,
        'ingest.feeds.existingSecret="feeds"',
    )
    assert kinds(documents, "Secret") == []
    for _, pod in pod_templates(documents):
        for container in containers(pod):
            for variable in container.get("env", []):
                # `…__TOKENS` and those of TLS are paths.
                if variable["name"].startswith("POLARWAY_TLS_"):
                    assert re.match("/etc/polarway/tls|polarway-process$", variable["value"]), variable["name"]
                elif re.search("SECRET|PASSWORD|KEY|TOKEN$|USER", variable["name"]):
                    assert variable["valueFrom"]["secretKeyRef"].keys() == {"name", "key"}, variable["name"]


def allowed(documents: list[Document], role: str, direction: str) -> list[Document]:
    policies = [
        it
        for it in kinds(documents, "NetworkPolicy")
        if it["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == role
    ]
    assert len(policies) == 1
    assert policies[0]["spec"]["policyTypes"] == ["Ingress", "Egress"]
    return policies[0]["spec"][direction]


def peers(rules: list[Document], port: int) -> list[Document]:
    side = "from" if any("from" in rule for rule in rules) else "to"
    return [
        peer
        for rule in rules
        if {"port": port} in rule["ports"]
        for peer in rule.get(side, [{"everybody": "there is"}])
    ]


def component(role: str) -> Document:
    labels = {"app.kubernetes.io/name": "polarway", "app.kubernetes.io/instance": "pw"}
    return {"podSelector": {"matchLabels": {**labels, "app.kubernetes.io/component": role}}}


CLIENT = {"podSelector": {"matchLabels": {"pw-polarway-client": "true"}}}


def test_every_role_has_a_policy_and_only_its_peers_get_in() -> None:
    documents = render(None, *STREAMS)
    expected = {
        ("scheduler", 50051): [CLIENT, component("scheduler"), component("executor"), component("ingest")],
        ("scheduler", 8080): [CLIENT],
        ("executor", 50052): [component("scheduler"), component("executor")],
        ("executor", 8080): [],
        ("ingest", 8081): [CLIENT],
        ("ingest", 50052): [component("scheduler"), component("executor"), component("ingest")],
        ("ingest", 8080): [],
        ("etcd", 2379): [component("scheduler"), component("executor"), component("ingest")],
        ("etcd", 2380): [component("etcd")],
        ("etcd", 2381): [],
    }
    for (role, port), who in expected.items():
        assert peers(allowed(documents, role, "ingress"), port) == who, (role, port)
    ports = {role: {port for it, port in expected if it == role} for role, _ in expected}
    for role, known in ports.items():
        for rule in allowed(documents, role, "ingress"):
            assert {port["port"] for port in rule["ports"]} <= known


def test_what_one_role_may_call_another_one_lets_in() -> None:
    documents = render(None, *STREAMS)
    roles = ["scheduler", "executor", "ingest", "etcd"]
    for caller in roles:
        for port in [50051, 50052, 2379, 2380]:
            for callee in roles:
                out = component(callee) in peers(allowed(documents, caller, "egress"), port)
                into = component(caller) in peers(allowed(documents, callee, "ingress"), port)
                assert out == into, (caller, callee, port)


def test_prometheus_gets_in_when_it_is_to_read() -> None:
    documents = render(None, *STREAMS, "metrics.serviceMonitor.enabled=true")
    prometheus = {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}
    for role, port in {"scheduler": 8080, "executor": 8080, "ingest": 8080, "etcd": 2381}.items():
        selectors = [peer.get("podSelector") for peer in peers(allowed(documents, role, "ingress"), port)]
        assert prometheus in selectors, role


def test_clients_get_to_executors_only_where_these_send_results() -> None:
    for results, there in [("proxy", False), ("direct", True)]:
        documents = render(None, f'scheduler.results="{results}"')
        assert (CLIENT in peers(allowed(documents, "executor", "ingress"), 50052)) is there


@pytest.mark.parametrize(
    ("values", "role", "ports"),
    [
        ((), "executor", {443}),
        (('objectStore.s3.endpoint="https://minio:9000"',), "executor", {443, 9000}),
        (('objectStore.s3={"endpoint": "http://minio", "allowHttp": true}',), "scheduler", {443, 80}),
        (
            ("etcd.enabled=false", 'externalEtcd.endpoints=["https://a:2379", "https://b:2380"]'),
            "executor",
            {443, 2379, 2380},
        ),
        (
            (*STREAMS, 'ingest.feeds.allowed=["wss://feed.example.com:9443/ws", "wss://x.example.com"]'),
            "ingest",
            {443, 9443},
        ),
    ],
)
def test_ports_to_the_world_follow_from_the_values(values: tuple[str, ...], role: str, ports: set[int]) -> None:
    rules = [rule for rule in allowed(render(None, *values), role, "egress") if "to" not in rule]
    assert {port["port"] for rule in rules for port in rule["ports"]} - {53} == ports


def test_machines_identities_are_out_of_reach_unless_asked_for() -> None:
    block = {"ipBlock": {"cidr": "169.254.0.0/16"}}
    for values, there in [((), False), (('workloadIdentity={"provider": "gcp", "serviceAccount": "a@b"}',), True)]:
        rules = allowed(render(None, *values), "executor", "egress")
        assert any(block in rule.get("to", []) for rule in rules) is there
