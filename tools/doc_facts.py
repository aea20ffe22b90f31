"""What the code says of itself: commands, settings, names, reasons, metrics, read from source and models."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "forebay"
FOLDERS = {
    "modelcache": "LocalModelCache",
    "nodegroup": "LocalModelNodeGroup",
    "inferenceservice": "InferenceService",
}
SETTING = re.compile(
    r"""(?:env|environ|merged)(?:\.get\(|\[)\s*"([A-Z][A-Z0-9_]+|aws\w+)"
      | (?:flag|_number|patterns)\(\s*(?:env|merged),\s*"(\w+)"
      | envvar="(\w+)"
      | "([A-Z][A-Z0-9_]+)"\s+(?:not\s+)?in\s+(?:os\.)?environ""",
    re.X,
)
KEY = re.compile(
    r'"((?:internal\.)?(?:serving|storage|localmodel|localmodelnamespacecache)\.kserve\.io/[\w-]+|(?:localmodel\.)?forebay\.dev/[\w-]*)"'
)


def texts() -> dict[Path, str]:
    """Every source file of the package."""
    return {path: path.read_text() for path in sorted(SOURCE.rglob("*.py"))}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command by its full name, sub-commands after their group, in the order of --help."""
    from forebay.cli import build
    from forebay.main import programs

    def walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        yield name, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for below in command.list_commands(context):
                found = command.get_command(context, below)
                if found is not None:
                    yield from walk(f"{name} {below}", found)

    yield from walk("forebay", build(programs()))


def settings_in_code() -> set[str]:
    """Names of environment variables that the code reads."""
    found = (match for text in texts().values() for match in SETTING.finditer(text))
    return {name for match in found for name in match.groups() if name}


def keys_in_code() -> set[str]:
    """Label, annotation and finalizer names of ours and of KServe."""
    found = {match[1] for text in texts().values() for match in KEY.finditer(text)}
    return {name for name in found if not re.search(r"/v\d\w*$", name) and name != "forebay.dev/"}


def reasons_in_code() -> set[tuple[str, str, str]]:
    """(kind, condition type, reason) of every literal claim in the controllers."""
    found: set[tuple[str, str, str]] = set()
    for folder, kind in FOLDERS.items():
        for path in sorted((SOURCE / "control" / folder).glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                found |= {(kind, *claim) for claim in _claims(node)}
    return found


def _claims(node: ast.AST) -> set[tuple[str, str]]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("yes", "no"):
        texts_ = [a.value if isinstance(a, ast.Constant) else None for a in node.args[:2]]
        if all(isinstance(t, str) for t in texts_) and len(texts_) == 2:
            return {(str(texts_[0]), str(texts_[1]))}
    if isinstance(node, ast.FunctionDef) and node.name == "_source_told":
        return {("CacheHit", reason) for reason in _second_of_returns(node)}
    return set()


def _second_of_returns(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
            second = node.value.elts[1]
            if isinstance(second, ast.Constant):
                yield str(second.value)


def events_in_code() -> set[tuple[str, str]]:
    """(kind, reason) of every event that Forebay's own controllers record."""
    found = set()
    for folder, kind in FOLDERS.items():
        for path in sorted((SOURCE / "control" / folder).glob("*.py")):
            for reason in re.findall(r'\bNote\(\s*"(\w+)"', path.read_text()):
                found.add((kind, reason))
    return found


def gateway_metrics() -> list[tuple[str, str, str, str]]:
    """(name, type, labels, help) as the gateway tells them, from one counted exchange."""
    from forebay.gateway.observe import Observer

    return sorted(_families(Observer(log=None).collect()))


def agent_metrics() -> list[tuple[str, str, str, str]]:
    """(name, type, labels, help) as an agent tells them after its first look."""
    from forebay.cache.evict import Space
    from forebay.cache.layout import Layout
    from forebay.cache.root import Root
    from forebay.kit.clock import SystemClock
    from forebay.kit.disk import RealDisk
    from forebay.node.chores import Chores
    from forebay.node.metrics import Metrics
    from forebay.node.model import Copy, Seen

    chores = Chores(Root(Layout(Path()), RealDisk(), SystemClock()))
    copies = {"k": Copy("k", "r", 0, {}, 0.0)}
    told = Metrics("workers", since=0.0, evictions=lambda: 0, chores=chores)
    told.saw(Seen(entries=(), space=Space(limit=0, used=0, free=0), copies=copies), {})
    return sorted(_families(told.collect()))


def _families(families: Iterable[Any]) -> Iterator[tuple[str, str, str, str]]:
    for family in families:
        name = family.name + ("_total" if family.type == "counter" else "")
        yield name, family.type, ", ".join(getattr(family, "_labelnames", ())), family.documentation


def pull_metrics() -> list[tuple[str, str, str]]:
    """(name, type, help) of what a pull leaves behind."""
    from forebay.pull.metrics import exposition
    from forebay.pull.model import Report

    text = exposition("hf://org/name", Report())
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    return [(name, kinds[name], told) for name, told in re.findall(r"^# HELP (\S+) (.+)$", text, re.M)]


def access_log_fields() -> list[str]:
    """Keys of one line of the gateway's access log."""
    from forebay.gateway import observe

    return re.findall(r'"(\w+)":', inspect.getsource(observe.log_line))
