"""metrics.k8s.io: memory and CPU of pods and nodes, for `kubectl top`; measured when asked, kept nowhere.

Source: k8s.io/metrics, pkg/apis/metrics/v1beta1 (types), and the columns of metrics-server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import Response

from forebay.api.kinds import Node, Pod
from forebay.api.meta import Json, Key, Resource, dynamic_kind
from forebay.errors import Absent
from forebay.home.apiserver import output, selection
from forebay.home.apiserver.context import Call
from forebay.home.apiserver.registry import Served
from forebay.home.kubelet.stats import Usage
from forebay.kit.clock import rfc3339

GROUP = "metrics.k8s.io"
WINDOW_S = 0.25  # between the two looks at the CPU time
Containers = Mapping[str, Usage]
Rate = tuple[float, int]  # cores, resident bytes
Look = Callable[[], Mapping[str, Mapping[Key, Containers]]]  # node -> pod -> container

_LEAF = {"type": "object", "additionalProperties": {"type": "string"}}
_EACH = {"type": "object", "properties": {"name": {"type": "string"}, "usage": _LEAF}}
_COLUMNS = (("CPU", "cpu"), ("Memory", "memory"))


def _kind(name: str, plural: str, use: Json, *, namespaced: bool) -> type[Resource]:
    kind = dynamic_kind(api=f"{GROUP}/v1beta1", kind=name, plural=plural, namespaced=namespaced)
    moments = {"timestamp": {"type": "string", "format": "date-time"}, "window": {"type": "string"}}
    kind.openapi = {"type": "object", "properties": {**moments, **use}}  # type: ignore[attr-defined]
    at = ".containers[0].usage" if namespaced else ".usage"
    kind.columns = [  # type: ignore[attr-defined]
        *({"name": head, "type": "string", "jsonPath": f"{at}.{name}"} for head, name in _COLUMNS),
        {"name": "Window", "type": "string", "jsonPath": ".window"},
    ]
    return kind


PodMetrics = _kind("PodMetrics", "pods", {"containers": {"type": "array", "items": _EACH}}, namespaced=True)
NodeMetrics = _kind("NodeMetrics", "nodes", {"usage": _LEAF}, namespaced=False)


def served(look: Look) -> tuple[Served, ...]:
    """The two kinds, for the registry."""

    async def read(call: Call) -> Response:
        return await _answer(call, look)

    return tuple(Served(kind, kind, virtual=read) for kind in (PodMetrics, NodeMetrics))


async def _answer(call: Call, look: Look) -> Response:
    kind, op = call.served.kind, call.op
    about: type[Resource] = Pod if kind is PodMetrics else Node
    namespace = op.namespace if kind.namespaced else ""
    where = selection.where(about, namespace, op.name, dict(call.query.values))
    used = await _measure(look)
    items = (await call.api.store.list(about, where)).items
    if about is Node:
        rows = [_item(call, item, usage=_shown(_all_of(used.get(item.name, {})))) for item in items]
    else:
        by_pod = {key: containers for pods in used.values() for key, containers in pods.items() if containers}
        rows = [_item(call, item, containers=_each(by_pod[item.key])) for item in items if item.key in by_pod]
    if not op.name:
        return output.many(call, rows, {"resourceVersion": ""})
    if not rows:
        raise Absent(f'{kind.plural}.{GROUP} "{op.name}" not found', reason="NotFound")
    return output.one(call, rows[0].raw)


async def _measure(look: Look) -> dict[str, dict[Key, dict[str, Rate]]]:
    """Node -> pod -> container -> what it uses now; a container that has just begun uses no CPU yet."""
    before = look()
    await asyncio.sleep(WINDOW_S)
    return {
        node: {
            pod: {name: _rate(before.get(node, {}).get(pod, {}).get(name, now), now)
                  for name, now in containers.items()}
            for pod, containers in pods.items()
        }
        for node, pods in look().items()
    }  # fmt: skip


def _rate(was: Usage, now: Usage) -> Rate:
    return max(0.0, now.cpu_s - was.cpu_s) / WINDOW_S, now.rss_bytes


def _all_of(pods: Mapping[Key, Mapping[str, Rate]]) -> Rate:
    found = [rate for containers in pods.values() for rate in containers.values()]
    return sum(cores for cores, _ in found), sum(rss_bytes for _, rss_bytes in found)


def _each(containers: Mapping[str, Rate]) -> list[Json]:
    return [{"name": name, "usage": _shown(rate)} for name, rate in sorted(containers.items())]


def _shown(rate: Rate) -> Json:
    return {"cpu": f"{round(rate[0] * 1e9)}n", "memory": f"{rate[1] // 1024}Ki"}


def _item(call: Call, about: Resource, **measured: Any) -> Resource:
    now = rfc3339(call.api.clock.now())
    meta = {"name": about.name, "creationTimestamp": now, "labels": about.labels}
    if about.namespace:
        meta["namespace"] = about.namespace
    return call.served.kind({"metadata": meta, "timestamp": now, "window": f"{WINDOW_S}s", **measured})
