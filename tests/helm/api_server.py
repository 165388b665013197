"""As much of the API of Kubernetes as `kubectl` needs to list and delete pods, over the processes of a release.

Kubernetes itself does not run here. kubectl, the script that calls it and the processes that are killed are real.
"""

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import yaml

from chart import NAMESPACE
from local import Pod, Release

Answer = dict[str, Any]

RESOURCES = {
    "name": "pods",
    "singularName": "pod",
    "namespaced": True,
    "kind": "Pod",
    "verbs": ["delete", "get", "list"],
}


class Kubernetes:
    """The API, on a port of its own until it is closed."""

    def __init__(self, release: Release) -> None:
        self.release = release
        #: What was asked of pods: verbs as roles name them.
        self.verbs: set[str] = set()
        self.deleted: list[tuple[str, str]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> "Kubernetes":
        """Serves."""
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def configuration(self, path: Path) -> Path:
        """A file that leads kubectl here."""
        host, port = self.server.server_address[:2]
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": {"server": f"http://{host}:{port}"}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it", "namespace": NAMESPACE}}],
            "users": [{"name": "it", "user": {}}],
            "current-context": "it",
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def running(self) -> list[Pod]:
        """Pods whose processes are there."""
        return [pod for pod in self.release.pods if pod.process is not None and pod.process.poll() is None]

    def document(self, pod: Pod) -> Answer:
        """A pod as Kubernetes tells of it."""
        labels = {"app.kubernetes.io/instance": "pw", "app.kubernetes.io/component": pod.role}
        metadata = {"name": pod.name, "namespace": NAMESPACE, "uid": pod.name, "labels": labels}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"phase": "Running"}}

    def listed(self, query: dict[str, list[str]]) -> Answer:
        """Pods with the labels and fields that are asked for."""
        self.verbs.add("list")
        wanted = dict(part.split("=") for part in query.get("labelSelector", [""])[0].split(",") if part)
        fields = query.get("fieldSelector", ["status.phase=Running"])[0]
        pods = [self.document(pod) for pod in self.running() if fields == "status.phase=Running"]
        items = [pod for pod in pods if wanted.items() <= pod["metadata"]["labels"].items()]
        return {"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": items}

    def delete(self, name: str, options: Answer) -> Answer:
        """Kills a pod's process, as the kubelet does when there is no time to lose."""
        self.verbs.add("delete")
        pod = next(pod for pod in self.running() if pod.name == name)
        if options.get("gracePeriodSeconds") == 0 and pod.process is not None:
            pod.process.kill()
        self.deleted.append((pod.role, pod.name))
        return self.document(pod)

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Answer) -> Answer | None:
        """The answer to a request, if there is one."""
        of_pods = re.fullmatch(rf"/api/v1/namespaces/{NAMESPACE}/pods(?:/([\w.-]+))?", path)
        known: dict[str, Callable[[], Answer]] = {
            "/api": lambda: {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": lambda: {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
            "/api/v1": lambda: {"kind": "APIResourceList", "groupVersion": "v1", "resources": [RESOURCES]},
        }
        if of_pods is None:
            return known[path]() if path in known else None
        if method == "DELETE":
            return self.delete(of_pods[1], body)
        if of_pods[1] is None:
            return self.listed(query)
        self.verbs.add("get")
        return next((self.document(pod) for pod in self.running() if pod.name == of_pods[1]), None)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """The class whose objects answer requests."""
        api = self

        class Handler(BaseHTTPRequestHandler):
            def respond(self) -> None:
                url = urlparse(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or "{}")
                answer = api.answer(self.command, url.path, parse_qs(url.query), body)
                text = json.dumps(answer or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404})
                self.send_response(200 if answer else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_DELETE = respond  # noqa: N815 (the base class calls them so)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        return Handler
