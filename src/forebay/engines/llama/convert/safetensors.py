"""Reader of the safetensors format (github.com/huggingface/safetensors, "Format"): headers checked, bytes
mapped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forebay.errors import Absent, Damaged, Invalid
from forebay.kit.foreign import count, parsed

HEADER_MAX = 100_000_000
RANK_MAX = 8  # weights have four dimensions at most
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


@dataclass(frozen=True)
class Tensor:
    """One tensor in a file. `kind` is F32, F16 or BF16; BF16 is read as its 16 bits."""

    name: str
    kind: str
    shape: tuple[int, ...]
    path: Path
    offset: int

    def read(self) -> npt.NDArray[np.generic]:
        """The elements, mapped from the file."""
        kind: np.dtype[Any] = _DTYPES[self.kind]
        return np.memmap(self.path, dtype=kind, mode="r", offset=self.offset, shape=self.shape)


def open_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder, by name. Raises Absent (a shard is missing), Invalid (a type), Damaged."""
    tensors: dict[str, Tensor] = {}
    for path in _files(folder):
        tensors.update(_read_header(path))
    return tensors


def _files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        found = sorted(folder.glob("*.safetensors"))
        if not found:
            raise Absent(f"{folder} has no *.safetensors")
        return found
    try:
        names = sorted(set(parsed(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError):
        raise Damaged(f"{index} is not a safetensors index: download the model again") from None
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise Damaged(f"{index} names {name!r}, which is no file beside it")
        if not (folder / name).is_file():
            raise Absent(f"{folder} lacks the shard {name}: download the model again")
    return [folder / name for name in names]


def _read_header(path: Path) -> dict[str, Tensor]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(HEADER_MAX, size - 8):
            raise Damaged(f"{path} is cut or not a safetensors file: download it again")
        try:
            header = parsed(file.read(length))
        except ValueError:
            raise Damaged(f"{path} has an unreadable header: download it again") from None
    if not isinstance(header, dict):
        raise Damaged(f"{path} has a header that is no object: download it again")
    header.pop("__metadata__", None)
    return {name: _tensor(path, name, entry, base=8 + length, size=size) for name, entry in header.items()}


def _tensor(path: Path, name: str, entry: object, *, base: int, size: int) -> Tensor:
    if not isinstance(entry, dict):
        raise Damaged(f"{path}: the header's entry of {name} is garbled: download it again")
    kind = str(entry.get("dtype"))
    if kind not in _DTYPES:
        raise Invalid(
            f"{path.name}: {name} is stored as {kind}; {', '.join(_DTYPES)} are supported, or give a "
            f"GGUF file"
        )
    try:
        shape = tuple(count(part) for part in entry["shape"])
        begin, end = (count(part) for part in entry["data_offsets"])
        if len(shape) > RANK_MAX:
            raise ValueError("too many dimensions")
    except (KeyError, TypeError, ValueError):
        raise Damaged(f"{path}: the header's entry of {name} is garbled: download it again") from None
    if base + end > size or end - begin != math.prod(shape) * _DTYPES[kind].itemsize:
        raise Damaged(f"{path}: {name} does not fit into the file: download it again")
    return Tensor(name, kind, shape, path, base + begin)
