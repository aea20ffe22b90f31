"""The pod template of a predictor, before its model is added; pure.

Merging of runtime and service: the service wins field by field, lists by name, args are appended (KServe's
rules).
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping

from forebay.api import names, ours
from forebay.api.kinds import InferenceService
from forebay.api.meta import Json, Resource
from forebay.control.credentials import merged_env
from forebay.control.inferenceservice.predictor import Predictor

DEFAULT_PORT = 8080
CONTAINER_KEYS = ours.container_keys()
POD_KEYS = ours.pod_keys()
_BY = {"volumes": "name", "imagePullSecrets": "name", "initContainers": "name", "resourceClaims": "name"}
_VARIABLE = re.compile(r"\{\{\s*\.(Name|Namespace|(?:Labels|Annotations)\.[\w./-]+)\s*\}\}")
_HIDDEN = ("internal.serving.kserve.io/", "kubectl.kubernetes.io/", "forebay.dev/")


def pod_template(service: InferenceService, predictor: Predictor, runtime: Resource | None) -> Json:
    """Metadata and spec of the predictor's pods."""
    runtime_spec = runtime.spec if runtime is not None else {}
    spec = _pod_fields(runtime_spec, predictor.raw)
    spec["containers"] = _containers(service, predictor, runtime_spec)
    labels = _meta(runtime_spec.get("labels"), service.labels, predictor.raw.get("labels"))
    annotations = _meta(
        runtime_spec.get("annotations"), _passed(service.annotations), predictor.raw.get("annotations")
    )
    labels.update(pod_labels(service))
    metadata: Json = {"labels": labels}
    if annotations:
        metadata["annotations"] = annotations
    return {"metadata": metadata, "spec": spec}


def pod_labels(service: InferenceService) -> dict[str, str]:
    """Labels that tell a service's pods from all others."""
    name = names.label_value(service.name)
    return {
        names.ISVC_LABEL: name,
        "component": "predictor",
        "app": names.label_value(f"isvc.{service.name}-predictor"),
    }


def main_container(spec: Json) -> Json:
    """The container that holds the model server: kserve-container, else the first."""
    containers: list[Json] = spec["containers"]
    return next((c for c in containers if c.get("name") == names.MODEL_CONTAINER), containers[0])


def port_of(spec: Json) -> int:
    """The port that requests go to."""
    ports = main_container(spec).get("ports") or []
    return int(ports[0]["containerPort"]) if ports else DEFAULT_PORT


def _containers(service: InferenceService, predictor: Predictor, runtime_spec: Json) -> list[Json]:
    if predictor.model is None:
        found: list[Json] = copy.deepcopy(predictor.raw.get("containers") or [])
    else:
        found = copy.deepcopy(runtime_spec.get("containers") or [])
        at = next((i for i, c in enumerate(found) if c.get("name") == names.MODEL_CONTAINER), 0)
        found[at] = merged_container(found[at], predictor.model)
        if predictor.model.get("runtimeVersion") and not predictor.model.get("image"):
            found[at]["image"] = _tagged(
                str(found[at].get("image") or ""), str(predictor.model["runtimeVersion"])
            )
        found = json.loads(_VARIABLE.sub(lambda m: _value(service, m[1]), json.dumps(found)))
        found += [c for c in predictor.raw.get("containers") or [] if c.get("name") != names.MODEL_CONTAINER]
    if found:
        main = main_container({"containers": found})
        if not main.get("ports"):
            main["ports"] = [{"containerPort": DEFAULT_PORT, "name": "http1", "protocol": "TCP"}]
        if "readinessProbe" not in main:
            port = main["ports"][0]["containerPort"]
            main["readinessProbe"] = {"tcpSocket": {"port": port}, "periodSeconds": 2, "timeoutSeconds": 1}
    return found


def merged_container(base: Json, model: Mapping[str, object]) -> Json:
    """The runtime's container with the model's fields laid over it."""
    found = copy.deepcopy(base)
    for key in CONTAINER_KEYS:
        value = copy.deepcopy(model.get(key))
        if value in (None, [], {}):
            continue
        if key == "args":
            found["args"] = [*(found.get("args") or []), *value]  # type: ignore[misc]
        elif key == "env":
            found["env"] = merged_env(found.get("env") or [], value)  # type: ignore[arg-type]
        elif key in ("volumeMounts", "volumeDevices", "ports"):
            by = {"volumeMounts": "mountPath", "volumeDevices": "devicePath", "ports": "containerPort"}[key]
            found[key] = _by_name(found.get(key) or [], value, by)  # type: ignore[arg-type]
        else:
            found[key] = merged(found.get(key), value)
    return found


def merged(base: object, over: object) -> object:
    """Maps merge key by key, everything else is replaced."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {k: merged(base.get(k), over[k]) if k in over else base[k] for k in {**base, **over}}
    return over


def _by_name(base: list[Json], over: list[Json], key: str) -> list[Json]:
    found = {str(item.get(key)): item for item in base}
    found.update({str(item.get(key)): item for item in over})
    return list(found.values())


def _pod_fields(runtime_spec: Json, raw: Json) -> Json:
    found: Json = {}
    for key in POD_KEYS:
        base, over = copy.deepcopy(runtime_spec.get(key)), copy.deepcopy(raw.get(key))
        if key in _BY and base and over:
            found[key] = _by_name(base, over, _BY[key])
        elif key == "tolerations" and base and over:
            found[key] = [*base, *(t for t in over if t not in base)]
        elif over is not None:
            found[key] = merged(base, over)
        elif base is not None:
            found[key] = base
    return found


def _meta(*maps: Mapping[str, str] | None) -> dict[str, str]:
    """Labels or annotations: a later map wins. Ours and kubectl's own are not for pods."""
    found: dict[str, str] = {}
    for entries in maps:
        found.update({k: str(v) for k, v in (entries or {}).items() if not k.startswith(_HIDDEN)})
    return found


def _passed(annotations: Mapping[str, str]) -> dict[str, str]:
    """Annotations of the service that are about the service, not about its pods, stay there."""
    stay = (
        names.STOP,
        names.DEPLOYMENT_MODE,
        names.AUTOSCALER_CLASS,
        names.DISABLE_LOCALMODEL,
        names.NODEGROUP,
    )
    return {k: v for k, v in annotations.items() if k not in stay}


def _tagged(image: str, tag: str) -> str:
    """The image with another tag."""
    folder, slash, last = image.rpartition("/")
    return f"{folder}{slash}{last.partition('@')[0].partition(':')[0]}:{tag}"


def _value(service: InferenceService, variable: str) -> str:
    """The value of a template variable, as it stands inside JSON text."""
    if variable == "Name":
        text = service.name
    elif variable == "Namespace":
        text = service.namespace
    else:
        kind, _, key = variable.partition(".")
        text = str((service.labels if kind == "Labels" else service.annotations).get(key, ""))
    return json.dumps(text)[1:-1]
