"""A release over an object store whose keys are in a secret. Whoever runs it brings the store."""

import os
from pathlib import Path

import pytest

from chart import render
from local import running

ENDPOINT = os.environ.get("TEST_S3_ENDPOINT")
#: It has the bucket `lake`.
BUCKET = "s3://lake"


@pytest.mark.skipif(ENDPOINT is None, reason="TEST_S3_ENDPOINT, TEST_S3_KEY and TEST_S3_SECRET name no store")
def test_data_shuffle_and_streams_in_a_store_by_a_secret(tmp_path: Path) -> None:
    keys = {"access-key-id": os.environ["TEST_S3_KEY"], "secret-access-key": os.environ["TEST_S3_SECRET"]}
    tickets = {"ticket-secret": "sixteen-characters-and-more"}
    documents = render(
        None,
        f'storage={{"allowed": ["{BUCKET}/out"], "writable": ["{BUCKET}/out"], "tables": "{BUCKET}/tables"}}',
        f'objectStore.s3={{"endpoint": "{ENDPOINT}", "region": "us-east-1", "allowHttp": true}}',
        'objectStore.s3.existingSecret="keys"',
        f'shuffle={{"url": "{BUCKET}/shuffle", "mode": "durable"}}',
        f'ingest={{"enabled": true, "replicas": 1, "directory": "{BUCKET}/streams"}}',
        'scheduler.ticketSecret.existingSecret="tickets"',
        "etcd.replicas=1",
        "metastore.leaseSeconds=2",
    )
    with running(documents, tmp_path, {"keys": keys, "tickets": tickets}) as release:
        release.sql("-c", "CREATE TABLE numbers AS SELECT value AS n FROM generate_series(1, 100000) AS t(value)")
        release.sql("-c", f"COPY numbers TO '{BUCKET}/out/numbers/' STORED AS PARQUET")
        release.sql("-c", f"CREATE EXTERNAL TABLE copied STORED AS PARQUET LOCATION '{BUCKET}/out/numbers/'")
        staged = "SET polarway.route = 'staged'"
        joined = "SELECT sum(a.n) FROM numbers AS a JOIN copied AS b ON a.n = b.n"
        assert release.sql("-c", staged, "-c", joined).split() == ["sum(a.n)", "5000050000"]
        stored = sum(release.metric(pod, "polarway_shuffle_outputs_stored_total") for pod in release.of("executor"))
        assert stored > 0
        release.sql("-c", "CREATE STREAM ticks (id BIGINT NOT NULL)")
        assert release.sql("-c", "SELECT count(*) FROM ticks").split() == ["count(*)", "0"]
        release.stop()
        told = "".join(pod.log() for pod in release.pods)
        assert "takes rows of streams" in told
        for secret in [keys["secret-access-key"], tickets["ticket-secret"]]:
            assert secret not in told
