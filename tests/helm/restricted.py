"""The Pod Security Standard `restricted`, as far as a pod's specification shows it."""

from collections.abc import Iterator
from typing import Any

Spec = dict[str, Any]

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def violations(spec: Spec) -> Iterator[str]:
    """What the standard forbids in the specification of a pod."""
    pod = spec.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"{field} is set"
    for volume in spec.get("volumes", []):
        kinds = volume.keys() - {"name"}
        if not kinds <= VOLUMES:
            yield f"volume {volume['name']} is {sorted(kinds)}"
    if pod.get("sysctls"):
        yield "sysctls are set"
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        yield from (f"{container['name']}: {found}" for found in of_container(container, pod))


def of_container(container: Spec, pod: Spec) -> Iterator[str]:
    """What it forbids in one container, for which the pod's context counts where it says nothing itself."""
    own = container.get("securityContext", {})
    capabilities = own.get("capabilities", {})
    if own.get("privileged"):
        yield "is privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allows the escalation of privileges"
    if "ALL" not in capabilities.get("drop", []):
        yield "keeps capabilities"
    if not set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"}:
        yield "adds capabilities"
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield "may be root"
    if own.get("runAsUser", pod.get("runAsUser")) == 0:
        yield "is root"
    if own.get("seccompProfile", pod.get("seccompProfile", {})).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "has no seccomp profile"
    if own.get("procMount", "Default") != "Default":
        yield "unmasks /proc"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "takes ports of the node"
