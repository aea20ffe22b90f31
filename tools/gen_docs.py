"""Writes docs/reference from the code: `python tools/gen_docs.py`, or `--check` to see what is out of date.

What a program cannot know, the meaning of a setting or of a condition's reason in one line, stands in
docs/reference/words.toml. A tidy test compares both ways: nothing in the code without its words, and no
words without code.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import io
import logging
import os
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))  # beside this file, wherever it is run from
import doc_facts  # noqa: E402

PAGES = ROOT / "docs" / "reference"
NOTE = "<!-- Written by tools/gen_docs.py: do not edit here. -->"
COLLAPSED = {
    "spec.transformer": "as `spec.predictor`, without `model`; stored, not served",
    "spec.explainer": "as `spec.predictor`, without `model`; stored, not served",
    "spec.canary[].predictor": "as `spec.predictor`; stored, not served",
    "spec.container": "a Kubernetes container",
    **{
        f"spec.predictor.{name}": "as `spec.predictor.model` without `modelFormat` and `runtime`"
        for name in ("huggingface", "lightgbm", "onnx", "paddle", "pmml", "pytorch", "sklearn", "tensorflow",
                     "triton", "xgboost")
    },
}  # fmt: skip


def words() -> dict[str, Any]:
    """The hand-written half."""
    return tomllib.loads((PAGES / "words.toml").read_text())


def intro(name: str) -> list[str]:
    """The sentences at the head of a page."""
    return [text.strip() for text in words()["intro"][name]]


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    names = list(head)
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def page(title: str, *parts: str) -> str:
    """One generated page."""
    return "\n\n".join([f"# {title}", NOTE, *parts]) + "\n"


# --- the command line


def cli() -> str:
    """docs/reference/cli.md"""
    parts = [
        *intro("cli"),
        table(("command", ""), _overview()),
    ]
    for name, command in doc_facts.commands():
        if name == "forebay":
            continue
        parts.append(f"## {name}")
        parts += _command(name, command)
    from forebay.engines.llama import command as llama

    for name, command in (("convert", llama._convert), ("prepare", llama._prepare)):
        parts.append(f"## forebay-llama {name}")
        parts += _command(f"forebay-llama {name}", command)
    return page("Command line", *parts)


def _overview() -> Iterator[tuple[str, str]]:
    """Each command with the first sentence of its help."""
    for name, command in doc_facts.commands():
        if name != "forebay":
            anchor = name.replace(" ", "-")
            yield f"[`{name}`](#{anchor})", command.get_short_help_str(limit=200)


def _command(name: str, command: click.Command) -> list[str]:
    if name == "forebay llama":
        from forebay.engines.llama import command as llama

        command, text = llama._serve, inspect.cleandoc(llama._serve.help or "")
        return [_usage("forebay-llama", command), text, _options(command), llama._serve.epilog or ""]
    if name == "forebay hub":
        return [f"```text\n{_argparse_help()}\n```"]
    parts = [_usage(name, command), _paragraphs(command.help or ""), _options(command)]
    return [part for part in parts if part]


def _paragraphs(help_text: str) -> str:
    """Help as Markdown: a paragraph that click keeps as it is (after a backspace) becomes a block."""
    parts = inspect.cleandoc(help_text).split("\n\n")
    kept = [f"```text{part[1:]}\n```" if part.startswith("\b") else part for part in parts]
    return "\n\n".join(kept)


def _usage(name: str, command: click.Command) -> str:
    pieces = command.collect_usage_pieces(click.Context(command, info_name=name))
    return f"```text\n{' '.join([name, *pieces])}\n```"


def _options(command: click.Command) -> str:
    context = click.Context(command)
    records = [p.get_help_record(context) for p in command.params]
    rows = [(f"`{record[0]}`", record[1]) for record in records if record]
    return table(("option", "meaning"), rows) if rows else ""


def _argparse_help() -> str:
    from forebay.engines import hub

    out, before, columns = io.StringIO(), sys.argv[0], os.environ.get("COLUMNS")
    sys.argv[0], os.environ["COLUMNS"] = "forebay hub", "110"
    try:
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            hub.main(["--help"])
    finally:
        sys.argv[0] = before
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns
    return out.getvalue().strip()


# --- settings, keys, images, errors


def settings() -> str:
    """docs/reference/settings.md"""
    told: Mapping[str, Mapping[str, str]] = words()["settings"]
    parts = intro("settings")
    for reader in dict.fromkeys(entry["by"] for entry in told.values()):
        rows = [
            (f"`{name}`", entry.get("default", ""), entry["means"])
            for name, entry in told.items()
            if entry["by"] == reader
        ]
        parts += [f"## {reader}", table(("variable", "default", "meaning"), rows)]
    parts += ["## ConfigMap inferenceservice-config", words()["configmap"]["intro"]]
    for section, keys in words()["configmap"]["sections"].items():
        parts += [f"### {section}", table(("key", "meaning"), ((f"`{k}`", m) for k, m in keys.items()))]
    return page("Settings", *parts)


def keys() -> str:
    """docs/reference/labels.md"""
    rows = [(f"`{name}`", entry["on"], entry["means"]) for name, entry in words()["keys"].items()]
    rows.sort(key=lambda row: row[0])
    return page("Labels, annotations, finalizers", table(("name", "on", "meaning"), rows))


def images() -> str:
    """docs/reference/images.md"""
    from forebay.home.images import PROGRAMS

    def shown(words_: tuple[str, ...]) -> str:
        return "`forebay " + " ".join(words_[words_.index("forebay.main") + 1 :]) + "`"

    return page(
        "Images of the embedded home",
        *intro("images"),
        table(("image", "runs"), ((f"`{name}`", shown(argv)) for name, argv in PROGRAMS.items())),
        *intro("images_more"),
    )


def sources() -> str:
    """docs/reference/sources.md"""
    from importlib import import_module

    from forebay.sources.table import SOURCES

    told: dict[tuple[str, str], list[str]] = {}
    for scheme, place in SOURCES.items():
        told.setdefault(place, []).append(scheme)
    parts = intro("sources")
    for (module, name), schemes in told.items():
        source = getattr(import_module(module), name)
        parts.append("## " + ", ".join(f"{scheme}://" for scheme in schemes))
        first = (import_module(module).__doc__ or "").strip().split("\n\n")[0]
        parts += [" ".join(first.split()), " ".join(inspect.cleandoc(source.__doc__ or "").split())]
    return page("Sources", *parts)


def errors() -> str:
    """docs/reference/errors.md"""
    from forebay import errors as code

    rows = (
        (k.__name__, (k.__doc__ or "").strip().rstrip("."), k.retry.value, k.http, k.exit_code,
         logging.getLevelName(k.level).lower())
        for k in code.ALL
    )  # fmt: skip
    return page(
        "Errors",
        *intro("errors"),
        table(("error", "it means", "the controllers", "HTTP", "exit", "level"), rows),
    )


# --- conditions and events


def conditions() -> str:
    """docs/reference/conditions.md"""
    told = words()
    parts = intro("conditions")
    for kind, types in told["conditions"].items():
        parts.append(f"## {kind}")
        for type_, reasons in types.items():
            rows = [(f"`{reason}`", meaning) for reason, meaning in reasons.items()]
            parts += [f"### {kind}: {type_}", table(("reason", "meaning and next step"), rows)]
    parts.append("## Events")
    rows = [(k, f"`{r}`", m) for k, entries in told["events"].items() for r, m in entries.items()]
    parts.append(table(("about", "reason", "meaning"), rows))
    return page("Conditions and events", *parts, *intro("conditions_more"))


# --- metrics


def metrics() -> str:
    """docs/reference/metrics.md"""
    told = words()["metrics"]
    head = ("metric", "type", "labels", "meaning")
    gateway = [(f"`{n}`", kind, labels, text) for n, kind, labels, text in doc_facts.gateway_metrics()]
    agent = [(f"`{n}`", kind, labels, text) for n, kind, labels, text in doc_facts.agent_metrics()]
    engine = [(f"`{name}`", meaning) for name, meaning in told["engine"].items()]
    log = [(f"`{name}`", meaning) for name, meaning in told["access_log"].items()]
    return page(
        "Metrics",
        "## Gateway", told["gateway_intro"], table(head, gateway),
        "### Access log", told["access_log_intro"], table(("field", "meaning"), log),
        "## Agent", told["agent_intro"], table(head, agent),
        "## Pull", told["pull_intro"],
        table(("metric", "type", "meaning"), ((f"`{n}`", k, t) for n, k, t in doc_facts.pull_metrics())),
        "## Engine", told["engine_intro"], table(("metric", "meaning"), engine),
    )  # fmt: skip


# --- fields


def fields() -> str:
    """docs/reference/fields.md"""
    from forebay.api import kinds, serving
    from forebay.api.isvc import InferenceServiceSpec, InferenceServiceStatus

    told = {
        kinds.LocalModelCache: (serving.CacheSpec, serving.CacheStatus),
        kinds.LocalModelNode: (serving.LocalModelNodeSpec, serving.LocalModelNodeStatus),
        kinds.LocalModelNodeGroup: (serving.NodeGroupSpec, serving.NodeGroupStatus),
        kinds.ClusterStorageContainer: (serving.StorageContainerSpec,),
        kinds.ServingRuntime: (serving.ServingRuntimeSpec,),
        kinds.InferenceService: (InferenceServiceSpec, InferenceServiceStatus),
    }
    same = {
        kinds.LocalModelNamespaceCache: "has the fields of LocalModelCache, in a namespace",
        kinds.ClusterServingRuntime: "has the fields of ServingRuntime, for all namespaces",
    }
    parts = intro("fields")
    for kind, schema in serving.SCHEMAS.items():
        parts.append(f"## {kind.kind} ({kind.api_version})")
        if kind in same:
            parts.append(f"{kind.kind} {same[kind]}.")
            continue
        parts += [f"{' '.join(inspect.cleandoc(m.__doc__ or '').split())}" for m in told[kind]]
        rows = [row for top in ("spec", "status", "disabled") for row in _below(schema, top)]
        parts.append(table(("field", "type", ""), rows))
    return page("Fields", *parts)


def _below(schema: Mapping[str, Any], top: str) -> Iterator[tuple[str, str, str]]:
    node = schema["properties"].get(top)
    if node is not None:
        yield from _fields(top, node, required=top == "spec")


def _fields(path: str, node: Mapping[str, Any], *, required: bool) -> Iterator[tuple[str, str, str]]:
    notes = ["required"] if required else []
    if path in COLLAPSED:
        yield f"`{path}`", "object", "; ".join([*notes, COLLAPSED[path]])
        return
    if "default" in node:
        notes.append(f"default `{node['default']}`")
    for rule in node.get("x-kubernetes-validations") or ():
        notes.append(f"`{rule['message']}`")
    for name in ("minimum", "maximum", "minItems", "pattern"):
        if name in node and not node.get("x-kubernetes-int-or-string"):
            notes.append(f"{name} `{node[name]}`")
    values = node.get("enum") or _mapped(node).get("enum")
    if values:
        notes.append("one of " + ", ".join(f"`{v}`" if v else "empty" for v in values))
    if path not in ("spec", "status"):
        yield f"`{path}`", _type(node), "; ".join(notes)
    inner, suffix = node, "."
    if node.get("type") == "array":
        inner, suffix = node.get("items", {}), "[]."
    elif _mapped(node):
        inner, suffix = _mapped(node), ".*."
    for name, below in (inner.get("properties") or {}).items():
        yield from _fields(f"{path}{suffix}{name}", below, required=name in (inner.get("required") or ()))


def _mapped(node: Mapping[str, Any]) -> Mapping[str, Any]:
    more = node.get("additionalProperties")
    return more if isinstance(more, dict) else {}


def _type(node: Mapping[str, Any]) -> str:
    if node.get("x-kubernetes-int-or-string"):
        return "quantity"
    if node.get("type") == "array":
        return f"list of {_type(node.get('items', {}))}"
    if _mapped(node):
        return f"map to {_type(_mapped(node))}"
    return str(node.get("format") or node.get("type") or "any")


WRITERS: dict[str, Callable[[], str]] = {
    "cli.md": cli,
    "settings.md": settings,
    "errors.md": errors,
    "conditions.md": conditions,
    "metrics.md": metrics,
    "fields.md": fields,
    "images.md": images,
    "sources.md": sources,
    "labels.md": keys,
}


def main() -> int:
    """Write all pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 if a page is out of date"
    )
    check = parser.parse_args().check
    stale = []
    for name, write in WRITERS.items():
        path, text = PAGES / name, write()
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if not check:
                path.write_text(text)
    print("out of date:" if check else "written:", ", ".join(stale) or "nothing")
    return int(check and bool(stale))


if __name__ == "__main__":
    raise SystemExit(main())
