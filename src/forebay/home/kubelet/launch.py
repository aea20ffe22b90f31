"""From a container's spec to a process that can be started."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from forebay.api.kinds import ConfigMap, Secret
from forebay.api.meta import Json, Key
from forebay.home import images
from forebay.home.kubelet import account, ports
from forebay.home.kubelet.env import INHERITED, Look, command_line, environment, references
from forebay.home.kubelet.paths import Mounted, Translation
from forebay.home.kubelet.processes import Launch
from forebay.home.kubelet.volumes import Volume, fetch, mounts_of
from forebay.kit.tasks import in_thread
from forebay.store.protocol import Store

TERMINATION_LOG = "/dev/termination-log"


class NoImage(Exception):
    """No program stands for the image; the text says what to do."""


class BadImage(Exception):
    """The image's name is none."""


@dataclass(frozen=True)
class PodGround:
    """What all containers of one pod share."""

    pod: Json
    store: Store
    pod_dir: Path
    log_dir: Path
    volumes: Mapping[str, Volume]
    ports: Mapping[str, int]
    kubeconfig: Path | None
    api_url: str
    images: Mapping[str, tuple[str, ...]]
    allocatable: Mapping[str, str]


@dataclass(frozen=True)
class Prepared:
    """A container ready to start, and how to translate what runs beside it (probes, hooks)."""

    launch: Launch
    translation: Translation
    termination_log: Path


def program(container: Json, extra: Mapping[str, tuple[str, ...]]) -> list[str]:
    """What stands for the container's image; [] where it brings its own command. Raises NoImage, BadImage."""
    if container.get("command"):
        return []
    image = container.get("image") or ""
    found = images.resolve(image, extra)
    if found is None and (told := images.unreadable(image)):
        raise BadImage(told)
    if found is None:
        raise NoImage(images.refusal(image))
    return found


async def prepare(container: Json, run: int, ground: PodGround) -> Prepared:
    """Everything a run needs, folders made. Raises NoImage, BadImage, ConfigError, OSError."""
    argv = program(container, ground.images)
    look = await look_for(container, ground)
    given = _given(container, ground)
    env = environment(container, look, given)
    for name in ("PORT", *(f"PORT_{key}" for key in ground.ports)):
        if env[name] in ground.ports:  # the spec repeats the container port: the world calls the real one
            env[name] = str(ground.ports[env[name]])
    mounts = await in_thread(mounts_of, container, ground.volumes, env)
    scratch = ground.pod_dir / "containers" / container["name"]
    end = scratch / "termination-log"
    translation = Translation(
        [*mounts, Mounted(container.get("terminationMessagePath") or TERMINATION_LOG, str(end))]
    )
    words = translation.texts(command_line(container, argv, env))
    cwd = await in_thread(_folders, container.get("workingDir") or "", scratch, end, translation)
    env = {
        name: value if given.get(name) == value else translation.text(value) for name, value in env.items()
    }
    log = ground.log_dir / container["name"] / f"{run}.log"
    await in_thread(_fresh_log, log)
    return Prepared(Launch(f"{container['name']}.{run}", tuple(words), env, cwd, str(log)), translation, end)


async def look_for(container: Json, ground: PodGround) -> Look:
    """The secrets and config maps that the container's environment names, as they are now."""
    namespace = ground.pod["metadata"].get("namespace", "")
    secrets: dict[str, Json | None] = {}
    maps: dict[str, Json | None] = {}
    for kind, name in sorted(references(container)):
        if kind == "Secret":
            secrets[name] = await fetch(ground.store, Secret, Key(namespace, name))
        else:
            maps[name] = await fetch(ground.store, ConfigMap, Key(namespace, name))
    return Look(ground.pod, secrets, maps, allocatable=ground.allocatable)


def _given(container: Json, ground: PodGround) -> dict[str, str]:
    """What the home sets: a small, known environment instead of its own."""
    here = str(Path(sys.executable).parent)
    env = {name: os.environ[name] for name in INHERITED if name in os.environ}
    env |= {
        "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(ground.pod_dir / "home"),
        "TMPDIR": str(ground.pod_dir / "tmp"),
        "HOSTNAME": (ground.pod.get("spec") or {}).get("hostname") or ground.pod["metadata"]["name"],
    }
    return (
        env
        | account.environment(ground.kubeconfig, ground.api_url)
        | ports.environment(container, ground.ports)
    )


def _folders(working_dir: str, scratch: Path, termination_log: Path, translation: Translation) -> str:
    """The working directory: a mount's folder, a folder of this machine, else one of the container's own."""
    work = scratch / "work"
    work.mkdir(parents=True, exist_ok=True)
    termination_log.write_bytes(b"")
    if not working_dir:
        return str(work)
    translated = translation.text(working_dir)
    if translated != working_dir:
        Path(translated).mkdir(parents=True, exist_ok=True)
        return translated
    if Path(working_dir).is_dir():
        return working_dir
    own = work / working_dir.lstrip("/")
    own.mkdir(parents=True, exist_ok=True)
    return str(own)


def _fresh_log(log: Path) -> None:
    """Keep this run's log and the one before it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    run = int(log.stem)
    for old in log.parent.iterdir():
        number = old.name.partition(".")[0]
        if number.isdigit() and (int(number) < run - 1 or int(number) >= run):
            old.unlink(missing_ok=True)


def ending(termination_log: Path, log: Path, container: Json, code: int) -> str:
    """The termination message: what the container wrote, else (if asked for) the log's last 2 KiB."""
    try:
        message = termination_log.read_bytes()[:4096].decode(errors="replace")
    except OSError:
        message = ""
    if message or code == 0 or container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
        return message
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16 * 1024))
            lines = file.read().split(b"\n")[-81:]
    except OSError:
        return ""
    pieces = [line.split(b" ", 3)[3:] for line in lines]
    return b"\n".join(piece[0] for piece in pieces if piece)[-2048:].decode(errors="replace")
