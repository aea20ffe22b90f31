"""docs/reference is the code: pages are up to date, and nothing that a person can meet lacks its line.

To mend a failure: give the name its line in docs/reference/words.toml, then `python tools/gen_docs.py`.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
HOW = "add it to docs/reference/words.toml (or take it out), then run `python tools/gen_docs.py`"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gen_docs", ROOT / "tools" / "gen_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gen_docs"] = module
    spec.loader.exec_module(module)
    return module


docs = load()
WORDS = docs.words()
SOURCES = "\n".join(docs.doc_facts.texts().values())


@pytest.mark.parametrize("name", sorted(docs.WRITERS))
def test_a_page_is_what_the_code_says(name: str) -> None:
    assert (docs.PAGES / name).read_text() == docs.WRITERS[name](), "run `python tools/gen_docs.py`"


def test_every_setting_has_its_line() -> None:
    assert sorted(docs.doc_facts.settings_in_code() - set(WORDS["settings"])) == [], HOW


def test_no_setting_is_told_that_the_code_does_not_read() -> None:
    assert [name for name in WORDS["settings"] if f'"{name}"' not in SOURCES] == [], HOW


def test_every_label_annotation_and_finalizer_has_its_line() -> None:
    assert sorted(docs.doc_facts.keys_in_code() ^ set(WORDS["keys"])) == [], HOW


def test_every_reason_of_a_condition_has_its_line() -> None:
    told = {
        (k, t, r) for k, types in WORDS["conditions"].items() for t, reasons in types.items() for r in reasons
    }
    assert sorted(docs.doc_facts.reasons_in_code() - told) == [], HOW


def test_no_reason_is_told_that_the_code_does_not_give() -> None:
    told = {r for types in WORDS["conditions"].values() for reasons in types.values() for r in reasons}
    assert sorted(r for r in told if f'"{r}"' not in SOURCES) == [], HOW


def test_every_condition_type_is_told() -> None:
    from forebay.api.conditions import OWNERS

    told = {(kind, type_) for kind, types in WORDS["conditions"].items() for type_ in types}
    owned = {(k, t) for k, types in OWNERS.items() for t in types if k != "LocalModelNamespaceCache"}
    assert told == owned, HOW


def test_every_event_has_its_line() -> None:
    told = {(kind, reason) for kind, reasons in WORDS["events"].items() for reason in reasons}
    assert sorted(docs.doc_facts.events_in_code() ^ told) == [], HOW


def test_every_field_of_the_access_log_has_its_line() -> None:
    assert sorted(set(docs.doc_facts.access_log_fields()) ^ set(WORDS["metrics"]["access_log"])) == [], HOW


def test_every_command_has_its_heading() -> None:
    text = (docs.PAGES / "cli.md").read_text()
    assert [
        name for name, _ in docs.doc_facts.commands() if name != "forebay" and f"\n## {name}\n" not in text
    ] == []


def test_the_extraction_finds_something() -> None:
    """A pattern that has stopped matching would make every test above pass."""
    assert len(docs.doc_facts.settings_in_code()) > 30
    assert len(docs.doc_facts.keys_in_code()) > 20
    assert len(docs.doc_facts.reasons_in_code()) > 25
    assert len(docs.doc_facts.events_in_code()) > 5
    assert len(list(docs.doc_facts.commands())) > 15
