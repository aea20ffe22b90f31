"""What kube-apiserver would refuse about an object, as causes."""

from __future__ import annotations

from forebay.api.meta import Json, Resource
from forebay.api.schema.causes import Cause


def validate(raw: Json, old: Json | None, kind: type[Resource]) -> list[Cause]:
    """All field errors of an object that was pruned and defaulted; `old` is what it replaces."""
    return []
