"""CRC-32C and CRC-64/NVME against published values and the plain definition, in pieces of any size."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.kit.crc import Crc32c, Crc64Nvme

KINDS = {Crc32c: (32, 0x82F63B78), Crc64Nvme: (64, 0x9A6C9329AC4BC9B5)}
Kind = type[Crc32c] | type[Crc64Nvme]


def plainly(kind: Kind, data: bytes) -> str:
    bits, polynomial = KINDS[kind]
    register = ones = (1 << bits) - 1
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (polynomial if register & 1 else 0)
    return f"{register ^ ones:0{bits // 4}x}"


def of(kind: Kind, *pieces: bytes) -> str:
    crc = kind()
    for piece in pieces:
        crc.update(memoryview(piece))
    return crc.hexdigest()


@pytest.mark.parametrize(("data", "value"), [
    (b"", "00000000"), (b"123456789", "e3069283"), (bytes(32), "8a9136aa"), (b"\xff" * 32, "62a8ab43"),
    (bytes(range(32)), "46dd794e"), (bytes(reversed(range(32))), "113fdb5c"),
])  # fmt: skip
def test_published_values(data: bytes, value: str) -> None:
    """RFC 3720, appendix B.4."""
    assert of(Crc32c, data) == value


def test_the_catalogues_value_of_crc_64_nvme() -> None:
    assert of(Crc64Nvme, b"123456789") == "ae8b14860a799888"


@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(0, 6000), st.lists(st.integers(0, 6000), max_size=4), st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_pieces_of_any_size_give_what_the_definition_says(
    kind: Kind, size: int, cuts: list[int], seed: int
) -> None:
    data = random.Random(seed).randbytes(size)
    places = sorted({0, size, *(cut for cut in cuts if cut < size)})
    assert of(kind, *(data[a:b] for a, b in pairwise(places))) == plainly(kind, data)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_join(kind: Kind) -> None:
    data = random.Random(1).randbytes((1 << 20) + 77)
    assert of(kind, data) == of(kind, *(data[at : at + 999] for at in range(0, len(data), 999)))
