"""What a person reads while a model is on its way."""

from __future__ import annotations

import asyncio

import pytest
from tests.fakes.object_store import ObjectStore

from forebay.api.kinds import InferenceService, LocalModelCache
from forebay.cli.waiting import Board, failure_class, is_ready, transferred, wait_for_all
from forebay.errors import Absent, Damaged, Denied, ForebayError, Unavailable


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


def test_what_fails_while_we_wait_ends_the_wait_and_what_had_failed_before_does_not() -> None:
    old = {"type": "Ready", "status": "False", "reason": "DownloadFailed", "message": "no such model"}
    new = {**old, "message": "refused", "lastTransitionTime": "2030-01-01T00:00:00Z"}
    waits = frozenset({"DownloadFailed"})

    async def wait(*states: object, give_up_on: frozenset[str]) -> None:
        store = ObjectStore()
        await store.put(cache(conditions=[states[0]]))

        async def change() -> None:
            for state in states[1:]:
                await asyncio.sleep(0)
                await store.put(cache(conditions=[state]))

        await asyncio.gather(
            change(),
            wait_for_all(store, [cache()], timeout_s=0.5, give_up_on=give_up_on),  # type: ignore[arg-type]
        )

    with pytest.raises(Unavailable, match=r"^localmodelcache/m: refused"):
        asyncio.run(wait(old, new, give_up_on=waits))
    with pytest.raises(Unavailable, match="not ready after"):
        asyncio.run(wait(old, give_up_on=waits))
    with pytest.raises(Unavailable, match="not ready after"):
        asyncio.run(wait(old, new, give_up_on=frozenset()))


@pytest.mark.parametrize(
    ("room", "text"),
    [
        (47, "50.0 MB of 80.0 MB, 5.0 MB/s, 6 s left, from hf"),
        (46, "50.0 MB of 80.0 MB, 5.0 MB/s, 6 s left"),
        (30, "50.0 MB of 80.0 MB, 6 s left"),
        (20, "50.0 MB of 80.0 MB"),
    ],
)
def test_in_a_narrow_terminal_whole_facts_go_and_the_seconds_left_stay(room: int, text: str) -> None:
    node = {
        "bytesDone": 50_000_000,
        "bytesTotal": 80_000_000,
        "rate": 5_000_000,
        "etaSeconds": 6,
        "source": "hf",
    }
    assert transferred(cache(nodes={"a": node})).within(room) == text


@pytest.mark.parametrize(
    ("reason", "family"),
    [("Denied", Denied), ("Absent", Absent), ("Damaged", Damaged), ("", Unavailable), ("Odd", Unavailable)],
)
def test_a_failed_download_ends_the_wait_as_the_class_of_its_error(
    reason: str, family: type[ForebayError]
) -> None:
    states = {"a": "NodeDownloaded", "b": "NodeDownloadError"}
    item = cache(nodeStatus=states, nodes={"a": {"reason": "Clash"}, "b": {"reason": reason}})
    assert failure_class(item) is family


def test_what_the_caches_line_says_is_not_said_again_in_the_services(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def waits(text: str) -> list[dict[str, str]]:
        return [{"type": "Ready", "status": "False", "message": text}]

    said = "0 of 1 nodes hold the model; n: refused"
    service = InferenceService(
        {
            "metadata": {"name": "s"},
            "status": {"conditions": waits(f"waiting for cache m ({said}); to download")},
        }
    )
    with Board() as board:
        board.show(cache(conditions=waits(said)))
        board.show(service)
    assert capsys.readouterr().err.splitlines() == [
        f"localmodelcache/m: {said}",
        "inferenceservice/s: waiting for cache m",
    ]
