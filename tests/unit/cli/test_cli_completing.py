"""Completion: the scripts, the names of objects, and silence where no home answers."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from forebay.api.admission import Rules
from forebay.api.kinds import InferenceService, LocalModelCache, LocalModelNamespaceCache, Namespace
from forebay.cli import build
from forebay.cli.programs import Programs
from forebay.errors import Unavailable
from forebay.store.sqlite import SqliteStore

REPLACED: Any = None


def programs(connect: Any) -> Programs:
    fields = dict.fromkeys(Programs.__dataclass_fields__, REPLACED)
    return Programs(**{**fields, "connect": connect})


def completed(connect: Any, *words: str) -> list[str]:
    """What a shell is offered for the last word."""
    asked = ShellComplete(build(programs(connect)), {}, "forebay", "_FOREBAY_COMPLETE")
    return [item.value for item in asked.get_completions(list(words[:-1]), words[-1])]


@asynccontextmanager
async def nobody(*, data: Path | None) -> AsyncIterator[Any]:
    raise Unavailable("no home runs")
    yield


@pytest.fixture
def world(tmp_path: Path) -> Any:
    @asynccontextmanager
    async def connect(*, data: Path | None) -> AsyncIterator[Any]:
        store = SqliteStore(tmp_path / "db", Rules())
        await store.open()
        try:
            spec = {"sourceModelUri": "hf://a/b", "nodeGroups": ["g"]}
            await store.create(Namespace.new("team"))
            await store.create(Namespace.new("default"))
            for name in ("llama", "lama", "qwen"):
                await store.create(LocalModelCache.new(name, spec=spec))
            await store.create(LocalModelNamespaceCache.new("own", "team", spec=spec))
            predictor = {"model": {"modelFormat": {"name": "gguf"}, "storageUri": "hf://a/b"}}
            await store.create(InferenceService.new("served", "default", spec={"predictor": predictor}))
            yield store
        finally:
            await store.close()
            (tmp_path / "db").unlink()

    return connect


def test_names_of_caches_are_offered_as_they_are_typed(world: Any) -> None:
    assert completed(world, "cache", "pin", "l") == ["lama", "llama"]
    assert completed(world, "cache", "rm", "") == ["lama", "llama", "qwen", "team/own"]
    assert completed(world, "cache", "verify", "-n", "team", "") == ["own"]


def test_objects_are_offered_by_kind(world: Any) -> None:
    assert completed(world, "get", "lmc/q") == ["lmc/qwen"]
    assert completed(world, "delete", "lmc", "ll") == ["llama"]
    assert "lmc/llama" in completed(world, "get", "")


def test_kinds_are_offered_as_the_first_word(world: Any) -> None:
    assert "pods" in completed(world, "get", "po")
    assert "localmodelcaches" in completed(world, "delete", "local")
    assert completed(world, "get", "pods", "po") == []
    assert completed(nobody, "get", "inf") == ["inferenceservices"]


def test_explain_and_chat_are_offered_services_only(world: Any) -> None:
    assert completed(world, "explain", "") == ["isvc/served"]
    assert completed(world, "explain", "isvc/s") == ["isvc/served"]
    assert completed(world, "chat", "") == ["served"]


def test_without_a_home_nothing_is_offered_and_nothing_fails() -> None:
    assert completed(nobody, "cache", "pin", "") == []
    assert "cache" in completed(nobody, "ca")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    done = CliRunner().invoke(build(programs(nobody)), ["completion", shell])
    assert done.exit_code == 0, done.output
    assert f"_FOREBAY_COMPLETE={shell}_complete" in done.output


def test_fish_shows_the_whole_line_of_help_commas_too() -> None:
    """click's script splits at every comma, so `Every cached model, and where…` ended after `model`."""
    made = CliRunner().invoke(build(programs(nobody)), ["completion", "fish"])
    assert made.exit_code == 0
    assert 'string split -m 1 ","' in made.output and 'string split ","' not in made.output
