"""CRC-32C against its published values and against the plain definition, in pieces of any size."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.kit.crc32c import Crc32c


def plainly(data: bytes) -> str:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return f"{register ^ 0xFFFFFFFF:08x}"


def of(*pieces: bytes) -> str:
    crc = Crc32c()
    for piece in pieces:
        crc.update(memoryview(piece))
    return crc.hexdigest()


@pytest.mark.parametrize(("data", "value"), [
    (b"", "00000000"), (b"123456789", "e3069283"), (bytes(32), "8a9136aa"), (b"\xff" * 32, "62a8ab43"),
    (bytes(range(32)), "46dd794e"), (bytes(reversed(range(32))), "113fdb5c"),
])  # fmt: skip
def test_published_values(data: bytes, value: str) -> None:
    """RFC 3720, appendix B.4."""
    assert of(data) == value


@given(st.integers(0, 6000), st.lists(st.integers(0, 6000), max_size=4), st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_pieces_of_any_size_give_what_the_definition_says(size: int, cuts: list[int], seed: int) -> None:
    data = random.Random(seed).randbytes(size)
    places = sorted({0, size, *(cut for cut in cuts if cut < size)})
    assert of(*(data[a:b] for a, b in pairwise(places))) == plainly(data)


def test_blocks_join() -> None:
    data = random.Random(1).randbytes((1 << 20) + 77)
    assert of(data) == of(*(data[at : at + 999] for at in range(0, len(data), 999)))
