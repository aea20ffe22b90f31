"""What people ask of a cache by annotation: who is told, who resolves anew, and that once is once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.fakes.serving_world import JOBS, World, condition
from tests.unit.control.test_caches import KEY, NAMESPACED, URI, on, started

from forebay.api import kinds, wishes
from forebay.api.meta import Key
from forebay.store.protocol import edit

pytestmark = pytest.mark.anyio
EARLY, LATE = "2026-01-31T12:00:01Z", "2026-01-31T13:00:00.5Z"


async def two_nodes(world: World) -> None:
    """Two nodes of one group that hold revision r1."""
    await started(world, groups="gpu1")
    for node in ("a", "b"):
        await world.node(node, **on("gpu1"))
    await world.settle()
    await world.agent_says("a", "iris", "ModelDownloaded", revision="r1")
    await world.job_ends("iris-a", "Complete")
    await world.settle()
    await world.agent_says("b", "iris", "ModelDownloaded", revision="r1")
    await world.job_ends("iris-b", "Complete")
    await world.settle()


async def wish(world: World, **notes: str) -> None:
    def change(item: kinds.LocalModelCache) -> None:
        item.meta.setdefault("annotations", {}).update(
            {f"forebay.dev/{k.replace('_', '-')}": v for k, v in notes.items()}
        )

    await edit(world.store, kinds.LocalModelCache, Key("", "iris"), change)
    await world.settle()


async def entry(world: World, node: str) -> Any:
    return (await world.get(kinds.LocalModelNode, node)).spec["localModels"][0]


async def env_of(world: World, job: str) -> dict[str, str]:
    spec = (await world.get(kinds.Job, job, JOBS)).spec["template"]["spec"]
    return {e["name"]: e.get("value", "") for e in spec["containers"][0]["env"]}


async def status(world: World) -> Any:
    return (await world.get(kinds.LocalModelCache, "iris")).status


async def test_pins_and_requests_reach_the_agents_and_a_node_may_be_named(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await two_nodes(world)
        await wish(world, pinned="true", verify_requested=EARLY, warm_requested=LATE, warm_node="b")
        said = {node: await entry(world, node) for node in ("a", "b")}
        assert [said[n].get("pinned") for n in "ab"] == [True, True]
        assert [said[n].get("verifyRequested") for n in "ab"] == [EARLY, EARLY]
        assert [said[n].get("warmRequested") for n in "ab"] == [None, LATE]
        await wish(world, pinned="false", verify_requested="soon")
        assert {"pinned", "verifyRequested"} & (await entry(world, "a")).keys() == set()


async def test_one_node_resolves_the_name_anew_and_the_others_fetch_exactly_that(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await two_nodes(world)
        await wish(world, refresh_requested=EARLY)
        assert await world.names(kinds.Job, JOBS) == ["iris-a", "iris-a-2", "iris-b"]
        env = await env_of(world, "iris-a-2")
        assert (env["FOREBAY_REFRESH"], env["FOREBAY_REFRESH_FOR"], env["FOREBAY_REVISION"]) == (
            "1",
            EARLY,
            "",
        )
        assert (await status(world))["copies"] == {"available": 2, "total": 2}
        assert (await status(world))["refresh"] == {"requested": EARLY}

        await world.job_ends("iris-a-2", "Complete")
        await world.settle()
        assert "iris-b-2" not in await world.names(kinds.Job, JOBS)
        await world.agent_says("a", "iris", "ModelDownloaded", revision="r2", refreshed=EARLY)
        await world.settle()
        assert (await env_of(world, "iris-b-2"))["FOREBAY_REVISION"] == "r2"
        assert (await status(world))["revision"] == "r2"
        assert (await status(world))["refresh"] == {"requested": EARLY, "revision": "r2"}

        await world.agent_says("b", "iris", "ModelDownloaded", revision="r2")
        await world.job_ends("iris-b-2", "Complete")
        world.clock.pass_s(4000)
        await world.settle()
        assert len(await world.names(kinds.Job, JOBS)) == 4, "asked once, done once"


async def test_a_refresh_that_pods_hold_up_says_so_and_goes_on_when_they_are_gone(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await two_nodes(world)
        await wish(world, refresh_requested=EARLY)
        held: dict[str, str] = {"revision": "r1", "refused": "in use by default/p", "reason": "Clash"}
        for attempt in (2, 3, 4):
            await world.agent_says("a", "iris", "ModelDownloaded", **held)
            await world.job_ends(f"iris-a-{attempt}", "Failed", "no")
            await world.settle()
            world.clock.pass_s(41)
            await world.settle()
        await world.job_ends("iris-a-5", "Failed", "no")
        await world.settle()
        cache = await world.get(kinds.LocalModelCache, "iris")
        said = condition(cache, "Progressing")
        assert said["reason"] == "WaitingToRetry"
        assert said["message"].endswith("; a (in use by default/p)")
        assert "iris-a-6" not in await world.names(kinds.Job, JOBS)
        await world.agent_says("a", "iris", "ModelDownloaded", revision="r1")
        await world.settle()
        assert "iris-a-6" in await world.names(kinds.Job, JOBS), "80 s before its time"


async def test_what_cannot_come_by_trying_again_ends_the_job_at_once(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await two_nodes(world)
        [rule] = (await world.get(kinds.Job, "iris-a", JOBS)).spec["podFailurePolicy"]["rules"]
        assert rule["onExitCodes"]["values"] == [2, 3, 4, 5]


async def test_a_refused_refresh_keeps_the_copies_and_waits_longer_each_time(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await two_nodes(world)
        await wish(world, refresh_requested=EARLY)
        await world.agent_says("a", "iris", "ModelDownloaded", revision="r1", refused="in use by default/p")
        await world.job_ends("iris-a-2", "Failed", "no")
        await world.settle()
        said = await status(world)
        assert said["copies"]["available"] == 2
        assert said["refresh"] == {"requested": EARLY, "message": "in use by default/p"}
        assert "iris-a-3" not in await world.names(kinds.Job, JOBS)
        world.clock.pass_s(11)
        await world.settle()
        assert "iris-a-3" in await world.names(kinds.Job, JOBS)
        await world.job_ends("iris-a-3", "Failed", "no")
        world.clock.pass_s(11)
        await world.settle()
        assert "iris-a-4" not in await world.names(kinds.Job, JOBS)


async def test_what_an_agent_says_of_an_earlier_cache_of_the_name_counts_for_nothing(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await started(world, groups="gpu1")
        await world.node("a", **on("gpu1"))
        await world.settle()
        await world.agent_says("a", "iris", "ModelDownloaded", revision="r1", cacheUid="of-the-one-before")
        await world.settle()
        assert (await status(world))["nodeStatus"] == {"a": "NodeDownloadPending"}
        assert "revision" not in await status(world)
        assert (await env_of(world, "iris-a"))["FOREBAY_CACHE_UID"] == (await entry(world, "a"))["cacheUid"]
        assert (await env_of(world, "iris-a"))["FOREBAY_STORAGE_KEY"] == KEY


async def test_damaged_content_is_fetched_soon_and_each_time_later(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await two_nodes(world)
        world.clock.pass_s(60)
        await world.agent_says("a", "iris", "ModelDownloadPending", reason="Damaged", message="set aside")
        await world.settle()
        assert "iris-a-2" in await world.names(kinds.Job, JOBS)
        await world.job_ends("iris-a-2", "Complete")
        world.clock.pass_s(3)
        await world.settle()
        assert "iris-a-3" not in await world.names(kinds.Job, JOBS)
        world.clock.pass_s(2)
        await world.settle()
        assert "iris-a-3" in await world.names(kinds.Job, JOBS)


async def test_two_caches_of_one_content_move_together_whoever_asked(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.store.create(kinds.Namespace.new("team"))
        await two_nodes(world)
        await world.apply(NAMESPACED.format(name="iris", uri=URI, groups="gpu1"))
        for node in ("a", "b"):
            await world.agent_says(node, "team/iris", "ModelDownloaded", revision="r1")
        await world.settle()
        jobs = await world.names(kinds.Job, JOBS)
        await wish(world, refresh_requested=EARLY)

        # The report wakes both: the one that did not ask must not fetch the old revision again.
        await world.agent_says("a", "team/iris", "ModelDownloaded", revision="r2", refreshed=EARLY)
        await world.settle()
        team = await world.get(kinds.LocalModelNamespaceCache, "iris", "team")
        assert team.status["revision"] == "r2"
        assert team.status["refresh"] == {"requested": EARLY, "revision": "r2"}
        await world.agent_says("a", "iris", "ModelDownloaded", revision="r2", refreshed=EARLY)
        await world.settle()
        assert (await status(world))["revision"] == "r2"
        started = set(await world.names(kinds.Job, JOBS)) - set(jobs)
        revisions = {name: (await env_of(world, name))["FOREBAY_REVISION"] for name in started}
        assert set(revisions.values()) == {"", "r2"}


def test_times_of_requests() -> None:
    assert wishes.is_newer(LATE, EARLY) and not wishes.is_newer(EARLY, EARLY)
    assert wishes.is_newer(EARLY, "") and not wishes.is_newer("yesterday", "") and not wishes.is_newer("", "")
    assert wishes.latest((EARLY, LATE, "")) == LATE
