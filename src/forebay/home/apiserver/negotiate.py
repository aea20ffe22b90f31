"""Which form an answer takes, from the Accept header; pure.

Source: k8s.io/apiserver, endpoints/handlers/negotiation: `as`, `g` and `v` parameters ask for a Table or for
metadata only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from forebay.home.apiserver.status import Refusal

Form = Literal["object", "table", "partial"]
DISCOVERY_GROUP = "apidiscovery.k8s.io"
_JSON_LIKE = {"application/json": "json", "*/*": "json", "application/*": "json", "application/yaml": "yaml"}
_ACCEPTED = "application/json, application/yaml"


@dataclass(frozen=True)
class Accepted:
    """The form of the answer and its encoding, "json" or "yaml"."""

    form: Form = "object"
    encoding: str = "json"
    version: str = "v1"  # of meta.k8s.io, for Table and PartialObjectMetadata


def clauses(header: str) -> list[tuple[str, dict[str, str]]]:
    """The header's media types with their parameters, most wanted first."""
    found: list[tuple[float, str, dict[str, str]]] = []
    for clause in header.split(","):
        media, *rest = (part.strip() for part in clause.split(";"))
        parameters = dict(part.split("=", 1) for part in rest if "=" in part)
        if media:
            found.append((_quality(parameters.pop("q", "1")), media.lower(), parameters))
    found.sort(key=lambda item: -item[0])
    return [(media, parameters) for quality, media, parameters in found if quality > 0]


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def accepted(header: str, *, transforms: bool = True) -> Accepted:
    """The first acceptable clause. `transforms` is false where there is no Table (reviews, scale, discovery).

    Raises Refusal (406).
    """
    for media, parameters in clauses(header or "*/*"):
        encoding = _JSON_LIKE.get(media)
        if encoding is None:
            continue
        form = _form(parameters, transforms)
        if form is not None:
            return Accepted(form, encoding, parameters.get("v", "v1") if form != "object" else "v1")
    raise Refusal("NotAcceptable", f"only the following media types are accepted: {_ACCEPTED}")


def _form(parameters: dict[str, str], transforms: bool) -> Form | None:
    wanted = parameters.get("as", "")
    if not wanted:
        return "object"
    if not transforms or parameters.get("g") != "meta.k8s.io" or parameters.get("v") not in ("v1", "v1beta1"):
        return None
    if wanted == "Table":
        return "table"
    return "partial" if wanted in ("PartialObjectMetadata", "PartialObjectMetadataList") else None


def wants_aggregated_discovery(header: str) -> str:
    """The version ("v2", "v2beta1") of aggregated discovery that the client prefers, or ""."""
    for media, parameters in clauses(header):
        if parameters.get("g") == DISCOVERY_GROUP and parameters.get("as") == "APIGroupDiscoveryList":
            if media == "application/json" and parameters.get("v") in ("v2", "v2beta1"):
                return parameters["v"]
        elif media in _JSON_LIKE:
            return ""
    return ""
