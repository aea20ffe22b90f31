"""The written schemas of our kinds are those that the models give, and programs run without the models."""

import json
import subprocess
import sys
from importlib import resources

import pytest

from forebay.api import ours

PROGRAMS = {
    "agent": "forebay.main, forebay.node.agent, forebay.store.kube",
    "gateway": "forebay.main, forebay.gateway.serve, forebay.store.kube",
    "home": "forebay.main, forebay.home.run, forebay.control; forebay.main._parts()",
    "pull job": "forebay.main, forebay.pull.command, forebay.pull.cached",
}
HEAVY = ("pydantic", "huggingface_hub", "botocore", "numpy")


def test_the_table_is_what_the_models_give():
    written = json.loads((resources.files("forebay.api") / ours.TABLE).read_bytes())
    assert written == ours.made(), "the models have changed: run python tools/gen_serving.py"


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_starts_without_the_models(program):
    """They take longer to load than everything else together."""
    code = f"import sys, {PROGRAMS[program]}\nprint([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_while_the_table_does_not_fit_the_models_are_asked(monkeypatch):
    expected = ours.schemas()
    monkeypatch.setattr(ours, "digest", lambda: "another")
    ours._table.cache_clear()
    ours.schemas.cache_clear()
    try:
        assert ours.schemas() == expected
        assert "pydantic" in sys.modules
    finally:
        ours._table.cache_clear()
        ours.schemas.cache_clear()
