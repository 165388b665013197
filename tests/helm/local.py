"""The pods of a rendered release as processes of this machine.

Each pod has a loopback address of its own, so its ports stay as they are, unless somebody else has them on all
addresses. What a pod finds in Kubernetes is put in its place: names of Services become addresses, mounts directories,
field references and secrets values. Everything else, command, arguments, environment and configuration, is what the
chart says.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import certificates
from chart import NAMESPACE, Document, find, kinds, role, workloads

#: How long anything may take on a machine that has other things to do.
CEILING = 120.0


def until(what: str, condition: Callable[[], Any], seconds: float = CEILING) -> Any:
    """What the condition gives as soon as that is true."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def get(url: str, token: str = "", trust: ssl.SSLContext | None = None) -> tuple[int, str]:
    """Status and body of an answer; status 0 without one."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=5, context=trust) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def polarway() -> str:
    """The binary under test."""
    found = os.environ.get("POLARWAY_BIN") or shutil.which("polarway")
    if not found or not Path(found).is_file():
        raise FileNotFoundError("POLARWAY_BIN names no polarway binary")
    return found


def network(ports: Sequence[int]) -> tuple[str, int]:
    """The first three numbers of loopback addresses that nobody uses, and what has to be added to ports there."""
    for shift in [0, 0, 0, *range(1000, 10000, 500)]:
        prefix = f"127.{random.randint(16, 254)}.{random.randint(0, 254)}"
        try:
            for port in ports:
                with socket.socket() as probe:
                    probe.bind((f"{prefix}.1", port + shift))
        except OSError:
            continue
        return prefix, shift
    raise OSError("there are no free ports on the loopback network")


@dataclass
class Pod:
    """One pod, its process, and where it writes."""

    name: str
    role: str
    spec: Document
    address: str
    directory: Path
    shift: int
    process: subprocess.Popen[bytes] | None = None
    #: What whoever asks it shows, and the file with whom it trusts.
    token: str = ""
    authority: Path | None = None

    @property
    def container(self) -> Document:
        """The server; other containers beside it are not started."""
        return self.spec["containers"][0]

    def at(self, name: str) -> str:
        """Host and port of one of its ports."""
        port = next(it["containerPort"] for it in self.container["ports"] if it["name"] == name)
        return f"{self.address}:{port + self.shift}"

    def get(self, path: str, port: str = "http") -> tuple[int, str]:
        """Status and body of what it answers over HTTP."""
        if self.authority is None or self.role == "etcd":
            return get(f"http://{self.at(port)}{path}", self.token)
        return get(f"https://{self.at(port)}{path}", self.token, ssl.create_default_context(cafile=self.authority))

    def probe(self, which: str) -> int:
        """Does what the kubelet does, which has no token and looks at no certificate, and gives the status."""
        http = self.container[which]["httpGet"]
        scheme = http.get("scheme", "HTTP").lower()
        anybody = ssl.create_default_context()
        anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
        return get(f"{scheme}://{self.at(http['port'])}{http['path']}", trust=anybody)[0]

    def log(self) -> str:
        """What it wrote to standard output and error."""
        return (self.directory / "log").read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to its process."""
        if self.process is None:
            raise ProcessLookupError(self.name)
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit code, which has to come within the grace period that the chart gives it."""
        if self.process is None:
            raise ProcessLookupError(self.name)
        return self.process.wait(timeout=self.spec["terminationGracePeriodSeconds"])


@dataclass
class Release:
    """All pods of a release."""

    documents: list[Document]
    directory: Path
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    #: What its clients show, and the file with whom they trust.
    token: str = ""
    authority: Path | None = None
    pods: list[Pod] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Gives each pod its address and its directory."""
        ports = {
            port["containerPort"]
            for workload in workloads(self.documents)
            for container in workload["spec"]["template"]["spec"]["containers"]
            for port in container["ports"]
        }
        self.ports = sorted(ports)
        self.prefix, self.shift = network(self.ports)
        for workload in workloads(self.documents):
            self.add(workload)

    def encrypt(self, secret: str, name: str = "polarway-process") -> None:
        """Makes the secret with a certificate for all pods, which one dials by their addresses here."""
        directory = self.directory / "certificates"
        pair = certificates.issue(directory, [name, "localhost"], [pod.address for pod in self.pods])
        self.secrets = {**self.secrets, secret: pair}
        self.authority = directory / "ca.crt"
        for pod in self.pods:
            pod.authority = self.authority

    def add(self, workload: Document) -> None:
        """The pods of one workload."""
        template = workload["spec"]["template"]["spec"]
        for number in range(workload["spec"].get("replicas", 1)):
            name = f"{workload['metadata']['name']}-{number}"
            directory = self.directory / name
            directory.mkdir(parents=True)
            address = f"{self.prefix}.{len(self.pods) + 1}"
            pod = Pod(name, role(workload), template, address, directory, self.shift, token=self.token)
            self.pods.append(pod)

    def of(self, wanted: str) -> list[Pod]:
        """The pods of a role."""
        return [pod for pod in self.pods if pod.role == wanted]

    # What Kubernetes puts into a pod

    def names(self) -> dict[str, str]:
        """Addresses of the names that pods and Services have; of several pods behind a Service that of the first."""
        names = {}
        for service in kinds(self.documents, "Service"):
            name = service["metadata"]["name"]
            component = service["spec"]["selector"]["app.kubernetes.io/component"]
            for pod in self.of(component):
                names[f"{pod.name}.{name}.{NAMESPACE}.svc"] = pod.address
                names.setdefault(f"{name}.{NAMESPACE}.svc", pod.address)
        return names

    def directories(self, pod: Pod) -> dict[str, Path]:
        """Where each mount of a pod is."""
        volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
        mounts = {}
        for mount in pod.container["volumeMounts"]:
            volume = volumes.get(mount["name"], {})
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            # A claim by name is the same directory for all; those of templates and empty directories are the pod's own.
            directory = self.directory / claim if claim else pod.directory / mount["name"]
            directory.mkdir(exist_ok=True)
            mounts[mount["mountPath"]] = directory
        return mounts

    def translate(self, pod: Pod, text: str) -> str:
        """A text of the chart with what this machine has in place of what Kubernetes has."""
        places = self.names() | {"0.0.0.0": pod.address}
        places |= {path: str(directory) for path, directory in self.directories(pod).items()}
        # The longest first: some begin with others.
        known = "|".join(re.escape(place) for place in sorted(places, key=len, reverse=True))
        text = re.sub(rf"(?<![\w.-])({known})(?![\w-])", lambda found: places[found[1]], text)
        ports = "|".join(map(str, self.ports))
        return re.sub(rf":({ports})\b", lambda found: f":{int(found[1]) + self.shift}", text)

    def environment(self, pod: Pod, container: Document | None = None) -> dict[str, str]:
        """The variables of a pod's container, as the kubelet resolves them."""
        fields = {"metadata.name": pod.name, "status.podIP": pod.address, "metadata.namespace": NAMESPACE}
        variables: dict[str, str] = {}
        for variable in (container or pod.container).get("env", []):
            source = variable.get("valueFrom", {})
            if "fieldRef" in source:
                value = fields[source["fieldRef"]["fieldPath"]]
            elif "secretKeyRef" in source:
                value = self.secrets[source["secretKeyRef"]["name"]][source["secretKeyRef"]["key"]]
            else:
                # Those above it may be part of it.
                known = re.sub(r"\$\((\w+)\)", lambda name: variables[name[1]], variable["value"])
                value = self.translate(pod, known)
            variables[variable["name"]] = value
        return variables

    def configure(self, pod: Pod) -> None:
        """Writes the files of ConfigMaps and secrets to where they are mounted."""
        mounts = {mount["name"]: mount["mountPath"] for mount in pod.container["volumeMounts"]}
        directories = self.directories(pod)
        for volume in pod.spec.get("volumes", []):
            if volume["name"] not in mounts:
                continue
            directory = directories[mounts[volume["name"]]]
            if "configMap" in volume:
                data = find(self.documents, "ConfigMap", volume["configMap"]["name"])["data"]
                items = volume["configMap"].get("items", [{"key": key, "path": key} for key in data])
                for item in items:
                    (directory / item["path"]).write_text(self.translate(pod, data[item["key"]]))
            elif "secret" in volume:
                data = self.secrets[volume["secret"]["secretName"]]
                for item in volume["secret"].get("items", [{"key": key, "path": key} for key in data]):
                    (directory / item["path"]).write_text(data[item["key"]])

    # Processes

    def command(self, pod: Pod, container: Document | None = None) -> list[str]:
        """The command line of a container, with the programs of this machine."""
        container = container or pod.container
        variables = self.environment(pod)
        name = container["command"][0]
        program = polarway() if name == "polarway" else name
        arguments = [*container["command"][1:], *container.get("args", [])]
        resolved = [re.sub(r"\$\((\w+)\)", lambda name: variables[name[1]], argument) for argument in arguments]
        return [program, *(self.translate(pod, argument) for argument in resolved)]

    def spawn(self, pod: Pod) -> None:
        """Starts a pod's process, with the environment that the chart gives it and no other."""
        self.configure(pod)
        with (pod.directory / "log").open("ab") as log:
            pod.process = subprocess.Popen(
                self.command(pod),
                env=self.environment(pod),
                executable=shutil.which(self.command(pod)[0]),
                cwd=pod.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def ready(self, pod: Pod) -> bool:
        """Whether the probes of the chart are content."""
        if pod.process is None or pod.process.poll() is not None:
            raise ChildProcessError(f"{pod.name} has ended:\n{pod.log()}")
        return all(pod.probe(which) == 200 for which in ("startupProbe", "livenessProbe", "readinessProbe"))

    def start(self) -> None:
        """Starts all pods at once, as Kubernetes does, and waits until they are ready."""
        for pod in self.pods:
            self.spawn(pod)
        for pod in self.pods:
            until(f"{pod.name} is ready", lambda pod=pod: self.ready(pod))
        executors = len(self.of("executor"))
        for scheduler in self.of("scheduler"):
            until("executors are known", lambda it=scheduler: self.metric(it, "polarway_executors") == executors)

    def metric(self, pod: Pod, name: str) -> float:
        """The value of a metric without labels."""
        found = re.search(rf"^{name} (\S+)$", pod.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else -1.0

    def kill(self) -> None:
        """Ends what is still there."""
        for pod in self.pods:
            if pod.process is not None and pod.process.poll() is None:
                pod.process.kill()
                pod.process.wait()

    def stop(self) -> dict[str, int]:
        """Asks all to go as Kubernetes does, all at once; exit codes by names."""
        for pod in self.pods:
            pod.signal(signal.SIGTERM)
        return {pod.name: pod.wait() for pod in self.pods}

    def sql(self, *arguments: str) -> str:
        """What the shell prints when it asks the schedulers by the client Service."""
        scheme = "https://" if self.authority else ""
        endpoints = ",".join(f"{scheme}{pod.at('grpc')}" for pod in self.of("scheduler"))
        shown = {"POLARWAY_TOKEN": self.token} if self.token else {}
        if self.authority:
            shown["POLARWAY_TLS_CA"] = str(self.authority)
        command = [polarway(), "sql", "--endpoint", endpoints, "--format", "csv", "--quiet", *arguments]
        return run(command, env=os.environ | shown)


def run(command: Sequence[str], **options: Any) -> str:
    """The output of a command that has to end well."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, **options)
    if done.returncode != 0:
        raise ChildProcessError(f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def running(
    documents: list[Document],
    directory: Path,
    secrets: Mapping[str, Mapping[str, str]] | None = None,
    token: str = "",
    pair: str = "",
) -> Iterator[Release]:
    """A release that is up, and gone afterwards whatever happens; with TLS by the secret `pair`, which is made."""
    release = Release(documents, directory, secrets or {}, token)
    if pair:
        release.encrypt(pair)
    try:
        release.start()
        yield release
    finally:
        release.kill()


class Repeated(threading.Thread):
    """Does something over and over in the background until it is told to stop, and keeps what it raised."""

    def __init__(self, action: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self.action = action
        self.rounds = 0
        self.failure: Exception | None = None
        self.enough = threading.Event()

    def run(self) -> None:
        """Until `enough` or a failure."""
        while not self.enough.is_set():
            try:
                self.action()
            except Exception as failure:  # noqa: BLE001 (whoever joins raises it)
                self.failure = failure
                return
            self.rounds += 1

    def finish(self) -> int:
        """Stops, raises what went wrong, and says how often it went well."""
        self.enough.set()
        self.join()
        if self.failure is not None:
            raise self.failure
        return self.rounds
