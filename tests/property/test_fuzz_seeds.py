"""The seeds of the fuzzing search, and all that are near them, in every ordinary run."""

from __future__ import annotations

import random

import pytest
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

SLOW = {"answers": 4, "packs": 12, "notes": 20}  # variations of each seed: a socket or a folder per try


def test_every_target_has_seeds() -> None:
    assert set(SEEDS) == set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_a_seed_and_what_is_near_it_breaks_no_promise(name: str) -> None:
    rng = random.Random(name)
    for seed in SEEDS[name]:
        TARGETS[name](seed)
        for _ in range(SLOW.get(name, 60)):
            TARGETS[name](_near(seed, rng))


def _near(seed: bytes, rng: random.Random) -> bytes:
    data = bytearray(seed)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0:
                del data[at : at + rng.randint(1, 40)]
            case 1:
                data[at:at] = rng.randbytes(rng.randint(1, 8))
            case 2:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case _:
                data[at:at] = data[at // 2 : at]
    return bytes(data[:8192])
