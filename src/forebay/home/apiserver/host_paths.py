"""hostPath volumes are an administrator's: they show folders of the node, other tenants' copies among them.

On a cluster that is Pod Security's baseline; there it is asked of pods. Here it is asked of whatever a user
writes that has volumes (pods, workloads, services, runtimes), because their pods are made by programs with
other rights.
"""

from __future__ import annotations

import contextlib

from forebay.api.meta import Json
from forebay.errors import Absent
from forebay.home.apiserver.context import Call
from forebay.home.apiserver.status import About, Refusal
from forebay.home.tokens import MASTERS

_HINT = "use an emptyDir or a PersistentVolumeClaim, or let an administrator create this"


async def check(call: Call, raw: Json) -> None:
    """Refuse a hostPath volume that the stored object does not have already. Raises Refusal (403)."""
    if MASTERS in call.user.groups or call.op.subresource:
        return
    wanted = host_paths(raw.get("spec"))
    if not wanted:
        return
    with contextlib.suppress(Absent):  # it is new
        wanted -= host_paths((await call.api.store.get(call.served.stored, call.key)).raw.get("spec"))
    if wanted:
        about = About.of(call.served.kind, str(raw["metadata"].get("name") or call.op.name))
        what = f"{about.plural}.{about.group}" if about.group else about.plural
        shown = ", ".join(f'"{name}" of {path}' for name, path in sorted(wanted))
        told = f"hostPath volumes (volume {shown}) are for administrators: {_HINT}"
        raise Refusal("Forbidden", f'{what} "{about.name}" is forbidden: {told}', about=about)


def host_paths(node: object) -> set[tuple[str, str]]:
    """Name and path of every hostPath volume, however deep a pod's spec lies; pure."""
    if isinstance(node, list):
        return {one for entry in node for one in host_paths(entry)}
    if not isinstance(node, dict):
        return set()
    volumes = [v for v in _list(node.get("volumes")) if isinstance(v, dict) and v.get("hostPath") is not None]
    here = {(str(v.get("name")), _path(v["hostPath"])) for v in volumes}
    return here | {one for entry in node.values() for one in host_paths(entry)}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _path(source: object) -> str:
    return str(source.get("path")) if isinstance(source, dict) else ""
