"""The environment, command line and downward values of a container; pure.

Source: core/v1 EnvVar, EnvFromSource, ObjectFieldSelector, ResourceFieldSelector, and the expansion rules of
Container.command: `$(NAME)` is replaced if NAME is known, `$$` is one dollar.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from forebay.api import quantity
from forebay.api.meta import Json
from forebay.errors import Invalid

_REFERENCE = re.compile(r"\$(?:\$|\(([^()]*)\))")
INHERITED = (
    "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "http_proxy",
    "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "HF_ENDPOINT",
    "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "FOREBAY_LOG",
)  # fmt: skip
"""What a pod gets of the home's own environment, beside PATH: how to reach the world, never a credential."""


class ConfigError(Invalid):
    """The container cannot be made from what its spec refers to; `reason` is the waiting reason."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="CreateContainerConfigError")


@dataclass(frozen=True)
class Look:
    """What a container may refer to. Secrets and config maps by name; None for one that is absent."""

    pod: Json
    secrets: Mapping[str, Json | None] = field(default_factory=dict)
    maps: Mapping[str, Json | None] = field(default_factory=dict)
    address: str = "127.0.0.1"
    allocatable: Mapping[str, str] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """metadata.namespace of the pod."""
        return str(self.pod["metadata"].get("namespace", ""))


def expand(text: str, env: Mapping[str, str]) -> str:
    """`text` with `$(NAME)` replaced; unknown names stay as they are."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        return "$" if name is None else env.get(name, found[0])

    return _REFERENCE.sub(value, text)


def references(container: Json) -> set[tuple[str, str]]:
    """("Secret" or "ConfigMap", name) of all that the environment reads."""
    found = set()
    for source in container.get("envFrom") or []:
        found |= {(kind, source[ref]["name"]) for ref, kind in _FROM if source.get(ref)}
    for item in container.get("env") or []:
        value = item.get("valueFrom") or {}
        found |= {(kind, value[ref]["name"]) for ref, kind in _KEYS if value.get(ref)}
    return found


_FROM = (("secretRef", "Secret"), ("configMapRef", "ConfigMap"))
_KEYS = (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap"))


def environment(container: Json, look: Look, given: Mapping[str, str]) -> dict[str, str]:
    """`given` (the home's), then envFrom, then env, each seeing what came before. Raises ConfigError."""
    env = dict(given)
    for source in container.get("envFrom") or []:
        env |= _all_of(source, look)
    for item in container.get("env") or []:
        value = _value(item, container, look, env)
        if value is not None:
            env[item["name"]] = value
    return env


def _all_of(source: Json, look: Look) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    for ref, kind in _FROM:
        if source.get(ref):
            data = _content(kind, source[ref], look)
            return {prefix + key: text.decode(errors="replace") for key, text in (data or {}).items()}
    return {}


def _value(item: Json, container: Json, look: Look, env: Mapping[str, str]) -> str | None:
    source = item.get("valueFrom")
    if not source:
        return expand(str(item.get("value") or ""), env)
    if source.get("fieldRef"):
        return pod_field(look, source["fieldRef"]["fieldPath"])
    if source.get("resourceFieldRef"):
        return resource_field(container, source["resourceFieldRef"], look)
    for ref, kind in _KEYS:
        if source.get(ref):
            return _key_of(kind, source[ref], look)
    return None


def _key_of(kind: str, ref: Json, look: Look) -> str | None:
    data = _content(kind, ref, look)
    if data is None:
        return None
    if ref["key"] not in data:
        if ref.get("optional"):
            return None
        raise ConfigError(f"couldn't find key {ref['key']} in {kind} {look.namespace}/{ref['name']}")
    return data[ref["key"]].decode(errors="replace")


def _content(kind: str, ref: Json, look: Look) -> dict[str, bytes] | None:
    """All keys of a secret or config map; None if it is absent and may be. Raises ConfigError."""
    item = (look.secrets if kind == "Secret" else look.maps).get(ref["name"])
    if item is None:
        if ref.get("optional"):
            return None
        raise ConfigError(f'{kind.lower()} "{ref["name"]}" not found')
    return content(item)


def content(item: Json) -> dict[str, bytes]:
    """The keys of a Secret or ConfigMap as bytes. Raises ConfigError."""
    try:
        return _content_of(item)
    except ValueError as error:
        name = item["metadata"].get("name")
        raise ConfigError(
            f"{item.get('kind')} {name} holds something that is not base64: write it anew"
        ) from error


def _content_of(item: Json) -> dict[str, bytes]:
    if item.get("kind") == "Secret":
        data = {key: base64.b64decode(text) for key, text in (item.get("data") or {}).items()}
        return data | {key: text.encode() for key, text in (item.get("stringData") or {}).items()}
    data = {key: str(text).encode() for key, text in (item.get("data") or {}).items()}
    return data | {key: base64.b64decode(text) for key, text in (item.get("binaryData") or {}).items()}


def pod_field(look: Look, path: str) -> str:
    """A field of the pod for the downward API. Raises ConfigError for a path that is none."""
    meta, spec = look.pod["metadata"], look.pod.get("spec") or {}
    simple = {
        "metadata.name": meta.get("name", ""), "metadata.namespace": look.namespace,
        "metadata.uid": meta.get("uid", ""),
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.hostIP": look.address, "status.podIP": look.address, "status.hostIPs": look.address,
        "status.podIPs": look.address,
    }  # fmt: skip
    if path in simple:
        return str(simple[path])
    for name in ("labels", "annotations"):
        items = meta.get(name) or {}
        if path == f"metadata.{name}":
            return "\n".join(f'{key}="{_quoted(value)}"' for key, value in sorted(items.items()))
        found = re.fullmatch(rf"metadata\.{name}\['(.+)'\]", path)
        if found:
            return str(items.get(found[1], ""))
    raise ConfigError(f"field path {path} is not supported: use metadata.*, spec.nodeName or status.podIP")


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resource_field(container: Json, ref: Json, look: Look) -> str:
    """limits.* or requests.* in units of the divisor, rounded up; the node's where none is set."""
    which, _, name = ref["resource"].partition(".")
    resources = container.get("resources") or {}
    amount = (resources.get(which) or {}).get(name)
    if amount is None and which == "requests":
        amount = (resources.get("limits") or {}).get(name)
    if amount is None and which == "limits":
        amount = look.allocatable.get(name)
    divisor = ref.get("divisor")
    unit = quantity.parse(divisor) if divisor and str(divisor) != "0" else quantity.parse("1")
    return str(math.ceil(quantity.parse(amount or "0") / unit))


def command_line(container: Json, program: Iterable[str], env: Mapping[str, str]) -> list[str]:
    """The container's command (else `program`) and args, `$(NAME)` expanded."""
    command = [expand(word, env) for word in container.get("command") or []] or list(program)
    return command + [expand(word, env) for word in container.get("args") or []]
