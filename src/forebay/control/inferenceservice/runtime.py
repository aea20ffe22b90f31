"""Which ServingRuntime serves a model; pure. Source of the rules: KServe's selection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forebay.api.meta import Json, Resource
from forebay.api.states import FailureReason

_PROTOCOLS = ("v1", "v2", "grpc-v1", "grpc-v2")


@dataclass(frozen=True)
class Selected:
    """The runtime, or why there is none."""

    runtime: Resource | None = None
    reason: FailureReason | None = None
    message: str = ""


def select(model: Json, in_namespace: Sequence[Resource], cluster_wide: Sequence[Resource]) -> Selected:
    """The runtime that `model.runtime` names, else the best that takes the format by itself."""
    if model.get("runtime"):
        return _explicit(model, in_namespace, cluster_wide)
    wanted = _format(model)
    for protocols in ([model.get("protocolVersion") or "v1"], None):
        for runtimes in (in_namespace, cluster_wide):
            fitting = [r for r in runtimes if _takes(r, wanted, protocols, auto=True)]
            if fitting:
                return Selected(_ordered(fitting, wanted)[0])
        if model.get("protocolVersion"):
            break
    return Selected(
        None,
        FailureReason.NO_SUPPORTING_RUNTIME,
        f"no runtime serves format {_shown(wanted)} by itself; "
        "name one in model.runtime or create a ServingRuntime with autoSelect",
    )


def _explicit(model: Json, in_namespace: Sequence[Resource], cluster_wide: Sequence[Resource]) -> Selected:
    name, wanted = str(model["runtime"]), _format(model)
    found = next((r for r in (*in_namespace, *cluster_wide) if r.name == name), None)
    if found is None:
        return Selected(
            None,
            FailureReason.RUNTIME_NOT_RECOGNIZED,
            f"no ServingRuntime or ClusterServingRuntime is called {name}; create it or name another",
        )
    if found.spec.get("disabled"):
        return Selected(
            None, FailureReason.RUNTIME_DISABLED, f"runtime {name} is disabled; enable it or name another"
        )
    protocols = [str(model["protocolVersion"])] if model.get("protocolVersion") else None
    if not _takes(found, wanted, protocols, auto=False):
        return Selected(
            None,
            FailureReason.NO_SUPPORTING_RUNTIME,
            f"runtime {name} does not serve format {_shown(wanted)}; correct model.modelFormat or "
            "name another runtime",
        )
    return Selected(found)


def _format(model: Json) -> tuple[str, str]:
    told = model.get("modelFormat") or {}
    return str(told.get("name") or ""), str(told.get("version") or "")


def _shown(wanted: tuple[str, str]) -> str:
    return f"{wanted[0]} version {wanted[1]}" if wanted[1] else wanted[0]


def _takes(runtime: Resource, wanted: tuple[str, str], protocols: list[str] | None, *, auto: bool) -> bool:
    spec = runtime.spec
    if spec.get("disabled") or spec.get("multiModel") or spec.get("workerSpec"):
        return False
    if protocols is not None and not set(protocols) & set(spec.get("protocolVersions") or ["v1"]):
        return False
    return any(f.get("autoSelect") or not auto for f in _formats(runtime, wanted))


def _formats(runtime: Resource, wanted: tuple[str, str]) -> list[Json]:
    name, version = wanted
    return [
        f
        for f in runtime.spec.get("supportedModelFormats") or ()
        if f.get("name") == name and (not version or f.get("version") == version)
    ]


def _ordered(runtimes: Sequence[Resource], wanted: tuple[str, str]) -> list[Resource]:
    """Lowest protocol, newest, name; then by priority, highest first, none last."""
    found = sorted(runtimes, key=lambda r: r.name)
    found.sort(key=lambda r: str(r.meta.get("creationTimestamp") or ""), reverse=True)
    found.sort(key=_protocol)
    found.sort(key=lambda r: -max((int(f.get("priority") or 0) for f in _formats(r, wanted)), default=0))
    return found


def _protocol(runtime: Resource) -> int:
    told = runtime.spec.get("protocolVersions") or ["v1"]
    return min((_PROTOCOLS.index(p) for p in told if p in _PROTOCOLS), default=len(_PROTOCOLS))
