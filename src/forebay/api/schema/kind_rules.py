"""What kube-apiserver refuses about volumes, services, configuration, roles and the rest; and the table of
all.

Source: Kubernetes' validation of core, rbac, storage, discovery and autoscaling (paths and wording; v1.34).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from forebay.api import kinds, quantity
from forebay.api.meta import Json, Resource
from forebay.api.schema import causes, names, service_rules, stored_rules
from forebay.api.schema.causes import Cause
from forebay.api.schema.crd import crd_trouble
from forebay.api.schema.placement_rules import node_selector
from forebay.api.schema.volume_rules import no_way_up
from forebay.api.schema.workload_rules import (
    cron_job,
    daemon_set,
    deployment,
    job,
    pod,
    replica_set,
    replication_controller,
    same,
    stateful_set,
)
from forebay.errors import Invalid

DATA_BYTES_MAX = 1024 * 1024
_VOLUME_FIELDS = {
    "capacity", "accessModes", "claimRef", "persistentVolumeReclaimPolicy", "storageClassName",
    "mountOptions",
    "volumeMode", "nodeAffinity", "volumeAttributesClassName",
}  # fmt: skip


def _claim(raw: Json, old: Json | None) -> Iterator[Cause]:
    spec = raw["spec"]
    if not spec.get("accessModes"):
        yield causes.required("spec.accessModes", "at least 1 access mode is required")
    if "ReadWriteOncePod" in (modes := spec.get("accessModes") or ()) and len(modes) > 1:
        yield causes.forbidden("spec.accessModes", "may not use ReadWriteOncePod with other access modes")
    for told in (
        names.dns1123_subdomain(str(spec["storageClassName"])) if spec.get("storageClassName") else ()
    ):
        yield causes.invalid("spec.storageClassName", spec["storageClassName"], told)
    yield from names.labels((spec.get("selector") or {}).get("matchLabels"), "spec.selector.matchLabels")
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is None:
        yield causes.required("spec.resources[storage]")
    else:
        yield from _positive(storage, "spec.resources[storage]")
    if old is None:
        return
    was, now = dict(old["spec"]), dict(spec)
    if not was.get("volumeName"):
        was["volumeName"] = now.get("volumeName")
    if was.get("storageClassName") is None:
        was["storageClassName"] = now.get("storageClassName")
    if (raw.get("status") or {}).get("phase") == "Bound":
        now["resources"] = was.get("resources")
        now["volumeAttributesClassName"] = was.get("volumeAttributesClassName")
    if _without_none(was) != _without_none(now):
        told = "spec is immutable after creation except resources.requests and volumeAttributesClassName"
        told += " for bound claims"
        yield causes.forbidden("spec", told)


def _without_none(spec: Json) -> Json:
    return {key: value for key, value in spec.items() if value is not None}


def _positive(text: Any, path: str) -> Iterator[Cause]:
    try:
        if quantity.parse(text) <= 0:
            yield causes.invalid(path, str(text), "must be greater than zero")
    except Invalid:
        return


def _volume(raw: Json, old: Json | None) -> Iterator[Cause]:
    spec = raw["spec"]
    if not spec.get("accessModes"):
        yield causes.required("spec.accessModes")
    if not spec.get("capacity"):
        yield causes.required("spec.capacity")
    if "storage" not in (spec.get("capacity") or {}) or len(spec["capacity"]) > 1:
        yield causes.unsupported("spec.capacity", spec.get("capacity"), ("storage",))
    else:
        yield from _positive(spec["capacity"]["storage"], "spec.capacity[storage]")
    sources = [key for key, value in spec.items() if key not in _VOLUME_FIELDS and isinstance(value, dict)]
    if not sources:
        yield causes.required("spec", "must specify a volume type")
    for extra in sources[1:]:
        yield causes.forbidden(f"spec.{extra}", "may not specify more than 1 volume type")
    for key in sources[:1]:
        if key in ("hostPath", "local") and not spec[key].get("path"):
            yield causes.required(f"spec.{key}.path")
        yield from no_way_up(str(spec[key].get("path") or ""), f"spec.{key}.path")
        if key == "local" and not spec.get("nodeAffinity"):
            yield causes.required("spec.nodeAffinity", "Local volume requires node affinity")
    if (required := (spec.get("nodeAffinity") or {}).get("required")) is not None:
        yield from node_selector(required, "spec.nodeAffinity.required")
    if old is not None:
        before = {key: old["spec"].get(key) for key in {*sources, *old["spec"]} - _VOLUME_FIELDS}
        if before != {key: spec.get(key) for key in before}:
            told = "spec.persistentvolumesource is immutable after creation"
            yield causes.forbidden("spec.persistentvolumesource", told)
        yield from same(raw, old, "spec.volumeMode")


def _config_keys(found: Json, path: str) -> Iterator[Cause]:
    rule = (
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
        "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
    )
    for key in found:
        if not re.fullmatch(r"[-._a-zA-Z0-9]+", key):
            yield causes.invalid(f"{path}[{key}]", key, rule)
        elif key in (".", "..") or key.startswith("../"):
            yield causes.invalid(f"{path}[{key}]", key, f"must not be '{key}'")
        elif len(key) > 253:
            yield causes.invalid(f"{path}[{key}]", key, "must be no more than 253 characters")


def _configuration(raw: Json, old: Json | None) -> Iterator[Cause]:
    data, binary = raw.get("data") or {}, raw.get("binaryData") or {}
    yield from _config_keys(data, "data")
    yield from _config_keys(binary, "binaryData")
    for key in set(data) & set(binary):
        yield causes.invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    size = sum(len(str(text).encode("utf-8", "surrogatepass")) for text in data.values())
    yield from _kept(raw, old, ("data", "binaryData"), size + _decoded_bytes(binary))


def _secret(raw: Json, old: Json | None) -> Iterator[Cause]:
    data = raw.get("data") or {}
    yield from _config_keys(data, "data")
    yield from same(raw, old, "type")
    yield from _of_type(str(raw.get("type") or ""), data, raw["metadata"].get("annotations") or {})
    yield from _kept(raw, old, ("data",), _decoded_bytes(data))


def _of_type(kind: str, data: Json, annotations: Json) -> Iterator[Cause]:
    """What Kubernetes' own types of Secrets promise to hold."""
    match kind.removeprefix("kubernetes.io/"):
        case "service-account-token":
            if not annotations.get("kubernetes.io/service-account.name"):
                yield causes.required("metadata.annotations[kubernetes.io/service-account.name]")
        case "dockercfg" | "dockerconfigjson" as name:
            if f".{name}" not in data:
                yield causes.required(f"data[.{name}]")
            elif not _is_json(data[f".{name}"]):
                told = "is no valid JSON"
                yield causes.invalid(f"data[.{name}]", "<secret contents redacted>", told)
        case "basic-auth":
            if "username" not in data and "password" not in data:
                yield causes.required("data[username]")
                yield causes.required("data[password]")
        case "ssh-auth":
            if not data.get("ssh-privatekey"):
                yield causes.required("data[ssh-privatekey]")
        case "tls":
            for key in ("tls.crt", "tls.key"):
                if key not in data:
                    yield causes.required(f"data[{key}]")


def _is_json(text: Any) -> bool:
    try:
        json.loads(base64.b64decode(str(text)))
    except (binascii.Error, ValueError, RecursionError):
        return False
    return True


def _decoded_bytes(data: Json) -> int:
    try:
        return sum(len(base64.b64decode(str(text))) for text in data.values())
    except (binascii.Error, ValueError):
        return 0  # said already, by the decoder


def _kept(raw: Json, old: Json | None, parts: tuple[str, ...], size: int) -> Iterator[Cause]:
    """Size, and what `immutable` freezes."""
    if size > DATA_BYTES_MAX:
        yield causes.too_long("" if len(parts) > 1 else "data", DATA_BYTES_MAX)
    if old is not None and old.get("immutable"):
        if not raw.get("immutable"):
            yield causes.forbidden("immutable", "field is immutable when `immutable` is set")
        for part in parts:
            if (raw.get(part) or {}) != (old.get(part) or {}):
                yield causes.forbidden(part, "field is immutable when `immutable` is set")


def _autoscaler(raw: Json, old: Json | None) -> Iterator[Cause]:
    spec = raw["spec"]
    least, most = spec.get("minReplicas", 1), spec.get("maxReplicas") or 0
    if least < 1:
        yield causes.invalid("spec.minReplicas", least, "must be greater than or equal to 1")
    if most < 1:
        yield causes.invalid("spec.maxReplicas", most, "must be greater than 0")
    if most < least:
        yield causes.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")
    target = spec.get("scaleTargetRef") or {}
    for name in ("kind", "name"):
        if not target.get(name):
            yield causes.required(f"spec.scaleTargetRef.{name}")
    if "/" not in str(target.get("apiVersion") or "") and target.get("kind") != "ReplicationController":
        told = "apiVersion must specify API group"
        yield causes.invalid("spec.scaleTargetRef.apiVersion", target.get("apiVersion") or "", told)


def _role_binding(raw: Json, old: Json | None) -> Iterator[Cause]:
    role = raw.get("roleRef") or {}
    if role.get("kind") not in ("Role", "ClusterRole"):
        yield causes.unsupported("roleRef.kind", role.get("kind", ""), ("Role", "ClusterRole"))
    if not role.get("name"):
        yield causes.required("roleRef.name")
    for index, one in enumerate(raw.get("subjects") or ()):
        path = f"subjects[{index}]"
        if not one.get("name"):
            yield causes.required(f"{path}.name")
        if one.get("kind") not in ("User", "Group", "ServiceAccount"):
            yield causes.unsupported(f"{path}.kind", one.get("kind", ""), ("ServiceAccount", "User", "Group"))
        elif one["kind"] == "ServiceAccount" and not one.get("namespace"):
            yield causes.required(f"{path}.namespace")
    if old is not None and old.get("roleRef") != role:
        yield causes.invalid("roleRef", role, "cannot change roleRef")


def _role(raw: Json, old: Json | None) -> Iterator[Cause]:
    words = {"apiGroups": "api group", "resources": "resource"}
    for index, one in enumerate(raw.get("rules") or ()):
        path = f"rules[{index}]"
        if not one.get("verbs"):
            yield causes.required(f"{path}.verbs", "verbs must contain at least one value")
        if one.get("nonResourceURLs"):
            continue
        for name, word in words.items():
            if not one.get(name):
                told = f"resource rules must supply at least one {word}"
                yield causes.required(f"{path}.{name}", told)


def _storage_class(raw: Json, old: Json | None) -> Iterator[Cause]:
    if not raw.get("provisioner"):
        yield causes.required("provisioner")
    for told in names.qualified_name(str(raw["provisioner"]).lower()) if raw.get("provisioner") else ():
        yield causes.invalid("provisioner", raw["provisioner"], told)
    if old is not None:
        for name in ("parameters", "provisioner"):
            if raw.get(name) != old.get(name):
                yield causes.forbidden(name, f"updates to {name} are forbidden.")
        for name in ("reclaimPolicy", "volumeBindingMode"):
            yield from same(raw, old, name)


def _slice(raw: Json, old: Json | None) -> Iterator[Cause]:
    if not raw.get("addressType"):
        yield causes.required("addressType")
    yield from same(raw, old, "addressType")
    for index, one in enumerate(raw.get("endpoints") or ()):
        if not one.get("addresses"):
            yield causes.required(f"endpoints[{index}].addresses", "must contain at least 1 address")
        for at, address in enumerate(one.get("addresses") or () if raw.get("addressType") != "FQDN" else ()):
            yield from names.ip_address(address, f"endpoints[{index}].addresses[{at}]")


def _lease(raw: Json, old: Json | None) -> Iterator[Cause]:
    spec = raw.get("spec") or {}
    if (length := spec.get("leaseDurationSeconds")) is not None and length <= 0:
        yield causes.invalid("spec.leaseDurationSeconds", length, "must be greater than 0")
    if (times := spec.get("leaseTransitions")) is not None and times < 0:
        yield causes.invalid("spec.leaseTransitions", times, "must be greater than or equal to 0")


def _event(raw: Json, old: Json | None) -> Iterator[Cause]:
    about = str((raw.get("involvedObject") or {}).get("namespace") or "")
    allowed = (about,) if about else ("default", "kube-system")
    if raw["metadata"].get("namespace") not in allowed:
        yield causes.invalid("involvedObject.namespace", about, "does not match event.namespace")


def _definition(raw: Json, old: Json | None) -> Iterator[Cause]:
    yield from crd_trouble(raw)
    for path in ("spec.group", "spec.names.plural", "spec.scope", "spec.names.kind"):
        yield from same(raw, old, path)


Test = Callable[[Json, Json | None], Iterator[Cause]]
RULES: dict[type[Resource], Test] = {
    kinds.Pod: pod,
    kinds.Deployment: deployment,
    kinds.ReplicaSet: replica_set,
    kinds.DaemonSet: daemon_set,
    kinds.Job: job,
    kinds.PersistentVolumeClaim: _claim,
    kinds.PersistentVolume: _volume,
    kinds.Service: service_rules.service,
    kinds.ConfigMap: _configuration,
    kinds.Secret: _secret,
    kinds.HorizontalPodAutoscaler: _autoscaler,
    kinds.RoleBinding: _role_binding,
    kinds.ClusterRoleBinding: _role_binding,
    kinds.Role: _role,
    kinds.ClusterRole: _role,
    kinds.StorageClass: _storage_class,
    kinds.EndpointSlice: _slice,
    kinds.Lease: _lease,
    kinds.Event: _event,
    kinds.CustomResourceDefinition: _definition,
    kinds.ReplicationController: replication_controller,
    kinds.StatefulSet: stateful_set,
    kinds.CronJob: cron_job,
    kinds.PodDisruptionBudget: stored_rules.budget,
    kinds.PriorityClass: stored_rules.priority_class,
    kinds.Ingress: stored_rules.ingress,
    kinds.IngressClass: stored_rules.ingress_class,
    kinds.LimitRange: stored_rules.limit_range,
}
