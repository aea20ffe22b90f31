"""What must be there before the first container of a pod starts: folders, token, volumes, ports."""

from __future__ import annotations

from pathlib import Path

from forebay.api.kinds import Pod, ServiceAccount
from forebay.api.meta import Key
from forebay.errors import Absent
from forebay.home.kubelet import account, ports
from forebay.home.kubelet.env import Look
from forebay.home.kubelet.launch import PodGround
from forebay.home.kubelet.settings import NodeSettings
from forebay.home.kubelet.volumes import Ground, MountFailed, fetch, mount
from forebay.kit.tasks import in_thread
from forebay.store.protocol import Store, edit


async def prepare_ground(
    pod: Pod, *, store: Store, settings: NodeSettings, book: ports.PortBook
) -> PodGround:
    """Make it; the ports are written to the pod's annotation. Raises MountFailed, Exhausted, Absent."""
    try:
        return await _prepare(pod, store, settings, book)
    except OSError as error:
        raise MountFailed("pod folder", f"{error}; free or repair the disk of the data folder") from error


async def _prepare(pod: Pod, store: Store, settings: NodeSettings, book: ports.PortBook) -> PodGround:
    pod_dir = settings.pod_dir(pod.uid)
    await in_thread(_folders, pod_dir)
    own = await fetch(store, ServiceAccount, Key(pod.namespace, account.name(pod.raw)))
    token, kubeconfig = "", None
    if account.wants_token(pod.raw, own):
        token = settings.mint_token(pod.raw, str(own["metadata"].get("uid", "")) if own else "")
        kubeconfig = pod_dir / "kubeconfig"
        account.write_kubeconfig(
            kubeconfig,
            api_url=settings.api_url,
            ca_file=settings.ca_file,
            token=token,
            namespace=pod.namespace,
        )
    allocatable = settings.allocatable
    look = Look(pod.raw, allocatable=allocatable)
    volumes = await mount(pod.raw, Ground(settings.root, pod_dir, store, token, look))
    stored, assigned = await _assign_ports(pod, store, book)
    return PodGround(
        pod=stored.raw, store=store, pod_dir=pod_dir, volumes=volumes, ports=assigned,
        log_dir=settings.log_dir(pod.namespace, pod.name, pod.uid), kubeconfig=kubeconfig,
        api_url=settings.api_url, images=settings.images, allocatable=allocatable,
    )  # fmt: skip


def _folders(pod_dir: Path) -> None:
    pod_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("home", "tmp", "volumes", "containers"):
        (pod_dir / name).mkdir(exist_ok=True)


async def _assign_ports(pod: Pod, store: Store, book: ports.PortBook) -> tuple[Pod, dict[str, int]]:
    assigned = ports.assign(pod.raw, book)

    def change(item: Pod) -> None:
        if item.uid != pod.uid:
            raise Absent(f"pod {pod.key} was replaced by another of its name", reason="NotFound")
        item.meta.setdefault("annotations", {})[ports.ANNOTATION] = ports.text(assigned)

    try:
        return await edit(store, Pod, pod.key, change), assigned
    except BaseException:
        book.give_back(assigned)
        raise
