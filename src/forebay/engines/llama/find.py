"""Which file of a folder is the model."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from forebay.errors import Absent, Damaged, Invalid

SUPPORTED = (
    "supported are a GGUF file (one, or split as NAME-00001-of-00003.gguf) and a Hugging Face folder of "
    "the Llama "
    "family (config.json, *.safetensors, tokenizer.json)"
)
_SPLIT = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")


@dataclass(frozen=True)
class Found:
    """`path`: the GGUF to load (its first part), or the folder to convert."""

    kind: Literal["gguf", "safetensors"]
    path: Path


def find_model(root: Path, *, wanted: str = "") -> Found:
    """The model under `root`; `wanted` names one file of several. Raises Absent, Invalid, Damaged."""
    if root.is_file():
        return _checked(root)
    if not root.is_dir():
        raise Absent(f"there is no folder {root}: mount the model there or name its place with --model_dir")
    if wanted:
        return _wanted(root, wanted)
    for folder in _folders(root):
        models = [
            name for name in sorted(folder.glob("*.gguf")) if not name.name.lower().startswith("mmproj")
        ]
        heads = [path for path in models if (hit := _SPLIT.fullmatch(path.name)) is None or hit[2] == "00001"]
        if len(heads) > 1:
            names = ", ".join(path.name for path in heads)
            raise Invalid(
                f"{folder} holds several models ({names}): choose one with --gguf NAME or FOREBAY_GGUF"
            )
        if models:
            return _checked((heads or models)[0])
        if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
            return Found("safetensors", folder)
    raise Invalid(f"{root} holds no model that can be served here ({_contents(root)}); {SUPPORTED}")


def _folders(root: Path) -> list[Path]:
    """`root`, then the folders directly in it, without hidden ones."""
    return [root, *sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))]


def _wanted(root: Path, wanted: str) -> Found:
    path = (root / wanted).resolve()
    if not path.is_relative_to(root.resolve()) or not path.is_file():
        raise Absent(f"there is no file {wanted} in {root}")
    return _checked(path)


def _checked(path: Path) -> Found:
    """A GGUF that begins like one, with all its parts beside it."""
    if path.suffix != ".gguf":
        raise Invalid(f"{path} is not a GGUF file; {SUPPORTED}")
    hit = _SPLIT.fullmatch(path.name)
    if hit:
        total = int(hit[3])
        parts = [path.with_name(f"{hit[1]}-{number:05d}-of-{hit[3]}.gguf") for number in range(1, total + 1)]
        missing = [part.name for part in parts if not part.is_file()]
        if missing:
            raise Absent(
                f"{path.parent} lacks {', '.join(missing[:3])} of {total} parts: download the model again"
            )
        path = parts[0]
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise Damaged(f"{path} does not begin like a GGUF file: download it again")
    return Found("gguf", path)


def _contents(root: Path) -> str:
    names = sorted(path.name for path in root.iterdir())
    if not names:
        return "it is empty"
    if "config.json" in names:
        try:
            made = json.loads((root / "config.json").read_text()).get("architectures")
        except (ValueError, AttributeError):
            made = None
        if made:
            return f"architecture {made}, files {', '.join(names[:6])}"
    return f"it has {', '.join(names[:6])}{' and more' if len(names) > 6 else ''}"
