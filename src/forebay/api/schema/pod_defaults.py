"""Defaults of a pod's spec as kube-apiserver gives them (they change their argument).

Source: Kubernetes' documented defaults (API reference of PodSpec, Container, Probe, volumes; v1.34).
"""

from __future__ import annotations

from typing import Any

from forebay.api.meta import Json

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_TAINTS_SECONDS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_VOLUME_MODES = ("secret", "configMap", "downwardAPI", "projected")


def template(spec: Json) -> None:
    """Defaults of a PodSpec, in a template or in a pod."""
    for name, value in (
        ("restartPolicy", "Always"), ("dnsPolicy", "ClusterFirst"), ("schedulerName", "default-scheduler"),
        ("securityContext", {}),
    ):  # fmt: skip
        if not spec.get(name) and spec.get(name) != {}:
            spec[name] = value
    grace = spec.get("terminationGracePeriodSeconds")
    spec["terminationGracePeriodSeconds"] = 30 if grace is None else 1 if grace < 0 else grace
    _same_account(spec)
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for one in _dicts(spec.get(group)):
            container(one, host_network=bool(spec.get("hostNetwork")) and group != "ephemeralContainers")
    for one in _dicts(spec.get("volumes")):
        volume(one)


def _same_account(spec: Json) -> None:
    """`serviceAccount` is the old name of `serviceAccountName`; both are always the same."""
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account


def pod(spec: Json) -> None:
    """What only a pod gets, beyond template()."""
    for group in ("containers", "initContainers"):
        for one in _dicts(spec.get(group)):
            resources = one.get("resources") or {}
            if resources.get("limits"):
                resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
    spec.setdefault("enableServiceLinks", True)


def admitted(spec: Json) -> None:
    """What kube-apiserver's default admission plug-ins add to a new pod: account, tolerations, priority."""
    if not spec.get("serviceAccountName"):
        spec["serviceAccountName"] = "default"
    spec["serviceAccount"] = spec["serviceAccountName"]
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    tolerated(spec)


def tolerated(spec: Json) -> None:
    """The tolerations that admission keeps in a pod, also when it is changed."""
    tolerations = list(spec.get("tolerations") or [])
    for key in _TAINTS_SECONDS:
        if not any(_tolerates(one, key) for one in _dicts(tolerations)):
            tolerations.append(
                {"effect": "NoExecute", "key": key, "operator": "Exists", "tolerationSeconds": 300}
            )
    spec["tolerations"] = tolerations


def _tolerates(toleration: Json, key: str) -> bool:
    return toleration.get("key") in (key, "", None) and toleration.get("effect") in ("NoExecute", "", None)


def container(one: Json, *, host_network: bool = False) -> None:
    """Defaults of one container."""
    if not one.get("imagePullPolicy"):
        one["imagePullPolicy"] = "Always" if _is_latest(str(one.get("image") or "")) else "IfNotPresent"
    one["terminationMessagePath"] = one.get("terminationMessagePath") or "/dev/termination-log"
    one["terminationMessagePolicy"] = one.get("terminationMessagePolicy") or "File"
    for port in _dicts(one.get("ports")):
        port["protocol"] = port.get("protocol") or "TCP"
        if host_network and not port.get("hostPort") and port.get("containerPort"):
            port["hostPort"] = port["containerPort"]
    for name in _PROBES:
        if isinstance(one.get(name), dict):
            probe(one[name])
    lifecycle = one.get("lifecycle")
    for handler in _dicts(list(lifecycle.values()) if isinstance(lifecycle, dict) else None):
        http_get(handler)
    for env in _dicts(one.get("env")):
        field_ref(env.get("valueFrom"))


def _is_latest(image: str) -> bool:
    if "@" in image or image != image.strip():  # a digest; no name at all
        return False
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    return tag in ("", "latest")


def probe(one: Json) -> None:
    """Defaults of a probe (seconds and counts)."""
    for name, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        one[name] = one.get(name) or value
    http_get(one)
    if isinstance(one.get("grpc"), dict):
        one["grpc"].setdefault("service", "")


def http_get(handler: Json) -> None:
    """Defaults of a handler's httpGet."""
    action = handler.get("httpGet")
    if isinstance(action, dict):
        action["path"] = action.get("path") or "/"
        action["scheme"] = action.get("scheme") or "HTTP"


def field_ref(source: Any) -> None:
    """`fieldRef.apiVersion`."""
    if isinstance(source, dict) and isinstance(source.get("fieldRef"), dict):
        source["fieldRef"]["apiVersion"] = source["fieldRef"].get("apiVersion") or "v1"


def volume(one: Json) -> None:
    """Defaults of a volume: emptyDir where nothing is named, file modes, kinds of host paths."""
    if not any(isinstance(value, dict) for key, value in one.items() if key != "name"):
        one["emptyDir"] = {}
    for name in _VOLUME_MODES:
        if isinstance(one.get(name), dict):
            one[name].setdefault("defaultMode", 0o644)
    if isinstance(one.get("hostPath"), dict):
        one["hostPath"].setdefault("type", "")
    for item in _dicts((one.get("downwardAPI") or {}).get("items")):
        field_ref(item)
    for source in _dicts((one.get("projected") or {}).get("sources")):
        if isinstance(source.get("serviceAccountToken"), dict):
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
        for item in _dicts((source.get("downwardAPI") or {}).get("items")):
            field_ref(item)
    claim = (one.get("ephemeral") or {}).get("volumeClaimTemplate")
    if isinstance(claim, dict):
        claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def quality(spec: Json) -> str:
    """status.qosClass: Guaranteed, Burstable or BestEffort."""
    containers = [*_dicts(spec.get("initContainers")), *_dicts(spec.get("containers"))]
    wants = [one.get("resources") or {} for one in containers]
    named = [
        w
        for w in wants
        if any(k in ("cpu", "memory") for p in ("limits", "requests") for k in w.get(p) or {})
    ]
    if not named:
        return "BestEffort"
    for want in wants:
        limits, requests = want.get("limits") or {}, want.get("requests") or {}
        for name in ("cpu", "memory"):
            if name not in limits or requests.get(name, limits[name]) != limits[name]:
                return "Burstable"
    return "Guaranteed"


def _dicts(value: Any) -> list[Json]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
