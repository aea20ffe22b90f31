"""What a virtual node is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from forebay.home.kubelet.account import MintToken


@dataclass(frozen=True)
class NodeSettings:
    """One node. `capacity` replaces the machine's own figures resource by resource (Kubernetes quantities).

    `mint_token(pod, uid of its ServiceAccount)` makes a bearer token of the API at `api_url`. `images` adds
    programs to the image table. The back-off is Kubernetes' CrashLoopBackOff.
    """

    data_dir: Path
    name: str
    api_url: str
    ca_file: Path
    mint_token: MintToken
    capacity: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    backoff_first_s: float = 10.0
    backoff_most_s: float = 300.0

    @property
    def dir(self) -> Path:
        """The node's folder."""
        return node_dir(self.data_dir, self.name)

    @property
    def root(self) -> Path:
        """Host paths lie below it."""
        return self.dir / "root"

    @property
    def allocatable(self) -> Mapping[str, str]:
        """What pods may have."""
        from forebay.home.kubelet.node import capacity_of

        return capacity_of(self.capacity, self.dir)

    def pod_dir(self, uid: str) -> Path:
        """Volumes and files of one pod."""
        return self.dir / "pods" / uid

    def log_dir(self, namespace: str, name: str, uid: str) -> Path:
        """Logs of one pod."""
        return pod_log_dir(self.data_dir, self.name, (namespace, name, uid))


def node_dir(data_dir: Path, node: str) -> Path:
    """The folder of one node."""
    return data_dir / "nodes" / node


def pod_log_dir(data_dir: Path, node: str, pod: tuple[str, str, str]) -> Path:
    """The folder of one pod's logs; `pod` is namespace, name, uid."""
    return node_dir(data_dir, node) / "logs" / "_".join(pod)
