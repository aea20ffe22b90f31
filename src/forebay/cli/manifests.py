"""Manifests: reading YAML, and the three-way merge of `apply`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from forebay.api.meta import Json, Resource
from forebay.cli.lookup import kind_of
from forebay.errors import Absent, Clash, Invalid
from forebay.store.protocol import Store

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"  # kubectl's own, so that both may be mixed


def read(paths: Iterable[str]) -> list[Resource]:
    """Objects of files, folders and "-" (standard input), in order. Raises Invalid, Absent."""
    found: list[Resource] = []
    for path in paths:
        for name, text in _texts(path):
            found += _objects(name, text)
    if not found:
        raise Invalid(f"no objects in {', '.join(paths)}")
    return found


def _texts(path: str) -> list[tuple[str, str]]:
    if path == "-":
        return [("standard input", sys.stdin.read())]
    at = Path(path)
    if at.is_dir():
        files = sorted(f for f in at.iterdir() if f.suffix in (".yaml", ".yml", ".json"))
        return [(str(f), f.read_text()) for f in files]
    try:
        return [(path, at.read_text())]
    except OSError as error:
        raise Absent(f"cannot read {path}: {error.strerror}") from error


def _objects(name: str, text: str) -> list[Resource]:
    try:
        documents = [d for d in yaml.safe_load_all(text) if d]
    except yaml.YAMLError as error:
        raise Invalid(f"{name} is not YAML: {error}") from error
    found: list[Resource] = []
    for document in documents:
        if not isinstance(document, dict) or "kind" not in document or "apiVersion" not in document:
            raise Invalid(f"{name}: every document needs apiVersion and kind")
        items = document.get("items") if document["kind"] == "List" else [document]
        found += [kind_of(item["apiVersion"], item["kind"])(item) for item in items or []]
    return found


def merged(last: Any, wanted: Any, current: Any) -> Any:
    """`current` with what `wanted` says, without what `last` said and `wanted` no longer does (lists are
    whole).
    """
    if not isinstance(wanted, dict) or not isinstance(current, dict):
        return wanted
    last = last if isinstance(last, dict) else {}
    out = {k: v for k, v in current.items() if k in wanted or k not in last}
    for name, value in wanted.items():
        out[name] = merged(last.get(name), value, current.get(name))
    return {k: v for k, v in out.items() if v is not None}


async def apply(store: Store, item: Resource, namespace: str) -> tuple[Resource, str]:
    """Create or bring up to date; the stored object and `created`, `configured` or `unchanged`."""
    if item.namespaced and not item.namespace:
        item.meta["namespace"] = namespace
    said = json.dumps(item.raw, sort_keys=True) + "\n"
    wanted = item.copy()
    wanted.meta.setdefault("annotations", {})[LAST_APPLIED] = said
    for _ in range(5):
        try:
            current = await store.get(type(item), item.key)
        except Absent:
            return await store.create(wanted), "created"
        last: Json = json.loads(current.annotations.get(LAST_APPLIED) or "{}")
        try:
            stored = await store.update(type(item)(merged(last, wanted.raw, current.raw)))
        except Clash:
            continue
        return stored, "unchanged" if stored.revision == current.revision else "configured"
    raise Clash(f"{item.kind} {item.key} is changed by others all the time; try again")
