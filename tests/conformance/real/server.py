"""A real kube-apiserver with etcd, on loopback, for as long as a test session."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx

READY_S = 90.0


def binaries() -> Path | None:
    """The folder with `etcd` and `kube-apiserver`: KUBEBUILDER_ASSETS, or what `make cluster-tools` built."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    named = os.environ.get("KUBEBUILDER_ASSETS")
    for folder in (Path(named) if named else None, cache / "forebay" / "cluster-tools"):
        if folder and (folder / "kube-apiserver").exists() and (folder / "etcd").exists():
            return folder
    return None


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(bin_dir: Path, work: Path) -> Iterator[Path]:
    """Start both, wait until ready, yield the path of an admin kubeconfig, stop both."""
    (work / "tokens.csv").write_text('admin-token,admin,admin,"system:masters"\n')
    subprocess.run(["openssl", "genrsa", "-out", work / "sa.key", "2048"], check=True, capture_output=True)
    client, peer, api = free_port(), free_port(), free_port()
    etcd = [
        bin_dir / "etcd", "--data-dir", work / "etcd", "--unsafe-no-fsync", "--log-level=error",
        f"--listen-client-urls=http://127.0.0.1:{client}", f"--advertise-client-urls=http://127.0.0.1:{client}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
    ]  # fmt: skip
    server = [
        bin_dir / "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{client}", "--bind-address=127.0.0.1",
        f"--secure-port={api}", "--advertise-address=127.0.0.1", f"--cert-dir={work / 'pki'}",
        f"--service-account-key-file={work / 'sa.key'}",
        f"--service-account-signing-key-file={work / 'sa.key'}",
        "--service-account-issuer=https://kubernetes.default.svc", f"--token-auth-file={work / 'tokens.csv'}",
        "--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16",
        "--disable-admission-plugins=ServiceAccount",
    ]  # fmt: skip
    with (work / "etcd.log").open("wb") as one, (work / "apiserver.log").open("wb") as two:
        processes = [
            subprocess.Popen([str(a) for a in etcd], stdout=one, stderr=one),
            subprocess.Popen([str(a) for a in server], stdout=two, stderr=two),
        ]
        try:
            _wait(f"https://127.0.0.1:{api}/readyz", work)
            yield _kubeconfig(work, api)
        finally:
            for process in reversed(processes):  # nothing of them is kept, so there is nothing to end gently
                process.kill()
                process.wait()


def _wait(url: str, work: Path) -> None:
    deadline = time.monotonic() + READY_S
    headers = {"Authorization": "Bearer admin-token"}
    with httpx.Client(verify=False, trust_env=False) as client:
        while time.monotonic() < deadline:
            try:
                if client.get(url, headers=headers).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
    raise AssertionError(f"kube-apiserver was not ready: {(work / 'apiserver.log').read_text()[-2000:]}")


def _kubeconfig(work: Path, port: int) -> Path:
    path = work / "kubeconfig"
    path.write_text(f"""\
apiVersion: v1
kind: Config
current-context: real
clusters:
- name: real
  cluster: {{server: "https://127.0.0.1:{port}", certificate-authority: {work}/pki/apiserver.crt}}
users: [{{name: admin, user: {{token: admin-token}}}}]
contexts: [{{name: real, context: {{cluster: real, user: admin}}}}]
""")
    return path
