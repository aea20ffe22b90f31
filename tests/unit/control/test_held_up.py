"""What keeps a download or a service from starting is told where people look: in the condition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.fakes.serving_world import JOBS, World, condition
from tests.unit.control.test_caches import CACHE, URI, on, started

from forebay.api import kinds
from forebay.api.kinds import Job, Pod
from forebay.api.meta import Key
from forebay.control.config import settings_from
from forebay.control.containers import sourceless
from forebay.control.held import why_held
from forebay.control.inferenceservice.pods import pods_view
from forebay.errors import Invalid
from forebay.store.protocol import edit_status

pytestmark = pytest.mark.anyio
NO_SECRET = 'secret "hf-secret" not found'
UNPLACED = "0/3 nodes are available: 3 Insufficient memory."
WAITS: dict[str, Any] = {"reason": "CreateContainerConfigError", "message": NO_SECRET}
STATES = [
    ({"containerStatuses": [{"name": "c", "state": {"waiting": WAITS}}]}, NO_SECRET),
    ({"conditions": [{"type": "PodScheduled", "status": "False", "message": UNPLACED}]}, UNPLACED),
]


async def a_pod(world: World, job: Job, status: dict[str, Any]) -> None:
    """The pod that a Job controller makes of the Job's template."""
    template = job.spec["template"]
    pod = Pod.new(
        f"{job.name}-x1", JOBS, spec=template["spec"], labels=template["metadata"]["labels"],
        annotations=template["metadata"].get("annotations"),
    )  # fmt: skip
    pod.meta["ownerReferences"] = [job.owner_reference()]
    await world.store.create(pod)
    await edit_status(world.store, Pod, pod.key, lambda item: item.raw.update(status=status))


@pytest.mark.parametrize(("status", "why"), STATES)
async def test_a_cache_says_why_the_pod_of_its_download_does_not_start(
    tmp_path: Path, status: dict[str, Any], why: str
) -> None:
    async with World(tmp_path) as world:
        await world.node("n1", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        await a_pod(world, await world.get(Job, "iris-n1", JOBS), status)
        await world.settle()
        cache = await world.get(kinds.LocalModelCache, "iris")
        told = f"pod {JOBS}/iris-n1-x1 does not start: {why}"
        assert condition(cache, "Ready")["reason"] == "DownloadPending"
        assert told in condition(cache, "Ready")["message"]
        assert cache.status["nodes"]["n1"]["message"] == told
        assert condition(cache, "Progressing")["reason"] == "Downloading", "every pod waits for a moment"
        world.clock.pass_s(6)
        await world.settle()
        cache = await world.get(kinds.LocalModelCache, "iris")
        assert condition(cache, "Progressing")["reason"] == "Waiting"

        await world.agent_says("n1", "iris", "ModelDownloading", revision="c1", bytesDone=1)
        await world.settle()
        assert condition(await world.get(kinds.LocalModelCache, "iris"), "Ready")["reason"] == "Downloading"


async def test_pods_of_downloads_wake_their_cache(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("n1", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        await a_pod(world, await world.get(Job, "iris-n1", JOBS), {})
        pod = await world.get(Pod, "iris-n1-x1", JOBS)
        watches = [w for c in world.controllers if c.name == "localmodelcache" for w in c.watches]
        [watch] = [w for w in watches if w.kind is Pod]
        found = (await world.store.list(Pod, watch.where)).items
        assert [p.name for p in found] == [pod.name] and list(watch.wakes(pod)) == [Key("", "iris")]


def test_a_pod_on_its_way_is_not_held() -> None:
    pod = Pod.new("p", "ns")
    for state in ({}, {"waiting": {"reason": "ContainerCreating"}}, {"running": {}}):
        pod.raw["status"] = {"containerStatuses": [{"name": "c", "state": state}]}
        assert why_held(pod) == ""


async def test_settings_that_cannot_be_read_are_told_on_what_waits_for_them(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("n1", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        await world.agent_says("n1", "iris", "ModelDownloaded")
        await world.settle()
        broken = kinds.ConfigMap.new("inferenceservice-config", "kserve", data={"localModel": "{oops"})
        await world.store.create(broken)
        await world.apply(CACHE.format(name="late", uri=URI + "2", groups="gpu1"))
        [caches] = [c for c in world.controllers if c.name == "localmodelcache"]
        for name in ("iris", "late"):
            with pytest.raises(Invalid):
                await caches.reconcile(Key("", name))
        assert condition(await world.get(kinds.LocalModelCache, "iris"), "Ready")["status"] == "True"
        late = condition(await world.get(kinds.LocalModelCache, "late"), "Ready")
        assert late["reason"] == "SettingsInvalid" and "key localModel: not JSON" in late["message"]
        await world.delete(kinds.ConfigMap, "inferenceservice-config", "kserve")
        await world.settle()
        late = condition(await world.get(kinds.LocalModelCache, "late"), "Ready")
        assert late["reason"] != "SettingsInvalid"


@pytest.mark.parametrize("odd", ['"abc"', "-1", "true", "[]"])
def test_a_time_that_is_no_number_is_told_and_not_a_bug(odd: str) -> None:
    with pytest.raises(Invalid, match="jobTTLSecondsAfterFinished is a whole number of seconds"):
        settings_from({"localModel": f'{{"jobTTLSecondsAfterFinished": {odd}}}'})
    assert settings_from({"localModel": '{"jobTTLSecondsAfterFinished": null}'}).job_ttl_s == 3600


async def volumes_follow_their_claims(world: World) -> None:
    """What the home's binder does: a volume whose claim is gone is released."""
    claims = [item.key for item in (await world.store.list(kinds.PersistentVolumeClaim)).items]
    for volume in (await world.store.list(kinds.PersistentVolume)).items:
        holder = volume.spec["claimRef"]
        if Key(holder["namespace"], holder["name"]) not in claims:
            await edit_status(
                world.store, kinds.PersistentVolume, volume.key,
                lambda item: item.raw.update(status={"phase": "Released"}),
            )  # fmt: skip


async def test_downloads_that_move_to_another_namespace_get_their_volumes_there(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("n1", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        await world.store.create(kinds.Namespace.new("elsewhere"))
        data = {"localModel": '{"jobNamespace": "elsewhere"}'}
        await world.store.create(kinds.ConfigMap.new("inferenceservice-config", "kserve", data=data))
        for _ in range(4):
            await world.settle()
            await world.sweep()
            await volumes_follow_their_claims(world)
        assert await world.names(kinds.PersistentVolumeClaim, JOBS) == []
        assert await world.names(kinds.PersistentVolumeClaim, "elsewhere") == ["iris"]
        assert await world.names(Job, JOBS) == []  # its pod would hold the old claim
        assert await world.names(Job, "elsewhere") == ["iris-n1-2"]
        [volume] = (await world.store.list(kinds.PersistentVolume)).items
        assert volume.spec["claimRef"]["namespace"] == "elsewhere"


def test_a_looping_container_is_told_by_how_it_ended_and_not_by_the_seconds_it_waits() -> None:
    pod = Pod.new("p", "ns")
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container=c pod=p"}
    ended = {"exitCode": 3, "reason": "Error"}
    status = {"name": "c", "state": {"waiting": waiting}, "lastState": {"terminated": ended}}
    pod.raw["status"] = {"containerStatuses": [status]}
    failure = pods_view([pod], None).failure
    assert failure is not None
    assert failure.message == "container c ended with exit code 3; `kubectl logs --previous` has what it said"


def test_a_uri_without_a_scheme_is_told_so() -> None:
    assert sourceless("kserve/storage-initializer:latest", "hf:/acme/a") == (
        "'hf:/acme/a' has no scheme; write for example hf://owner/model"
    )
