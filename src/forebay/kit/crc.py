"""CRC-32C (RFC 3720 appendix B.4) and CRC-64/NVME in numpy: what clouds promise for objects of many parts.

The standard library has neither. A block is cut into rows that run side by side through the tables; then
neighbours are joined: the register after A and B is that after A, moved on by the length of B, xor that after
B alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

_ROW = 256  # bytes
_BLOCK_ROWS = 4096
_Words = np.ndarray[Any, np.dtype[Any]]


class _Crc:
    """Fed in order, like a hash of hashlib. `polynomial` is reflected, the register inverted at both ends."""

    def __init__(self, width: int, polynomial: int) -> None:
        self._width, self._polynomial = width, polynomial
        self._ones = (1 << 8 * width) - 1
        self._register = self._ones

    def update(self, data: memoryview) -> None:
        """The next bytes."""
        view = np.frombuffer(data, dtype=np.uint8)
        at = 0
        for rows in _portions(len(view) // _ROW):
            end = at + rows * _ROW
            self._rows(view[at:end].reshape(rows, _ROW))
            at = end
        table = _tables(self._width, self._polynomial)[0]
        for byte in view[at:].tolist():
            self._register = int(table[(self._register ^ byte) & 0xFF]) ^ (self._register >> 8)

    def hexdigest(self) -> str:
        """Two hexadecimal digits for each byte of the register."""
        return f"{self._register ^ self._ones:0{2 * self._width}x}"

    def _rows(self, rows: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        tables = np.stack(_tables(self._width, self._polynomial)[::-1])
        words = np.ascontiguousarray(rows.view(f"<u{self._width}").T)
        state = np.zeros(len(rows), dtype=f"u{self._width}")
        state[0] = self._register
        for word in words:
            state ^= word
            state = _move(tables, state)
        step = 0
        while len(state) > 1:
            state = _move(_mover(self._width, self._polynomial, step), state[0::2]) ^ state[1::2]
            step += 1
        self._register = int(state[0])


class Crc32c(_Crc):
    """Of Google's composed objects and S3's x-amz-checksum-crc32c."""

    def __init__(self) -> None:
        super().__init__(4, 0x82F63B78)


class Crc64Nvme(_Crc):
    """Of S3's x-amz-checksum-crc64nvme (NVM Express command set specification)."""

    def __init__(self) -> None:
        super().__init__(8, 0x9A6C9329AC4BC9B5)


def _portions(rows: int) -> list[int]:
    """`rows` as powers of two, none over the block: each joins pairwise without a rest."""
    whole, rest = divmod(rows, _BLOCK_ROWS)
    return [_BLOCK_ROWS] * whole + [1 << bit for bit in reversed(range(12)) if rest >> bit & 1]


@lru_cache(maxsize=2)
def _tables(width: int, polynomial: int) -> list[_Words]:
    """The register after byte i and 0 to width - 1 zero bytes."""
    first = np.arange(256, dtype=f"u{width}")
    for _ in range(8):
        first = np.where(first & 1, (first >> 1) ^ first.dtype.type(polynomial), first >> 1)
    out = [first]
    for _ in range(width - 1):
        out.append(first[out[-1] & 255] ^ (out[-1] >> 8))
    return out


@lru_cache(maxsize=32)
def _mover(width: int, polynomial: int, step: int) -> _Words:
    """Moves a register on by a row of zeros, `2 ** step` times: a table for each of its bytes."""
    if step:
        before = _mover(width, polynomial, step - 1)
        return np.stack([_move(before, table) for table in before])
    first = _tables(width, polynomial)[0]
    place = np.arange(256, dtype=f"u{width}")
    moved = np.stack([place << (8 * byte) for byte in range(width)])
    for _ in range(_ROW):
        moved = first[moved & 255] ^ (moved >> 8)
    return moved


def _move(tables: _Words, state: _Words) -> _Words:
    """One table look-up for each byte of the register, the lowest first."""
    out: _Words = tables[0][state & 255]
    for byte in range(1, len(tables)):
        out ^= tables[byte][(state >> (8 * byte)) & 255]
    return out
