"""What the objects say: probes, budgets, autoscaling, grace, roles, secrets, memory."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from chart import (
    CHART,
    NAME,
    VALUES,
    Document,
    containers,
    find,
    kinds,
    pod_templates,
    render,
    role,
    workloads,
)

EXAMPLES = CHART / "examples"
STREAMS = ("ingest.enabled=true", 'ingest.directory="s3://a/b"')


def config(documents: list[Document], of: str) -> dict[str, Any]:
    return tomllib.loads(find(documents, "ConfigMap", f"{NAME}-config")["data"][f"{of}.toml"])


def spec(documents: list[Document], of: str) -> Document:
    kind = "Deployment" if of == "executor" else "StatefulSet"
    return find(documents, kind, f"{NAME}-{of}")["spec"]


def container(documents: list[Document], of: str) -> Document:
    return spec(documents, of)["template"]["spec"]["containers"][0]


def env(documents: list[Document], of: str) -> dict[str, Document]:
    return {variable["name"]: variable for variable in container(documents, of)["env"]}


def roles(documents: list[Document]) -> list[str]:
    return [role(document) for document in workloads(documents)]


def test_roles_and_their_objects() -> None:
    documents = render(None, *STREAMS)
    assert {(it["kind"], role(it), it["spec"]["replicas"]) for it in workloads(documents)} == {
        ("StatefulSet", "scheduler", 2),
        ("Deployment", "executor", 2),
        ("StatefulSet", "ingest", 2),
        ("StatefulSet", "etcd", 3),
    }
    assert container(documents, "scheduler")["args"][0] == "scheduler"
    assert container(documents, "executor")["args"][0] == "executor"
    assert container(documents, "ingest")["args"][:3] == ["executor", "--role", "ingest"]


@pytest.mark.parametrize("of", ["scheduler", "executor", "ingest"])
def test_probes_of_each_role(of: str) -> None:
    server = container(render(None, *STREAMS), of)
    alive = {"path": "/healthz", "port": "http"}
    assert server["startupProbe"]["httpGet"] == alive
    # What it says does not depend on the cluster.
    assert server["livenessProbe"]["httpGet"] == alive
    assert server["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    startup = server["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 120
    # Restarts are the last resort, and being asked no more the first.
    ready, live = server["readinessProbe"], server["livenessProbe"]
    assert ready["periodSeconds"] * ready["failureThreshold"] < live["periodSeconds"] * live["failureThreshold"]


def test_liveness_of_etcd_does_not_depend_on_its_other_members(default: list[Document]) -> None:
    etcd = container(default, "etcd")
    assert etcd["livenessProbe"]["httpGet"]["path"] == "/health?serializable=true"
    assert etcd["readinessProbe"]["httpGet"]["path"] == "/health"


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


@pytest.mark.parametrize("drain", [10, 600])
@pytest.mark.parametrize("of", ["scheduler", "executor"])
def test_grace_is_longer_than_the_drain(of: str, drain: int) -> None:
    documents = render(None, f"{of}.drainSeconds={drain}")
    pod = spec(documents, of)["template"]["spec"]
    pause = container(documents, of).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    drained = seconds(config(documents, of)[of]["drain_timeout"])
    assert drained == drain
    assert pod["terminationGracePeriodSeconds"] == pause + drained + 15


def test_roles_with_services_pause_before_they_drain() -> None:
    documents = render(None, *STREAMS)
    for of in ["scheduler", "ingest"]:
        assert container(documents, of)["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    assert "lifecycle" not in container(documents, "executor")
    # An ingest process ends in five steps of 45 s each at most.
    assert spec(documents, "ingest")["template"]["spec"]["terminationGracePeriodSeconds"] >= 5 * 45


def test_rolling_updates_fail_no_query(default: list[Document]) -> None:
    assert spec(default, "executor")["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0},
    }
    assert spec(default, "scheduler")["updateStrategy"] == {"type": "RollingUpdate"}


def test_clients_get_ready_schedulers_and_processes_all(default: list[Document]) -> None:
    clients = find(default, "Service", NAME)["spec"]
    assert clients["type"] == "ClusterIP"
    assert not clients.get("publishNotReadyAddresses")
    registration = find(default, "Service", f"{NAME}-scheduler")["spec"]
    assert registration["clusterIP"] == "None"
    assert registration["publishNotReadyAddresses"] is True
    assert spec(default, "scheduler")["serviceName"] == f"{NAME}-scheduler"


def test_every_role_has_a_budget_and_is_spread(documents: list[Document]) -> None:
    for of in roles(documents):
        budget = find(documents, "PodDisruptionBudget", f"{NAME}-{of}")["spec"]
        assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        assert ("maxUnavailable" in budget) != ("minAvailable" in budget)
        pod = spec(documents, of)["template"]["spec"]
        assert pod["affinity"]["podAntiAffinity"], of
        assert pod["topologySpreadConstraints"][0]["topologyKey"] == "topology.kubernetes.io/zone"


def test_placement_is_as_asked() -> None:
    documents = render(EXAMPLES / "s3-secret.yaml")
    rules = spec(documents, "executor")["template"]["spec"]["affinity"]["podAntiAffinity"]
    assert "requiredDuringSchedulingIgnoredDuringExecution" in rules
    assert spec(documents, "scheduler")["template"]["spec"]["priorityClassName"] == "serving"
    documents = render(None, 'executor.podAntiAffinity="none"', 'executor.nodeSelector={"disk": "nvme"}')
    pod = spec(documents, "executor")["template"]["spec"]
    assert "affinity" not in pod
    assert pod["nodeSelector"] == {"disk": "nvme"}


UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "GB": 10**9}


def size(text: str) -> float:
    number, unit = re.fullmatch(r"([0-9.]+)(\w+)", text).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit]


def test_memory_and_spill_agree_with_the_pod(documents: list[Document]) -> None:
    for of, key in [("scheduler", ("query", "memory_limit")), ("executor", ("executor", "memory_limit"))]:
        values = config(documents, of)
        limit = size(container(documents, of)["resources"]["limits"]["memory"])
        pool = values.get(key[0], {}).get(key[1])
        # Without one the process takes 70 % of its control group's limit by itself.
        assert pool is None or size(pool) <= 0.8 * limit
        pod = spec(documents, of)["template"]["spec"]
        data = next((volume for volume in pod["volumes"] if volume["name"] == "data"), None)
        if data is None:
            claim = spec(documents, of)["volumeClaimTemplates"][0]["spec"]
        else:
            claim = data.get("ephemeral", {}).get("volumeClaimTemplate", {}).get("spec", {})
        room = (
            data["emptyDir"]["sizeLimit"] if data and "emptyDir" in data else claim["resources"]["requests"]["storage"]
        )
        assert size(values["query"]["spill_limit"]) < size(room)


@pytest.mark.parametrize(
    ("resources", "slots"),
    [
        ('{"requests": {"cpu": "4", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}', 4),
        ('{"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}', 1),
        ('{"requests": {"cpu": 2, "memory": "1Gi"}, "limits": {"cpu": "2500m", "memory": "1Gi"}}', 3),
    ],
)
def test_slots_follow_from_the_cores(resources: str, slots: int) -> None:
    documents = render(None, f"executor.resources={resources}")
    assert config(documents, "executor")["executor"]["slots"] == slots
    assert config(documents, "scheduler")["query"]["target_partitions"] == slots
    assert config(render(None, "executor.slots=7"), "executor")["executor"]["slots"] == 7


def test_hpa() -> None:
    documents = render(EXAMPLES / "hpa.yaml")
    scaler = find(documents, "HorizontalPodAutoscaler", f"{NAME}-executor")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 20)
    assert scaler["scaleTargetRef"]["name"] == f"{NAME}-executor"
    assert [metric["type"] for metric in scaler["metrics"]] == ["Resource", "Pods"]
    assert scaler["metrics"][1]["pods"]["metric"]["name"] == "polarway_executor_tasks_running"
    # Whoever upgrades does not undo what was scaled.
    assert "replicas" not in spec(documents, "executor")


def test_keda_to_zero() -> None:
    documents = render(EXAMPLES / "keda-to-zero.yaml")
    scaler = find(documents, "ScaledObject", f"{NAME}-executor")["spec"]
    assert scaler["minReplicaCount"] == 0
    assert scaler["fallback"]["replicas"] >= 1
    queries = [trigger["metadata"]["query"] for trigger in scaler["triggers"]]
    assert 'sum(polarway_queries_running{namespace="data",job="pw-polarway-scheduler"})' in queries
    assert "replicas" not in spec(documents, "executor")
    # A query waits longer than an executor takes to be seen as needed and to start.
    wait = seconds(config(documents, "scheduler")["scheduler"]["executor_wait"])
    assert wait > scaler["pollingInterval"] + 60


def test_without_etcd_the_scheduler_keeps_the_metadata() -> None:
    documents = render(EXAMPLES / "minimal.yaml")
    assert "etcd" not in roles(documents)
    assert spec(documents, "scheduler")["volumeClaimTemplates"][0]["metadata"]["name"] == "data"
    assert config(documents, "executor")["executor"]["scheduler"] == f"{NAME}-scheduler.data.svc:50051"
    assert "etcd" not in config(documents, "scheduler")["metastore"]


def test_etcd_of_the_release(default: list[Document]) -> None:
    urls = [f"http://{NAME}-etcd-{number}.{NAME}-etcd.data.svc:2379" for number in range(3)]
    for of in ["scheduler", "executor"]:
        assert config(default, of)["metastore"]["etcd"] == urls
    assert "scheduler" not in config(default, "executor")["executor"]
    etcd = container(default, "etcd")
    assert etcd["image"].startswith("registry.k8s.io/etcd:")
    members = ",".join(
        f"{NAME}-etcd-{number}=http://{NAME}-etcd-{number}.{NAME}-etcd.data.svc:2380" for number in range(3)
    )
    assert f"--initial-cluster={members}" in etcd["args"]
    service = find(default, "Service", f"{NAME}-etcd")["spec"]
    assert service["publishNotReadyAddresses"] is True
    for of in ["etcd"]:
        assert spec(default, of)["persistentVolumeClaimRetentionPolicy"] == {
            "whenDeleted": "Retain",
            "whenScaled": "Retain",
        }


def test_etcd_of_ones_own() -> None:
    documents = render(EXAMPLES / "external-etcd.yaml")
    assert "etcd" not in roles(documents)
    metastore = config(documents, "executor")["metastore"]
    assert metastore["etcd"][0] == "https://etcd-0.etcd.infra.svc:2379"
    assert metastore["lease_ttl"] == "10s"
    assert env(documents, "executor")["POLARWAY_METASTORE__PASSWORD"]["valueFrom"]["secretKeyRef"] == {
        "name": "polarway-etcd",
        "key": "password",
    }
    mounts = {mount["name"]: mount["mountPath"] for mount in container(documents, "executor")["volumeMounts"]}
    for key in ["ca", "certificate", "key"]:
        assert Path(metastore[key]).parent == Path(mounts["etcd-tls"])
    assert config(documents, "scheduler")["query"]["timeout"] == "30m"
    assert find(documents, "PodDisruptionBudget", f"{NAME}-scheduler")["spec"]["minAvailable"] == 2


def test_secrets_of_the_store_come_by_name() -> None:
    documents = render(EXAMPLES / "s3-secret.yaml")
    for of in ["scheduler", "executor"]:
        variables = env(documents, of)
        for name, key in [("ACCESS_KEY_ID", "access-key-id"), ("SECRET_ACCESS_KEY", "secret-access-key")]:
            reference = variables[f"POLARWAY_STORAGE__S3__{name}"]["valueFrom"]["secretKeyRef"]
            assert reference == {"name": "lake-keys", "key": key}
    assert (
        env(documents, "scheduler")["POLARWAY_SCHEDULER__TICKET_SECRET"]["valueFrom"]["secretKeyRef"]["name"]
        == "polarway-tickets"
    )
    assert "POLARWAY_SCHEDULER__TICKET_SECRET" not in env(documents, "executor")


def reference(variables: dict[str, Document], name: str) -> Document:
    return variables[name]["valueFrom"]["secretKeyRef"]


def test_without_identity_every_server_is_told_that_its_network_is_trusted() -> None:
    documents = render(None, *STREAMS)
    for of in ["scheduler", "executor", "ingest"]:
        told = {name: it for name, it in env(documents, of).items() if name.startswith("POLARWAY_IDENTITY__")}
        assert [(name, it["value"]) for name, it in told.items()] == [("POLARWAY_IDENTITY__TRUSTED_NETWORK", "true")]


def test_identity_reaches_the_servers_by_name_and_as_a_file_that_follows_the_secret() -> None:
    documents = render(EXAMPLES / "identity.yaml")
    for of in ["scheduler", "executor", "ingest"]:
        variables = env(documents, of)
        secret = {"name": "polarway-identity", "key": "process-secret"}
        assert reference(variables, "POLARWAY_IDENTITY__PROCESS_SECRET") == secret
        # Nobody who calls an executor can say who it is.
        trusted = of == "executor"
        assert ("POLARWAY_IDENTITY__TRUSTED_NETWORK" in variables) is trusted
        assert ("POLARWAY_IDENTITY__TOKENS" in variables) is not trusted
        volumes = {it["name"]: it for it in spec(documents, of)["template"]["spec"]["volumes"]}
        mounts = {it["name"]: it for it in container(documents, of)["volumeMounts"]}
        assert ("identity" in volumes, "identity" in mounts) == (not trusted, not trusted)
        if not trusted:
            # Nothing else of the secret, and no `subPath`, which would keep the file as it was.
            assert volumes["identity"]["secret"] == {
                "secretName": "polarway-identity",
                "items": [{"key": "tokens.toml", "path": "tokens.toml"}],
            }
            assert mounts["identity"] == {"name": "identity", "mountPath": "/etc/polarway/identity", "readOnly": True}
            assert variables["POLARWAY_IDENTITY__TOKENS"]["value"] == "/etc/polarway/identity/tokens.toml"
        # That of clients is no server's business.
        assert "POLARWAY_TOKEN" not in variables


def test_keys_of_the_identity_can_be_named() -> None:
    documents = render(
        None,
        'identity.existingSecret="{{ .Release.Name }}-who"',
        'identity.tokensKey="t"',
        'identity.processSecretKey="p"',
        'identity.clientTokenKey="c"',
        "sharedVolume.enabled=true",
    )
    variables = env(documents, "scheduler")
    assert reference(variables, "POLARWAY_IDENTITY__PROCESS_SECRET") == {"name": "pw-who", "key": "p"}
    assert variables["POLARWAY_IDENTITY__TOKENS"]["value"] == "/etc/polarway/identity/t"
    volumes = {it["name"]: it for it in spec(documents, "scheduler")["template"]["spec"]["volumes"]}
    assert volumes["identity"]["secret"] == {"secretName": "pw-who", "items": [{"key": "t", "path": "t"}]}
    shown = {it["name"]: it for it in kinds(documents, "Pod")[0]["spec"]["initContainers"][0]["env"]}
    assert reference(shown, "POLARWAY_TOKEN") == {"name": "pw-who", "key": "c"}


def test_clients_of_the_release_show_a_token() -> None:
    for name, identified in [("identity", True), ("minimal", False)]:
        documents = render(VALUES[name])
        clients = containers(kinds(documents, "Pod")[0])
        assert [it["name"] for it in clients] == ["data", "kill", "query"]
        for it in clients:
            shown = {variable["name"]: variable for variable in it.get("env", [])}
            assert ("POLARWAY_TOKEN" in shown) is identified
            if identified:
                assert reference(shown, "POLARWAY_TOKEN") == {"name": "polarway-identity", "key": "token"}
        # On its standard input: who sees the processes does not see it.
        script = find(documents, "ConfigMap", f"{NAME}-test")["data"]["kill.sh"]
        assert ('"$POLARWAY_TOKEN" | curl -fsS -m 5 -H @- ' in script) is identified
        assert "Authorization" not in script.partition("curl")[2]


TLS = 'tls={"enabled": true, "existingSecret": "{{ .Release.Name }}-pair"}'
PUBLIC = """tls={"enabled": true, "existingSecret": "pair", "processName": "own",
    "public": {"existingSecret": "public", "caKey": "root.crt", "host": "sql.example.com"}}"""


def told(documents: list[Document], of: str, beginning: str) -> dict[str, str]:
    """What variables say whose names begin so."""
    return {
        name: it["value"] for name, it in env(documents, of).items() if name.startswith(beginning) and "value" in it
    }


@pytest.mark.parametrize("of", ["scheduler", "executor", "ingest"])
def test_certificates_reach_the_servers_as_files_that_follow_the_secret(of: str) -> None:
    documents = render(None, *STREAMS, TLS)
    assert told(documents, of, "POLARWAY_TLS__") == {
        "POLARWAY_TLS__CERTIFICATE": "/etc/polarway/tls/tls.crt",
        "POLARWAY_TLS__KEY": "/etc/polarway/tls/tls.key",
        "POLARWAY_TLS__CA": "/etc/polarway/tls/ca.crt",
        "POLARWAY_TLS__PROCESS_NAME": "polarway-process",
    }
    volumes = {it["name"]: it for it in spec(documents, of)["template"]["spec"]["volumes"]}
    mounts = {it["name"]: it for it in container(documents, of)["volumeMounts"]}
    assert volumes["tls"]["secret"] == {
        "secretName": "pw-pair",
        # The pod's group reads it; others do not.
        "defaultMode": 0o440,
        "items": [{"key": key, "path": key} for key in ("tls.crt", "tls.key", "ca.crt")],
    }
    assert mounts["tls"] == {"name": "tls", "mountPath": "/etc/polarway/tls", "readOnly": True}
    assert spec(documents, of)["template"]["spec"]["securityContext"]["fsGroup"] == 10001
    # The kubelet does not look at the certificate.
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
        assert container(documents, of)[probe]["httpGet"]["scheme"] == "HTTPS"
        assert "scheme" not in container(render(None, *STREAMS), of)[probe]["httpGet"]


@pytest.mark.parametrize("of", ["scheduler", "executor", "ingest"])
def test_users_may_see_another_certificate_than_processes(of: str) -> None:
    documents = render(None, *STREAMS, PUBLIC)
    variables = told(documents, of, "POLARWAY_TLS__")
    assert variables["POLARWAY_TLS__PUBLIC_CERTIFICATE"] == "/etc/polarway/tls-public/tls.crt"
    assert variables["POLARWAY_TLS__PUBLIC_KEY"] == "/etc/polarway/tls-public/tls.key"
    assert variables["POLARWAY_TLS__PROCESS_NAME"] == "own"
    volumes = {it["name"]: it for it in spec(documents, of)["template"]["spec"]["volumes"]}
    assert volumes["tls-public"]["secret"]["secretName"] == "public"
    assert volumes["tls-public"]["secret"]["items"][2] == {"key": "root.crt", "path": "ca.crt"}


@pytest.mark.parametrize(
    ("values", "trusted", "tokens"),
    [
        ((TLS,), {"scheduler", "ingest"}, set()),
        ((TLS, 'identity.existingSecret="who"'), set(), {"scheduler", "ingest"}),
    ],
)
def test_with_tls_no_executor_trusts_its_network(values: tuple[str, ...], trusted: set[str], tokens: set[str]) -> None:
    documents = render(None, *STREAMS, *values)
    for of in ["scheduler", "executor", "ingest"]:
        variables = env(documents, of)
        assert ("POLARWAY_IDENTITY__TRUSTED_NETWORK" in variables) is (of in trusted)
        assert ("POLARWAY_IDENTITY__TOKENS" in variables) is (of in tokens)
        # Certificates tell processes apart.
        assert "POLARWAY_IDENTITY__PROCESS_SECRET" not in variables


def test_senders_are_sent_on_by_a_name_that_the_certificate_has() -> None:
    variable = "POLARWAY_EXECUTOR__ADVERTISE_HOST"
    documents = render(EXAMPLES / "tls.yaml")
    host = env(documents, "ingest")[variable]["value"]
    assert host == f"$(POD_NAME).{NAME}-ingest-pods.data.svc"
    # Variables that are used come before.
    assert list(env(documents, "ingest")).index("POD_NAME") < list(env(documents, "ingest")).index(variable)
    names = find(documents, "Certificate", f"{NAME}-tls")["spec"]["dnsNames"]
    assert host.replace("$(POD_NAME)", "*") in names
    assert spec(documents, "ingest")["serviceName"] == f"{NAME}-ingest-pods"
    for of in [env(documents, "executor"), env(render(None, *STREAMS), "ingest")]:
        assert of[variable]["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"


def test_certificate_of_cert_manager() -> None:
    documents = render(EXAMPLES / "tls.yaml")
    certificate = find(documents, "Certificate", f"{NAME}-tls")["spec"]
    assert certificate["issuerRef"] == {"name": "polarway-authority", "kind": "Issuer", "group": "cert-manager.io"}
    assert {"server auth", "client auth"} <= set(certificate["usages"])
    names = set(certificate["dnsNames"])
    assert {"polarway-production", "localhost", "sql.example.com"} <= names
    # All names that Services have, and their pods.
    for service in kinds(documents, "Service"):
        name = service["metadata"]["name"]
        assert {name, f"{name}.data", f"{name}.data.svc", f"{name}.data.svc.cluster.local"} <= names
    assert {f"*.{NAME}-scheduler.data.svc", f"*.{NAME}-ingest-pods.data.svc"} <= names
    for of in ["scheduler", "executor", "ingest"]:
        volumes = {it["name"]: it for it in spec(documents, of)["template"]["spec"]["volumes"]}
        assert volumes["tls"]["secret"]["secretName"] == certificate["secretName"]
    assert kinds(render(None, TLS), "Certificate") == []


def test_services_say_that_their_ports_speak_tls(documents: list[Document]) -> None:
    encrypted = "POLARWAY_TLS__CERTIFICATE" in env(documents, "scheduler")
    for service in kinds(documents, "Service"):
        if role(service) != "etcd":
            for port in service["spec"]["ports"]:
                plain = "kubernetes.io/h2c" if port["name"] == "grpc" else None
                expected = "kubernetes.io/wss" if port["name"] == "ws" else "https"
                assert port.get("appProtocol") == (expected if encrypted else plain)


def test_prometheus_verifies_the_name_of_processes() -> None:
    documents = render(None, *STREAMS, PUBLIC, "metrics.serviceMonitor.enabled=true")
    endpoints = {role(it): it["spec"]["endpoints"][0] for it in kinds(documents, "ServiceMonitor")}
    plain = endpoints.pop("etcd")
    assert plain.keys().isdisjoint({"scheme", "tlsConfig"})
    assert endpoints.keys() == {"scheduler", "executor", "ingest"}
    for endpoint in endpoints.values():
        assert endpoint["scheme"] == "https"
        # With that name servers show the certificate of processes, whatever users see.
        ca = {"secret": {"name": "pair", "key": "ca.crt"}}
        assert endpoint["tlsConfig"] == {"ca": ca, "serverName": "own"}


@pytest.mark.parametrize(
    ("tls", "host", "trusted"),
    [
        (TLS, f"{NAME}.data.svc", {"secretName": "pw-pair", "items": [{"key": "ca.crt", "path": "ca.crt"}]}),
        (PUBLIC, "sql.example.com", {"secretName": "public", "items": [{"key": "root.crt", "path": "ca.crt"}]}),
        (PUBLIC.replace("root.crt", ""), "sql.example.com", None),
    ],
)
def test_helm_test_speaks_tls(tls: str, host: str, trusted: Document | None) -> None:
    documents = render(None, tls, "sharedVolume.enabled=true")
    pod = kinds(documents, "Pod")[0]
    volumes = {it["name"]: it for it in pod["spec"]["volumes"]}
    assert volumes.get("tls", {}).get("secret") == trusted
    for it in containers(pod):
        variables = {variable["name"]: variable for variable in it.get("env", [])}
        assert variables.get("POLARWAY_TLS_CA", {}).get("value") == (trusted and "/etc/polarway/tls/ca.crt")
        assert ("tls" in {mount["name"] for mount in it["volumeMounts"]}) is (trusted is not None)
        if it["name"] == "kill":
            assert variables["SCHEDULERS"]["value"] == f"{host}:8080"
        else:
            assert f"https://{host}:50051" in it["args"]
    script = find(documents, "ConfigMap", f"{NAME}-test")["data"]["kill.sh"]
    assert '"https://$SCHEDULERS/v1/queries"' in script
    assert ('--cacert "$POLARWAY_TLS_CA"' in script) is (trusted is not None)


def test_prometheus_shows_a_token_to_schedulers_and_to_nobody_else() -> None:
    monitors = kinds(render(EXAMPLES / "identity.yaml"), "ServiceMonitor")
    assert {role(it) for it in monitors} == {"scheduler", "executor", "ingest", "etcd"}
    shown = {role(it): it["spec"]["endpoints"][0].get("authorization") for it in monitors}
    credentials = {"name": "polarway-metrics", "key": "token"}
    assert shown.pop("scheduler") == {"type": "Bearer", "credentials": credentials}
    assert set(shown.values()) == {None}
    for it in kinds(render(EXAMPLES / "streams.yaml"), "ServiceMonitor"):
        assert "authorization" not in it["spec"]["endpoints"][0]


@pytest.mark.parametrize(
    ("example", "annotation"),
    [
        ("workload-identity", {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/polarway"}),
        ("keda-to-zero", {"iam.gke.io/gcp-service-account": "polarway@example.iam.gserviceaccount.com"}),
        ("streams", {"azure.workload.identity/client-id": "00000000-0000-0000-0000-000000000000"}),
    ],
)
def test_workload_identity(example: str, annotation: dict[str, str]) -> None:
    documents = render(VALUES[example])
    account = next(it for it in kinds(documents, "ServiceAccount") if role(it) == "server")
    assert account["metadata"]["annotations"] == annotation
    for of in roles(documents):
        assert spec(documents, of)["template"]["spec"]["serviceAccountName"] == account["metadata"]["name"]
    azure = {"azure.workload.identity/use": "true"}.items() <= spec(documents, "executor")["template"]["metadata"][
        "labels"
    ].items()
    assert azure is (example == "streams")


def test_ingest() -> None:
    documents = render(EXAMPLES / "streams.yaml")
    claim = spec(documents, "ingest")["volumeClaimTemplates"][0]["spec"]
    assert (claim["storageClassName"], claim["resources"]["requests"]["storage"]) == ("fast", "50Gi")
    assert spec(documents, "ingest")["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Retain"
    ingest = config(documents, "ingest")["ingest"]
    assert ingest["directory"] == "s3://lake/streams"
    assert ingest["feeds"] == ["wss://stream.example.com:9443/ws"]
    # Others read the sealed rows themselves.
    for of in ["scheduler", "executor"]:
        assert "s3://lake/streams" in config(documents, of)["storage"]["allowed"]
        assert config(documents, of)["storage"] == config(documents, "ingest")["storage"]
    assert env(documents, "ingest")["POLARWAY_EXECUTOR__NAME"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"


def test_all_roles_read_the_same(documents: list[Document]) -> None:
    own = {"scheduler": config(documents, "scheduler"), "executor": config(documents, "executor")}
    for section in ["storage", "metastore", "shuffle"]:
        assert own["scheduler"].get(section) == own["executor"].get(section), section


def test_environment_is_a_list_or_a_map_and_templates_are_rendered() -> None:
    documents = render(
        None,
        'extraEnv={"A": "{{ .Release.Name }}", "B": 1}',
        'executor.extraEnv=[{"name": "C", "value": "{{ .Release.Namespace }}"}]',
        'podAnnotations={"who": "{{ .Release.Name }}"}',
        'extraEnvFrom=[{"configMapRef": {"name": "more"}}]',
    )
    variables = env(documents, "executor")
    assert {name: variables[name]["value"] for name in "ABC"} == {"A": "pw", "B": "1", "C": "data"}
    assert "C" not in env(documents, "scheduler")
    assert spec(documents, "executor")["template"]["metadata"]["annotations"]["who"] == "pw"
    assert container(documents, "executor")["envFrom"] == [{"configMapRef": {"name": "more"}}]


def test_a_changed_configuration_replaces_the_pods_of_its_role(default: list[Document]) -> None:
    other = render(None, "executor.config.query.batch_size=4096")
    assert config(other, "executor")["query"]["batch_size"] == 4096

    def checksum(documents: list[Document], of: str) -> str:
        return spec(documents, of)["template"]["metadata"]["annotations"]["checksum/config"]

    assert checksum(other, "executor") != checksum(default, "executor")
    assert checksum(other, "scheduler") == checksum(default, "scheduler")


def test_another_version_of_the_chart_alone_replaces_no_pod(documents: list[Document]) -> None:
    for name, pod in pod_templates(documents):
        if not name.startswith("Pod "):
            own = {key for key in pod["metadata"]["labels"] if not key.startswith("azure.")}
            assert own == {f"app.kubernetes.io/{part}" for part in ("name", "instance", "component")}, name


def test_mounts_have_volumes(documents: list[Document]) -> None:
    claims = {
        role(it): {claim["metadata"]["name"] for claim in it["spec"].get("volumeClaimTemplates", [])}
        for it in workloads(documents)
    }
    for name, pod in pod_templates(documents):
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])}
        volumes |= claims.get(pod["metadata"]["labels"]["app.kubernetes.io/component"], set())
        for it in containers(pod):
            assert {mount["name"] for mount in it.get("volumeMounts", [])} <= volumes, name


def test_the_test_is_there_where_it_has_a_place_for_its_table(default: list[Document]) -> None:
    assert kinds(default, "Pod") == []
    for name in ["minimal", "s3-secret"]:
        pod = kinds(render(VALUES[name]), "Pod")[0]
        assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
        assert pod["metadata"]["labels"][f"{NAME}-client"] == "true"
