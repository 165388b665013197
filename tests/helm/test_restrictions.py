"""Values that cannot work are refused, and the message says what to do."""

import json
import re

import pytest

from chart import CHART, RefusedError, render

STREAMS = ["ingest.enabled=true"]
KEDA = ['executor.autoscaling={"kind": "keda", "minReplicas": 0, "keda": {"prometheusAddress": "http://p:9090"}}']

CONTRADICTIONS = [
    (['externalEtcd.endpoints=["http://etcd:2379"]'], "there can be one etcd"),
    (["etcd.replicas=2"], "etcd.replicas (2)"),
    (["etcd.enabled=false"], "scheduler.replicas (2): several schedulers share their metadata by etcd"),
    (
        ["etcd.enabled=false", 'externalEtcd={"endpoints": ["http://e:2379"], "tls": {"existingSecret": "tls"}}'],
        "http://e:2379 is not https",
    ),
    (
        ["etcd.enabled=false", 'externalEtcd={"endpoints": ["https://e:2379"], "tls": {"clientCertificate": true}}'],
        "externalEtcd.tls.existingSecret, which is empty",
    ),
    (["executor.resources.limits=null"], "70 % of its node's memory"),
    (['executor.memoryLimit="7GiB"'], "executor.memoryLimit (7GiB) is more than 80 %"),
    (['scheduler.memoryLimit="3GB"'], "scheduler.memoryLimit (3GB) is more than 80 %"),
    (['executor.spillLimit="50GiB"'], "executor.spillLimit (50GiB) must be less than executor.volume.size (50Gi)"),
    (["scheduler.terminationGracePeriodSeconds=60"], "the pause, the drain and 15 s take 80"),
    (["executor.terminationGracePeriodSeconds=134"], "the pause, the drain and 15 s take 135"),
    (["scheduler.podDisruptionBudget.minAvailable=1"], "minAvailable and maxUnavailable exclude each other"),
    (
        ['scheduler.podDisruptionBudget={"minAvailable": 1, "maxUnavailable": ""}', "scheduler.replicas=1"],
        "minAvailable (1) with 1 replicas would let no node be drained",
    ),
    (['etcd.podDisruptionBudget={"minAvailable": 3, "maxUnavailable": ""}'], "minAvailable (3) with 3 replicas"),
    (
        [
            'executor.podDisruptionBudget={"minAvailable": 2, "maxUnavailable": ""}',
            'executor.autoscaling={"kind": "hpa", "minReplicas": 2}',
        ],
        "minAvailable (2) with 2 replicas",
    ),
    (['executor.podDisruptionBudget.maxUnavailable=""'], "set minAvailable or maxUnavailable"),
    (['executor.autoscaling={"kind": "hpa", "minReplicas": 5, "maxReplicas": 4}'], "maxReplicas (4) is less"),
    (['executor.autoscaling={"kind": "hpa", "minReplicas": 0}'], "needs kind=keda"),
    (['executor.autoscaling={"kind": "hpa", "hpa": {"targetCPUUtilization": null}}'], "hpa has no metric"),
    (['executor.autoscaling.kind="hpa"', "executor.resources.requests=null"], "executor.resources.requests.cpu"),
    (['executor.autoscaling.kind="keda"'], "set executor.autoscaling.keda.prometheusAddress"),
    (KEDA, "set scheduler.executorWaitSeconds (30) to 120 or more"),
    (['shuffle.mode="durable"'], "shuffle.mode (durable) needs shuffle.url"),
    (['objectStore.s3.endpoint="http://minio:9000"'], "needs objectStore.s3.allowHttp=true"),
    (
        ['workloadIdentity={"provider": "aws", "roleArn": "a"}', 'objectStore.s3.existingSecret="s"'],
        "workloadIdentity.provider=aws and objectStore.s3.existingSecret",
    ),
    (['workloadIdentity.provider="azure"'], "workloadIdentity.provider=azure needs workloadIdentity.clientId"),
    (
        ['workloadIdentity={"provider": "aws", "roleArn": "a"}', "serviceAccount.create=false"],
        "set serviceAccount.create=true",
    ),
    (
        ['identity.existingSecret="who"', "metrics.serviceMonitor.enabled=true"],
        "name a secret with one of the role read in metrics.serviceMonitor.authorization.existingSecret",
    ),
    (["tls.enabled=true"], "tls.enabled: there is no certificate"),
    (
        ['tls={"enabled": true, "existingSecret": "pair", "certManager": {"enabled": true}}'],
        "there can be one certificate",
    ),
    (
        ['tls={"enabled": true, "certManager": {"enabled": true}}'],
        "tls.certManager.enabled needs tls.certManager.issuerRef.name",
    ),
    (['tls.existingSecret="pair"'], "tls.existingSecret without tls.enabled: nothing would be encrypted"),
    (['tls.public.existingSecret="public"'], "tls.public.existingSecret without tls.enabled"),
    (
        ['tls.certManager={"enabled": true, "issuerRef": {"name": "i"}}'],
        "tls.certManager.enabled without tls.enabled",
    ),
    (
        ['tls={"enabled": true, "existingSecret": "pair", "public": {"host": "sql.example.com"}}'],
        "tls.public.existingSecret, which is empty",
    ),
    (
        ['tls={"enabled": true, "existingSecret": "pair"}', 'scheduler.results="direct"'],
        "addresses of pods, which are in no certificate",
    ),
    (['config.tls.certificate="/c.pem"'], "config has tls.certificate, which comes from tls.existingSecret"),
    (STREAMS, "ingest.enabled needs ingest.directory"),
    ([*STREAMS, 'ingest.directory="/streams"'], "ingest.directory (/streams) is in no volume that all processes share"),
    (["tests.required=true"], "set storage.tables or sharedVolume.enabled"),
    (['config.scheduler.listen="0.0.0.0:1"'], "config has scheduler.listen, which comes from listenHost"),
    (['executor.config.executor.drain_timeout="1s"'], "executor.config has executor.drain_timeout"),
    (['config.storage.s3.secret_access_key="x"'], "comes from objectStore.s3.existingSecret"),
    (['scheduler.config.metastore.password="x"'], "comes from externalEtcd.auth.existingSecret"),
    (['config.identity.tokens="/tokens"'], "config has identity.tokens, which comes from identity.existingSecret"),
    (['config.identity.process_secret="x"'], "config has identity.process_secret"),
    (["executor.config.identity.trusted_network=false"], "executor.config has identity.trusted_network"),
]


@pytest.mark.parametrize(("values", "message"), CONTRADICTIONS, ids=[message for _, message in CONTRADICTIONS])
def test_contradictions_are_refused(values: list[str], message: str) -> None:
    with pytest.raises(RefusedError) as refused:
        render(None, *values)
    assert message in str(refused.value)


def test_all_contradictions_are_told_at_once() -> None:
    with pytest.raises(RefusedError) as refused:
        render(None, "etcd.replicas=2", 'shuffle.mode="durable"')
    assert "etcd.replicas (2)" in str(refused.value)
    assert "shuffle.mode (durable)" in str(refused.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("scheduler.replcas=2", "additional properties 'replcas' not allowed"),
        ('scheduler.replicas="2"', "/scheduler/replicas"),
        ("executor.slots=0", "/executor/slots"),
        ('executor.spillLimit="many"', "/executor/spillLimit"),
        ('storage.allowed=["data"]', "/storage/allowed/0"),
        ('storage.allowed=["ftp://host/data"]', "/storage/allowed/0"),
        ('log.format="xml"', "/log/format"),
        ('externalEtcd.endpoints=["etcd:2379"]', "/externalEtcd/endpoints/0"),
        ('ingest.feeds.allowed=["https://x"]', "/ingest/feeds/allowed/0"),
        ('image.digest="sha256:1"', "/image/digest"),
        ("extraEnv=[1]", "/extraEnv"),
        ('identity.tokensKey="../tokens"', "/identity/tokensKey"),
        ('tls.processName="*.example.com"', "/tls/processName"),
        ('tls.certManager.issuerRef.nam="i"', "additional properties 'nam' not allowed"),
        ('tls.certManager.duration="90d"', "/tls/certManager/duration"),
        ('metrics.serviceMonitor.interval="15"', "/metrics/serviceMonitor/interval"),
        ('executor.podAntiAffinity="maybe"', "/executor/podAntiAffinity"),
        ("metastore.leaseSeconds=1", "/metastore/leaseSeconds"),
    ],
)
def test_values_of_a_wrong_type_are_refused(value: str, message: str) -> None:
    with pytest.raises(RefusedError) as refused:
        render(None, value)
    assert message in str(refused.value)


def test_every_restriction_has_a_test() -> None:
    """Each message of the template is among those that the values above get."""
    template = (CHART / "templates/_restrictions.tpl").read_text()
    messages = [
        json.loads(text)
        for text in re.findall(r'\$faults = append \$faults (?:\(printf )?("(?:[^"\\]|\\.)*")', template)
    ]
    assert len(messages) == template.count("$faults = append $faults")
    told = []
    for values, _ in CONTRADICTIONS:
        with pytest.raises(RefusedError) as refused:
            render(None, *values)
        told.append(str(refused.value))
    for message in messages:
        parts = [re.escape(part) for part in re.split("%[sd]", message.replace("%%", "%"))]
        assert any(re.search(".*".join(parts), text) for text in told), message
