"""Manifests: reading YAML, and the three-way merge of `apply`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import yaml

from forebay.api.meta import Json, Resource
from forebay.cli.lookup import kind_of
from forebay.cli.programs import Client
from forebay.errors import Absent, Clash, Denied, Invalid

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"  # kubectl's own, so that both may be mixed


def read(paths: Iterable[str], *, recursive: bool = False) -> list[Resource]:
    """Objects of files, folders and "-" (standard input), in order. Raises Invalid, Absent, Denied."""
    found: list[Resource] = []
    for path in paths:
        for name, text in _texts(path, recursive=recursive):
            found += _objects(name, text)
    if not found:
        raise Invalid(f"no objects in {', '.join(paths)}")
    return found


def _texts(path: str, *, recursive: bool) -> list[tuple[str, str]]:
    if path == "-":
        if sys.stdin.isatty():
            click.echo("reading manifests from the terminal; end with Ctrl-D", err=True)
        return [("standard input", _decoded("standard input", sys.stdin.buffer.read()))]
    if "://" in path:
        raise Invalid(f"{path}: manifests are read from files, folders and standard input; "
                      f"for this one: curl -fsSL {path} | forebay apply -f -")  # fmt: skip
    at = Path(path)
    if not at.is_dir():
        return [(path, _text_of(at))]
    if (at / "kustomization.yaml").is_file():
        raise Invalid(f"{path} is a kustomization: kubectl apply -k {path}")
    files = sorted(at.rglob("*") if recursive else at.iterdir())
    return [(str(f), _text_of(f)) for f in files if f.suffix in (".yaml", ".yml", ".json") and f.is_file()]


def _text_of(path: Path) -> str:
    try:
        return _decoded(str(path), path.read_bytes())
    except PermissionError as error:
        raise Denied(f"cannot read {path}: {error.strerror}") from error
    except OSError as error:
        raise Absent(f"cannot read {path}: {error.strerror}") from error


def _decoded(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(f"{name} is not a manifest: byte {error.start} is no UTF-8") from error


def _objects(name: str, text: str) -> list[Resource]:
    found: list[Resource] = []
    try:
        for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
            document = _built(node)
            if document:
                found += _resources(f"{name}, line {node.start_mark.line + 1}", document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise Invalid(f"{name}{place}: not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise Invalid(f"{name} is not YAML: {' '.join(str(error).split())}") from error
    return found


class _Loader(yaml.SafeLoader):
    """Dates stay the text they are: JSON has none."""


_Loader.add_constructor(  # type: ignore[type-var]
    "tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_str
)


def _built(node: yaml.Node) -> Any:
    loader = _Loader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _resources(place: str, document: Any) -> list[Resource]:
    if not isinstance(document, dict) or not document.get("kind") or not document.get("apiVersion"):
        raise Invalid(f"{place}: an object needs apiVersion and kind")
    if str(document["kind"]).endswith("List") and "items" in document:
        return [one for item in document["items"] or [] for one in _resources(place, item)]
    meta = document.get("metadata")
    if not isinstance(meta, dict) or not (meta.get("name") or meta.get("generateName")):
        raise Invalid(f"{place}: {document['kind']} has no metadata.name")
    try:
        return [kind_of(str(document["apiVersion"]), str(document["kind"]))(document)]
    except Invalid as error:
        raise Invalid(f"{place}: {error.message}") from error


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


async def apply(
    store: Client, item: Resource, namespace: str, *, dry_run: str = "none"
) -> tuple[Resource, str]:
    """Create or bring up to date; the object and `created`, `configured` or `unchanged`.

    `dry_run`: `server` has the server check it without storing; `client` only compares. Raises what the
    server says.
    """
    if item.namespaced and not item.namespace:
        item.meta["namespace"] = namespace
    said = json.dumps(item.raw, sort_keys=True) + "\n"
    wanted = item.copy()
    wanted.meta.setdefault("annotations", {})[LAST_APPLIED] = said
    for _ in range(5):
        try:
            current = await store.get(type(item), item.key)
        except Absent:
            if dry_run == "client":
                return wanted, "created"
            return await store.create(wanted, dry_run=dry_run == "server", strict=True), "created"
        last: Json = json.loads(current.annotations.get(LAST_APPLIED) or "{}")
        changed = type(item)(merged(last, wanted.raw, current.raw))
        if dry_run == "client":
            return changed, "unchanged" if changed.raw == current.raw else "configured"
        try:
            stored = await store.update(changed, dry_run=dry_run == "server", strict=True)
        except Clash:
            continue
        same = stored.raw == current.raw if dry_run == "server" else stored.revision == current.revision
        return stored, "unchanged" if same else "configured"
    raise Clash(f"{item.kind} {item.key} is changed by others all the time; try again")
