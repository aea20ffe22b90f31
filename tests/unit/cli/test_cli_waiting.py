"""What a person reads while a model is on its way."""

from __future__ import annotations

from forebay.api.kinds import LocalModelCache
from forebay.cli.waiting import is_ready, transferred


def cache(**status: object) -> LocalModelCache:
    return LocalModelCache({"metadata": {"name": "m", "generation": 2}, "spec": {}, "status": status})


def test_bytes_are_summed_over_nodes_and_the_slowest_node_says_when() -> None:
    nodes = {
        "a": {
            "bytesDone": 10_000_000,
            "bytesTotal": 40_000_000,
            "rate": 5_000_000,
            "etaSeconds": 6,
            "source": "hf",
        },
        "b": {"bytesDone": 40_000_000, "bytesTotal": 40_000_000, "source": "hf"},
    }
    assert str(transferred(cache(nodes=nodes))) == "50.0 MB of 80.0 MB, 5.0 MB/s, 6 s left, from hf"


def test_a_whole_copy_says_its_size_only() -> None:
    nodes = {"a": {"bytesDone": 7, "bytesTotal": 7, "rate": 5, "etaSeconds": 0, "source": "hf"}}
    assert str(transferred(cache(nodes=nodes))) == "7 B, from hf"


def test_nothing_known_is_nothing_said() -> None:
    assert str(transferred(cache())) == ""


def test_ready_counts_for_this_generation_only() -> None:
    true = [{"type": "Ready", "status": "True"}]
    assert is_ready(cache(conditions=true, observedGeneration=2))
    assert not is_ready(cache(conditions=true, observedGeneration=1))
    assert not is_ready(cache(conditions=[{"type": "Ready", "status": "False"}], observedGeneration=2))
