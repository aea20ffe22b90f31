"""What `forebay up` may be told."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from forebay.api import quantity
from forebay.api.schema import names
from forebay.errors import Invalid

API_PORT, GATEWAY_PORT = 6440, 8080


@dataclass(frozen=True)
class HomeSettings:
    """`capacity` replaces what the machine has, resource by resource; port 0 picks a free one."""

    data: Path
    api_port: int = API_PORT
    gateway_port: int = GATEWAY_PORT
    nodes: tuple[str, ...] = ("forebay",)
    labels: dict[str, str] = field(default_factory=dict)
    capacity: dict[str, str] = field(default_factory=dict)


def default_data() -> Path:
    """$FOREBAY_DATA, else $XDG_DATA_HOME/forebay, else ~/.local/share/forebay."""
    if os.environ.get("FOREBAY_DATA"):
        return Path(os.environ["FOREBAY_DATA"])
    share = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(share) / "forebay"


def node_names(name: str, count: int) -> tuple[str, ...]:
    """One node keeps its name; several are numbered as kind does: worker, worker2. Raises Invalid."""
    if count < 1:
        raise Invalid(f"--nodes {count}: a home needs at least one node")
    for told in names.dns1123_subdomain(name):
        raise Invalid(f"--node-name {name}: {told}")
    return (name, *(f"{name}{number}" for number in range(2, count + 1)))


def parse_pairs(texts: tuple[str, ...], *, option: str) -> dict[str, str]:
    """`a=b` or `a=b,c=d`, repeated, as a mapping. Raises Invalid."""
    pairs: dict[str, str] = {}
    for item in (part for text in texts for part in text.split(",") if part):
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise Invalid(f"{option} {item}: give it as NAME=VALUE")
        pairs[name.strip()] = value.strip()
    return pairs


def parse_labels(texts: tuple[str, ...]) -> dict[str, str]:
    """`--node-label`, with every name and value one that Kubernetes takes. Raises Invalid."""
    pairs = parse_pairs(texts, option="--node-label")
    for option, _, told in names.labels(pairs, "--node-label"):
        raise Invalid(f"{option}: {told}")
    return pairs


def parse_capacity(texts: tuple[str, ...]) -> dict[str, str]:
    """`cpu=8,memory=32Gi,nvidia.com/gpu=1` with every value a Kubernetes quantity. Raises Invalid."""
    pairs = parse_pairs(texts, option="--node-capacity")
    for name, value in pairs.items():
        try:
            quantity.parse(value)
        except Invalid as error:
            raise Invalid(f"--node-capacity {name}={error.message}") from error
    return pairs
