"""A pod's volumes as folders of this machine.

What an unprivileged process cannot have is said in DESIGN.md: a read-only mount is the real folder (its
files' modes protect it, nothing else does), sizeLimit and medium of emptyDir are not kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from forebay.api.kinds import ConfigMap, PersistentVolume, PersistentVolumeClaim, Secret
from forebay.api.meta import Json, Key, Resource
from forebay.errors import Absent, Unavailable
from forebay.home.kubelet.env import ConfigError, Look, content, expand, pod_field, resource_field
from forebay.home.kubelet.paths import Mounted
from forebay.kit.tasks import in_thread
from forebay.store.protocol import Store

DEFAULT_MODE = 0o644
Files = dict[str, tuple[bytes, int]]


class MountFailed(Unavailable):
    """A volume is not there yet; tried again."""

    def __init__(self, volume: str, message: str) -> None:
        super().__init__(f'MountVolume.SetUp failed for volume "{volume}" : {message}', reason="FailedMount")


@dataclass(frozen=True)
class Volume:
    """A volume's folder (or file)."""

    path: Path
    read_only: bool = False


@dataclass(frozen=True)
class Ground:
    """Where volumes come from: the node's root, the pod's folder, the store, and the pod's token."""

    root: Path
    pod_dir: Path
    store: Store
    token: str
    look: Look


async def mount(pod: Json, ground: Ground) -> dict[str, Volume]:
    """Make every volume of the pod. Raises MountFailed for the first that is not there."""
    volumes = {}
    for item in (pod.get("spec") or {}).get("volumes") or []:
        try:
            volumes[item["name"]] = await _volume(item, pod, ground)
        except (OSError, ConfigError) as error:
            raise MountFailed(item["name"], str(error)) from error
    return volumes


async def _volume(item: Json, pod: Json, ground: Ground) -> Volume:
    name = item["name"]
    if item.get("hostPath"):
        return Volume(await in_thread(_host_path, ground.root, item["hostPath"], name))
    if item.get("persistentVolumeClaim"):
        return await _claim(item["persistentVolumeClaim"], name, pod, ground)
    folder = ground.pod_dir / "volumes" / name
    for kind in ("secret", "configMap", "downwardAPI", "projected"):
        if item.get(kind) is not None:
            files = await _files(kind, item[kind], ground)
            await in_thread(_write, folder, files)
            return Volume(folder, read_only=True)
    if item.get("emptyDir") is not None or len(item) == 1:
        await in_thread(lambda: folder.mkdir(parents=True, exist_ok=True))
        return Volume(folder)
    kinds = ", ".join(sorted(set(item) - {"name"}))
    raise MountFailed(
        name, f"the embedded home has no volumes of type {kinds}; use hostPath, a claim or emptyDir"
    )


def _host_path(root: Path, source: Json, name: str) -> Path:
    path, type_ = below(root, source["path"], name), source.get("type") or ""
    if type_ in ("", "DirectoryOrCreate") and not path.exists():
        path.mkdir(parents=True)
    if type_ == "FileOrCreate" and not path.exists():
        path.touch()
    right = {"Directory": path.is_dir, "File": path.is_file, "DirectoryOrCreate": path.is_dir,
             "FileOrCreate": path.is_file}  # fmt: skip
    if type_ in right and not right[type_]():
        raise MountFailed(name, f"hostPath type check failed: {source['path']} is not a {type_} below {root}")
    return path


def below(root: Path, path: str, name: str) -> Path:
    """A node's path as a real one. Raises MountFailed for `..`."""
    if ".." in Path(path).parts:
        raise MountFailed(name, f'path "{path}" must not contain ".."')
    return root / path.lstrip("/")


async def _claim(source: Json, name: str, pod: Json, ground: Ground) -> Volume:
    claim_name = source["claimName"]
    claim = await fetch(ground.store, PersistentVolumeClaim, Key(ground.look.namespace, claim_name))
    if claim is None:
        raise MountFailed(name, f'persistentvolumeclaim "{claim_name}" not found')
    bound_to = (claim.get("spec") or {}).get("volumeName")
    if not bound_to or (claim.get("status") or {}).get("phase") != "Bound":
        raise MountFailed(name, f'persistentvolumeclaim "{claim_name}" is not bound')
    volume = await fetch(ground.store, PersistentVolume, Key("", bound_to))
    if volume is None:
        raise MountFailed(name, f'persistentvolume "{bound_to}" not found')
    spec = volume["spec"]
    place = spec.get("local") or spec.get("hostPath")
    if not place:
        raise MountFailed(name, f'persistentvolume "{bound_to}" is neither local nor hostPath')
    read_only = bool(source.get("readOnly")) or "ro" in (spec.get("mountOptions") or [])
    read_only = read_only or _only_read(pod, name)
    path = below(ground.root, place["path"], name)
    if not read_only:
        await in_thread(lambda: path.mkdir(parents=True, exist_ok=True))
    elif not path.exists():  # an empty read-only volume is of no use to anyone
        raise MountFailed(name, f'path "{place["path"]}" does not exist on the node')
    return Volume(path, read_only)


def _only_read(pod: Json, volume: str) -> bool:
    spec = pod["spec"]
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    mounts = [m for c in containers for m in c.get("volumeMounts") or [] if m["name"] == volume]
    return bool(mounts) and all(m.get("readOnly") for m in mounts)


async def _files(kind: str, source: Json, ground: Ground) -> Files:
    mode = source.get("defaultMode", DEFAULT_MODE)
    if kind != "projected":
        return await _part(kind, source, ground, mode)
    files: Files = {}
    for part in source.get("sources") or []:
        for part_kind, part_source in part.items():
            files |= await _part(part_kind, part_source, ground, mode)
    return files


async def _part(kind: str, source: Json, ground: Ground, mode: int) -> Files:
    if kind == "serviceAccountToken":
        return {source["path"]: (ground.token.encode(), 0o600)}
    if kind == "downwardAPI":
        return {
            item["path"]: (_downward(item, ground.look).encode(), item.get("mode", mode))
            for item in source.get("items") or []
        }
    if kind not in ("secret", "configMap"):
        raise ConfigError(f"projected source {kind} is not supported by the embedded home")
    name = source.get("secretName") or source.get("name") or ""
    type_: type[Resource] = Secret if kind == "secret" else ConfigMap
    item = await fetch(ground.store, type_, Key(ground.look.namespace, name))
    if item is None:
        if source.get("optional"):
            return {}
        raise ConfigError(f'{type_.kind.lower()} "{name}" not found')
    return _chosen(content(item), source, mode)


def _chosen(data: Mapping[str, bytes], source: Json, mode: int) -> Files:
    if not source.get("items"):
        return {key: (value, mode) for key, value in data.items()}
    files: Files = {}
    for item in source["items"]:
        if item["key"] in data:
            files[item["path"]] = (data[item["key"]], item.get("mode", mode))
        elif not source.get("optional"):
            raise ConfigError(f"references non-existent key: {item['key']}")
    return files


def _downward(item: Json, look: Look) -> str:
    if item.get("fieldRef"):
        return pod_field(look, item["fieldRef"]["fieldPath"])
    ref = item["resourceFieldRef"]
    spec = look.pod["spec"]
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    container: Json = next((c for c in containers if c["name"] == ref.get("containerName")), {})
    return resource_field(container, ref, look)


def _write(folder: Path, files: Files) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, (data, mode) in files.items():
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise ConfigError(f'path "{name}" must be relative and must not contain ".."')
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(data)
        path.chmod(mode)


def mounts_of(container: Json, volumes: Mapping[str, Volume], env: Mapping[str, str]) -> list[Mounted]:
    """The volume mounts of a container, folders for subPath made. Raises ConfigError."""
    mounted = []
    for item in container.get("volumeMounts") or []:
        volume = volumes.get(item["name"])
        if volume is None:
            raise ConfigError(f'volumeMount "{item["name"]}" names no volume of the pod')
        sub = item.get("subPath") or expand(item.get("subPathExpr") or "", env)
        read_only = volume.read_only or bool(item.get("readOnly"))
        mounted.append(
            Mounted(item["mountPath"], str(_sub_path(volume.path, sub, read_only, item)), read_only)
        )
    return mounted


def _sub_path(path: Path, sub: str, read_only: bool, item: Json) -> Path:
    """The folder below the volume. A link that leads out of the volume is refused, as Kubernetes does."""
    if not sub:
        return path
    target = path / sub
    inside = target.resolve().is_relative_to(path.resolve())
    if Path(sub).is_absolute() or ".." in Path(sub).parts or not inside:
        raise ConfigError(
            f'failed to prepare subPath for volumeMount "{item["name"]}": {sub} leaves the volume'
        )
    if not target.exists():
        if read_only:
            raise ConfigError(
                f'failed to prepare subPath for volumeMount "{item["name"]}": {sub} does not exist'
            )
        target.mkdir(parents=True)
    return target


async def fetch(store: Store, kind: type[Resource], key: Key) -> Json | None:
    """The object's JSON, or None if it is absent."""
    try:
        return (await store.get(kind, key)).raw
    except Absent:
        return None
