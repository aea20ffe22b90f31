"""Weights in the form that llama.cpp loads; run before the server, as an init container, or at its start."""

from __future__ import annotations

import os
from pathlib import Path

from forebay.engines.llama.find import find_model
from forebay.engines.llama.phases import phase


def prepare(source: Path, target: Path) -> None:
    """Convert the folder `source` into `target` if it needs it; a GGUF is served from where it lies.

    Raises Absent, Invalid, Damaged: what cannot be served is told before a server starts.
    """
    found = find_model(source, wanted=os.environ.get("FOREBAY_GGUF", ""))
    if found.kind == "safetensors":
        converted(found.path, target)


def converted(source: Path, target: Path) -> Path:
    """The GGUF made of a Llama-family folder, in the folder `target`. Raises Invalid, Damaged."""
    from forebay.engines.llama.convert import convert

    with phase("convert") as facts:
        made = convert(source, target, outtype="keep")
        facts["file"], facts["bytes"] = str(made), made.stat().st_size
    return made
