"""The Node object of a virtual node and its lease."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from forebay.api.kinds import Lease, Node
from forebay.api.meta import Json, Key
from forebay.errors import Absent, Clash
from forebay.kit.clock import rfc3339
from forebay.store.protocol import Store, edit, edit_status

KUBELET_VERSION = "v1.34.4"
LEASE_NAMESPACE = "kube-node-lease"
LEASE_S = 40  # as Kubernetes: four missed renewals and the node is called unknown
PODS_MAX = "110"
_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


def arch() -> str:
    """The machine's architecture as Go names it."""
    return _ARCH.get(platform.machine(), platform.machine())


def capacity_of(given: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The machine's cores, memory and disk, with what was given in their place."""
    there = folder
    while not there.exists():
        there = there.parent
    own = {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{_memory_bytes() // 1024}Ki",
        "ephemeral-storage": f"{shutil.disk_usage(there).total // 1024}Ki",
        "pods": PODS_MAX,
    }
    return own | dict(given)


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def node_labels(name: str, given: Mapping[str, str]) -> dict[str, str]:
    """The labels every node has, and the given ones."""
    system = sys.platform if sys.platform != "linux" else "linux"
    own = {
        "kubernetes.io/hostname": name, "kubernetes.io/os": system, "kubernetes.io/arch": arch(),
        "beta.kubernetes.io/os": system, "beta.kubernetes.io/arch": arch(),
    }  # fmt: skip
    return own | dict(given)


def node_status(before: Json, *, name: str, capacity: Mapping[str, str], now: datetime) -> Json:
    """The status, with transition times of unchanged conditions kept."""
    old = {c["type"]: c for c in before.get("conditions") or []}
    conditions = [_condition(row, old.get(row[0], {}), rfc3339(now)) for row in _CONDITIONS]
    ours = {row[0] for row in _CONDITIONS}
    return before | {
        "capacity": dict(capacity),
        "allocatable": dict(capacity),
        "conditions": [c for type_, c in old.items() if type_ not in ours] + conditions,
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
        "nodeInfo": _info(),
    }


def _condition(row: tuple[str, str, str, str], before: Json, now: str) -> Json:
    type_, status, reason, message = row
    since = before.get("lastTransitionTime") if before.get("status") == status else None
    return {
        "type": type_, "status": status, "reason": reason, "message": message, "lastHeartbeatTime": now,
        "lastTransitionTime": since or now,
    }  # fmt: skip


def _info() -> Json:
    system = "linux" if sys.platform == "linux" else sys.platform
    return {
        "kubeletVersion": KUBELET_VERSION, "kubeProxyVersion": "", "operatingSystem": system,
        "architecture": arch(),
        "containerRuntimeVersion": "process://1", "kernelVersion": platform.release(), "osImage": _os_image(),
        "machineID": "", "systemUUID": "", "bootID": "",
    }  # fmt: skip


def _os_image() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


async def register(store: Store, *, name: str, labels: Mapping[str, str], status: Json) -> None:
    """Create the Node, or bring labels and status of the one from an earlier life up to date."""

    def label(node: Node) -> None:
        node.meta["labels"] = {**node.labels, **labels}

    def report(node: Node) -> None:
        node.raw["status"] = {**node.status, **status}

    try:
        await edit(store, Node, Key("", name), label)
    except Absent:
        node = Node.new(name, labels=dict(labels), spec={})
        node.raw["status"] = status
        await store.create(node)
    await edit_status(store, Node, Key("", name), report)


async def renew_lease(store: Store, *, name: str, now: datetime) -> None:
    """Say that the node lives. Kubernetes' own sign of life, in the namespace kube-node-lease."""
    moment = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": name, "leaseDurationSeconds": LEASE_S, "renewTime": moment}

    def change(lease: Lease) -> None:
        lease.raw["spec"] = {**lease.spec, **spec}

    try:
        await edit(store, Lease, Key(LEASE_NAMESPACE, name), change)
    except Absent:
        try:
            await store.create(Lease.new(name, LEASE_NAMESPACE, spec=spec))
        except Clash:
            await edit(store, Lease, Key(LEASE_NAMESPACE, name), change)
