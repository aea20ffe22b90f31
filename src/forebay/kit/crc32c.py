"""CRC-32C (RFC 3720 appendix B.4) in numpy: the only digest that Cloud Storage promises for composed objects.

The standard library has no such function. A block is cut into rows that run side by side through the tables;
then neighbours are joined: the register after A and B is that after A, moved on by the length of B, xor that
after B alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

_POLYNOMIAL = 0x82F63B78
_ROW = 256  # bytes
_BLOCK_ROWS = 4096
_Words = np.ndarray[Any, np.dtype[np.uint32]]


class Crc32c:
    """Fed in order, like a hash of hashlib."""

    def __init__(self) -> None:
        self._register = 0xFFFFFFFF

    def update(self, data: memoryview) -> None:
        """The next bytes."""
        view = np.frombuffer(data, dtype=np.uint8)
        at = 0
        for rows in _portions(len(view) // _ROW):
            end = at + rows * _ROW
            self._rows(view[at:end].reshape(rows, _ROW))
            at = end
        for byte in view[at:].tolist():
            self._register = int(_tables()[0][(self._register ^ byte) & 0xFF]) ^ (self._register >> 8)

    def hexdigest(self) -> str:
        """Eight hexadecimal digits."""
        return f"{self._register ^ 0xFFFFFFFF:08x}"

    def _rows(self, rows: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        t0, t1, t2, t3 = _tables()
        words = np.ascontiguousarray(rows.view("<u4").T)
        state = np.zeros(len(rows), dtype=np.uint32)
        state[0] = self._register
        for word in words:
            state ^= word
            state = t3[state & 255] ^ t2[(state >> 8) & 255] ^ t1[(state >> 16) & 255] ^ t0[state >> 24]
        step = 0
        while len(state) > 1:
            state = _move(_mover(step), state[0::2]) ^ state[1::2]
            step += 1
        self._register = int(state[0])


def _portions(rows: int) -> list[int]:
    """`rows` as powers of two, none over the block: each joins pairwise without a rest."""
    whole, rest = divmod(rows, _BLOCK_ROWS)
    return [_BLOCK_ROWS] * whole + [1 << bit for bit in reversed(range(12)) if rest >> bit & 1]


@lru_cache(maxsize=1)
def _tables() -> list[_Words]:
    """The register after byte i and 0 to 3 zero bytes."""
    first = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        first = np.where(first & 1, (first >> 1) ^ np.uint32(_POLYNOMIAL), first >> 1).astype(np.uint32)
    out = [first]
    for _ in range(3):
        out.append(first[out[-1] & 255] ^ (out[-1] >> 8))
    return out


@lru_cache(maxsize=16)
def _mover(step: int) -> _Words:
    """Moves a register on by a row of zeros, `2 ** step` times: four tables, one for each of its bytes."""
    if step:
        before = _mover(step - 1)
        return np.stack([_move(before, table) for table in before])
    first = _tables()[0]
    place = np.arange(256, dtype=np.uint32)
    moved = np.stack([place << np.uint32(8 * byte) for byte in range(4)])
    for _ in range(_ROW):
        moved = first[moved & 255] ^ (moved >> 8)
    return moved


def _move(mover: _Words, state: _Words) -> _Words:
    out: _Words = (
        mover[0][state & 255]
        ^ mover[1][(state >> 8) & 255]
        ^ mover[2][(state >> 16) & 255]
        ^ mover[3][state >> 24]
    )
    return out
