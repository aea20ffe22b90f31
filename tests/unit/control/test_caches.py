"""Caches: node states, order of downloads, retries, loss, removal. KServe's controller tests are ported
here as assertions about the stored objects."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes.serving_world import JOBS, World, condition

from forebay.api import kinds, names
from forebay.api.kinds import Job
from forebay.api.meta import Key
from forebay.errors import Invalid
from forebay.store.protocol import edit

pytestmark = pytest.mark.anyio

GROUP = """
apiVersion: serving.kserve.io/v1alpha1
kind: LocalModelNodeGroup
metadata: {{name: {name}}}
spec:
  storageLimit: 10Gi
  persistentVolumeClaimSpec:
    accessModes: [ReadWriteOnce]
    resources: {{requests: {{storage: 2Gi}}}}
    storageClassName: standard
  persistentVolumeSpec:
    accessModes: [ReadWriteOnce]
    capacity: {{storage: 2Gi}}
    hostPath: {{path: /models, type: DirectoryOrCreate}}
    persistentVolumeReclaimPolicy: Delete
    storageClassName: standard
    nodeAffinity:
      required:
        nodeSelectorTerms:
        - matchExpressions:
          - {{key: node.kubernetes.io/instance-type, operator: In, values: [{name}]}}
"""
CACHE = """
apiVersion: serving.kserve.io/v1alpha1
kind: LocalModelCache
metadata: {{name: {name}}}
spec:
  sourceModelUri: {uri}
  modelSize: 1Gi
  nodeGroups: [{groups}]
"""
NAMESPACED = CACHE.replace("kind: LocalModelCache", "kind: LocalModelNamespaceCache").replace(
    "metadata: {{name: {name}}}", "metadata: {{name: {name}, namespace: team}}"
)
URI = "s3://mybucket/mymodel"
KEY = "89da10faf446bbf1"


def on(kind: str) -> dict[str, str]:
    return {"node.kubernetes.io__instance_type": kind}


async def started(world: World, *, groups: str = "gpu1, gpu2", name: str = "iris") -> None:
    for group in ("gpu1", "gpu2"):
        await world.apply(GROUP.format(name=group))
    await world.apply(CACHE.format(name=name, uri=URI, groups=groups))


async def test_a_claim_that_somebody_marked_as_ours_holds_nothing_up(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("node-1", **on("gpu1"))
        await started(world, groups="gpu1")
        cache = await world.get(kinds.LocalModelCache, "iris")
        labels = {names.UID_LABEL: cache.uid, names.CACHE_LABEL: "iris", names.ROLE_LABEL: "download",
                  names.GROUP_LABEL: "gpu1"}  # fmt: skip
        theirs = kinds.PersistentVolumeClaim.new("aaa", "team", labels=labels, spec={
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}})  # fmt: skip
        theirs.meta["finalizers"] = ["example.com/stays"]
        await world.store.create(theirs)
        await world.settle()
        assert await world.names(kinds.PersistentVolumeClaim, JOBS) == ["iris"]
        assert await world.names(kinds.PersistentVolume) == ["iris-download"]
        assert await world.names(Job, JOBS) == ["iris-node-1"]


async def test_each_group_has_its_pair_of_volumes_and_each_node_its_entry(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await started(world)
        await world.settle()
        cache = await world.get(kinds.LocalModelCache, "iris")
        assert condition(cache, "Ready")["reason"] == "NoMatchingNode"
        assert cache.status["copies"] == {}

        await world.node("node-1", **on("gpu1"))
        await world.node("node-2", **on("gpu2"))
        await world.settle()
        assert await world.names(kinds.PersistentVolume) == ["iris-download", "iris-gpu2-download"]
        assert await world.names(kinds.PersistentVolumeClaim, JOBS) == ["iris", "iris-gpu2"]
        for node, group in (("node-1", "gpu1"), ("node-2", "gpu2")):
            listed = await world.get(kinds.LocalModelNode, node)
            assert listed.spec["localModels"] == [
                {"sourceModelUri": URI, "modelName": "iris", "nodeGroup": group, "cacheUid": cache.uid}
            ]
        volume = await world.get(kinds.PersistentVolume, "iris-download")
        assert volume.spec["persistentVolumeReclaimPolicy"] == "Retain"
        assert volume.controller_uid() == cache.uid

        for node in ("node-1", "node-2"):
            await world.agent_says(node, "iris", "ModelDownloaded")
        await world.settle()
        cache = await world.get(kinds.LocalModelCache, "iris")
        assert cache.status["copies"] == {"available": 2, "total": 2}
        assert set(cache.status["nodeStatus"].values()) == {"NodeDownloaded"}


async def test_the_first_node_resolves_and_the_others_fetch_exactly_that(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        for name in ("a", "b", "c"):
            await world.node(name, **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        assert await world.names(kinds.Job, JOBS) == ["iris-a"]

        await world.agent_says(
            "a", "iris", "ModelDownloading", revision="commit1", bytesDone=1, bytesTotal=10
        )
        await world.settle()
        assert await world.names(kinds.Job, JOBS) == ["iris-a", "iris-b", "iris-c"]
        job = await world.get(kinds.Job, "iris-c", JOBS)
        env = {e["name"]: e.get("value") for e in job.spec["template"]["spec"]["containers"][0]["env"]}
        assert env["FOREBAY_REVISION"] == "commit1"
        cache = await world.get(kinds.LocalModelCache, "iris")
        assert cache.status["revision"] == "commit1"
        assert cache.status["nodes"]["a"]["bytesTotal"] == 10


async def test_a_first_node_that_is_lost_before_it_resolved_does_not_hold_up_the_others(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        for name in ("a", "b"):
            await world.node(name, **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        await world.job_ends("iris-a", "Failed", "BackoffLimitExceeded")
        await world.settle()
        assert "iris-b" in await world.names(kinds.Job, JOBS)


async def test_a_failed_download_is_tried_again_later_under_the_next_name_and_says_why(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        await world.node("a", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        await world.agent_says("a", "iris", "ModelDownloadError", message="the token was refused")
        await world.job_ends("iris-a", "Failed", "BackoffLimitExceeded")
        await world.settle()
        cache = await world.get(kinds.LocalModelCache, "iris")
        assert cache.status["copies"] == {"total": 1, "failed": 1}
        assert cache.status["nodeStatus"] == {"a": "NodeDownloadError"}
        assert "the token was refused" in condition(cache, "Ready")["message"]
        assert cache.status["nodes"]["a"]["nextAttemptTime"] == "2026-01-31T12:00:10Z"
        assert await world.names(kinds.Job, JOBS) == ["iris-a"]

        world.clock.pass_s(11)
        await world.settle()
        assert await world.names(kinds.Job, JOBS) == ["iris-a", "iris-a-2"]
        await world.job_ends("iris-a-2", "Failed")
        await world.settle()
        world.clock.pass_s(11)
        await world.settle()
        assert "iris-a-3" not in await world.names(kinds.Job, JOBS)
        world.clock.pass_s(10)
        await world.settle()
        assert "iris-a-3" in await world.names(kinds.Job, JOBS)


async def test_a_clock_that_was_set_back_does_not_put_off_the_next_attempt(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("a", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        await world.job_ends("iris-a", "Failed")
        world.clock.pass_s(-48 * 3600)
        await world.settle()
        assert await world.names(kinds.Job, JOBS) == ["iris-a", "iris-a-2"]
        await world.delete(kinds.LocalModelCache, "iris")
        world.clock.pass_s(-48 * 3600)
        await world.agent_says("a", "iris", "ModelDownloaded")
        await world.settle()
        await world.sweep()
        await world.settle()
        assert await world.names(kinds.LocalModelCache) == [], "nobody waits two days for an agent"


async def test_deleting_the_failed_job_is_the_way_to_retry_at_once(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("a", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        await world.job_ends("iris-a", "Failed")
        await world.settle()
        await world.delete(kinds.Job, "iris-a", JOBS)
        await world.settle()
        assert await world.names(kinds.Job, JOBS) == ["iris-a-2"]


async def test_files_that_vanish_after_success_are_fetched_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("a", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        await world.agent_says("a", "iris", "ModelDownloaded", revision="r")
        await world.job_ends("iris-a", "Complete")
        await world.settle()
        world.clock.pass_s(60)
        await world.settle()
        assert await world.names(kinds.Job, JOBS) == ["iris-a"]
        await world.agent_says("a", "iris", "ModelDownloadPending")
        await world.settle()
        assert "iris-a-2" in await world.names(kinds.Job, JOBS)


async def test_a_node_that_is_not_ready_does_not_count_and_one_that_left_is_forgotten(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        for name in ("a", "b"):
            await world.node(name, **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        for name in ("a", "b"):
            await world.agent_says(name, "iris", "ModelDownloaded", revision="r")
        await world.settle()
        await world.node("b", ready=False)
        await world.settle()
        cache = await world.get(kinds.LocalModelCache, "iris")
        assert cache.status["nodeStatus"] == {"a": "NodeDownloaded", "b": "NodeNotReady"}
        assert cache.status["copies"] == {"available": 1, "total": 2}

        await world.delete(kinds.Node, "b")
        await world.settle()
        cache = await world.get(kinds.LocalModelCache, "iris")
        assert cache.status["nodeStatus"] == {"a": "NodeDownloaded"}
        assert await world.names(kinds.LocalModelNode) == ["a"]


async def test_a_group_taken_out_of_the_spec_takes_its_entries_jobs_and_volumes_along(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("node-1", **on("gpu1"))
        await world.node("node-2", **on("gpu2"))
        await started(world)
        await world.settle()
        await world.agent_says("node-1", "iris", "ModelDownloaded", revision="r")
        await world.agent_says("node-2", "iris", "ModelDownloading", revision="r")
        await world.settle()

        def change(item: kinds.LocalModelCache) -> None:
            item.spec["nodeGroups"] = ["gpu1"]

        await world.change(kinds.LocalModelCache, "iris", change)
        await world.settle()
        await world.sweep()
        assert (await world.get(kinds.LocalModelNode, "node-2")).spec["localModels"] == []
        assert await world.names(kinds.Job, JOBS) == ["iris-node-1"]
        assert await world.names(kinds.PersistentVolume) == ["iris-download"]
        assert (await world.get(kinds.LocalModelCache, "iris")).status["copies"] == {
            "available": 1,
            "total": 1,
        }


async def warnings(world: World) -> list[str]:
    events = (await world.store.list(kinds.Event)).items
    return [f"{e.raw['message']} ({e.raw.get('count')})" for e in events if e.raw["type"] == "Warning"]


async def test_another_group_begins_anew_and_says_nothing_of_the_first_ones_failures(tmp_path: Path) -> None:
    """The failed Job of the group before, and what its agent had said, stood in the status for a while."""
    async with World(tmp_path) as world:
        await world.node("a", **on("gpu1"), **{"pool": "new"})
        await started(world, groups="gpu1")
        await world.apply(GROUP.format(name="new").replace("node.kubernetes.io/instance-type", "pool"))
        await world.settle()
        for name in ("iris-a", "iris-a-2"):
            await world.agent_says("a", "iris", "ModelDownloadError", message="refused", group="gpu1")
            await world.job_ends(name, "Failed")
            await world.settle()
            world.clock.pass_s(21)
            await world.settle()
        await world.job_ends("iris-a-3", "Failed")
        await world.settle()
        failures = await warnings(world)
        assert failures

        await world.change(kinds.LocalModelCache, "iris", lambda i: i.spec.update(nodeGroups=["new"]))
        await world.settle()
        cache = await world.get(kinds.LocalModelCache, "iris")
        assert cache.status["nodeStatus"] == {"a": "NodeDownloadPending"}
        assert condition(cache, "Ready")["reason"] == "Downloading"
        assert "message" not in cache.status["nodes"]["a"]
        assert await world.names(kinds.Job, JOBS) == ["iris-a-4"], "at once, and the first group's are gone"
        assert await warnings(world) == failures


async def test_progress_is_not_claimed_while_every_node_waits_for_somebody(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        for node in ("a", "b"):
            await world.node(node, **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        full: dict[str, str] = {"message": "no room for iris", "reason": "Exhausted", "revision": "r"}
        await world.agent_says("a", "iris", "ModelDownloadPending", **full)
        await world.settle()
        cache = await world.get(kinds.LocalModelCache, "iris")
        assert condition(cache, "Progressing")["message"] == "on b"
        await world.agent_says("b", "iris", "ModelDownloadPending", **full)
        await world.settle()
        said = condition(await world.get(kinds.LocalModelCache, "iris"), "Progressing")
        assert (said["status"], said["reason"]) == ("False", "Waiting")
        assert said["message"] == "a: no room for iris; b: no room for iris"


async def test_a_group_that_is_gone_is_named_in_the_condition_and_does_not_block_deletion(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        await world.node("node-1", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        await world.delete(kinds.LocalModelNodeGroup, "gpu1")
        await world.settle()
        cache = await world.get(kinds.LocalModelCache, "iris")
        assert condition(cache, "Ready")["reason"] == "NodeGroupNotFound"
        await world.delete(kinds.LocalModelCache, "iris")
        await world.agents_prune()
        await world.settle()
        assert await world.names(kinds.LocalModelCache) == []


async def test_nobody_waits_for_the_agents_of_a_group_that_went_too(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("node-1", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        await world.agent_says("node-1", "iris", "ModelDownloaded", revision="r", group="gpu1")
        await world.settle()
        await world.delete(kinds.LocalModelCache, "iris")
        await world.delete(kinds.LocalModelNodeGroup, "gpu1")
        await world.settle()
        assert await world.names(kinds.LocalModelCache) == []


async def test_deletion_waits_for_the_agents_and_then_leaves_nothing_behind(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("a", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        await world.agent_says("a", "iris", "ModelDownloaded", revision="r")
        await world.settle()
        assert f"localmodel.forebay.dev/{KEY}" in (await world.get(kinds.Node, "a")).labels
        await world.delete(kinds.LocalModelCache, "iris")
        await world.settle()
        assert (await world.get(kinds.LocalModelNode, "a")).spec["localModels"] == []
        assert await world.names(kinds.LocalModelCache) == ["iris"], "the agent has not let go yet"

        await world.agents_prune()
        await world.settle()
        await world.sweep()
        for kind in (kinds.LocalModelCache, kinds.PersistentVolume, kinds.PersistentVolumeClaim, kinds.Job):
            assert await world.names(kind) == []
        assert f"localmodel.forebay.dev/{KEY}" not in (await world.get(kinds.Node, "a")).labels


async def test_an_agent_that_never_answers_holds_up_deletion_for_a_minute_only(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("a", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        await world.agent_says("a", "iris", "ModelDownloaded")
        await world.delete(kinds.LocalModelCache, "iris")
        await world.settle()
        world.clock.pass_s(61)
        await world.settle()
        assert await world.names(kinds.LocalModelCache) == []


async def test_two_nodes_and_two_caches_of_one_source_share_the_key_and_the_revision(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        for name in ("a", "b"):
            await world.node(name, **on("gpu1"))
        await started(world, groups="gpu1", name="iris1")
        await world.settle()
        await world.agent_says("a", "iris1", "ModelDownloading", revision="first")
        await world.settle()
        await world.apply(CACHE.format(name="iris2", uri=URI, groups="gpu1"))
        await world.settle()
        assert len((await world.get(kinds.LocalModelNode, "a")).spec["localModels"]) == 2
        job = await world.get(kinds.Job, "iris2-b", JOBS)
        env = {e["name"]: e.get("value") for e in job.spec["template"]["spec"]["containers"][0]["env"]}
        assert env["FOREBAY_REVISION"] == "first"
        for left, cache in ((1, "iris1"), (0, "iris2")):
            await world.delete(kinds.LocalModelCache, cache)
            await world.settle()
            await world.agents_prune()
            await world.settle()
            for node in ("a", "b"):
                assert len((await world.get(kinds.LocalModelNode, node)).spec["localModels"]) == left
        assert await world.names(kinds.LocalModelCache) == []


async def test_a_node_of_two_groups_holds_one_copy_and_stays_with_its_group(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await started(world)

        def both(item: kinds.LocalModelNodeGroup) -> None:
            terms = item.spec["persistentVolumeSpec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
            terms[0]["matchExpressions"][0]["values"] = ["gpu1", "gpu2"]

        await world.change(kinds.LocalModelNodeGroup, "gpu2", both)
        await world.node("a", **on("gpu1"))
        await world.settle()
        [entry] = (await world.get(kinds.LocalModelNode, "a")).spec["localModels"]
        assert entry["nodeGroup"] == "gpu1"

        def swap(item: kinds.LocalModelCache) -> None:
            item.spec["nodeGroups"] = ["gpu2", "gpu1"]

        await world.change(kinds.LocalModelCache, "iris", swap)
        await world.settle()
        [entry] = (await world.get(kinds.LocalModelNode, "a")).spec["localModels"]
        assert entry["nodeGroup"] == "gpu1"


async def test_a_namespaced_cache_has_its_own_names_and_status_key(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.store.create(kinds.Namespace.new("team"))
        await world.node("a", **on("gpu1"))
        await world.apply(GROUP.format(name="gpu1"))
        await world.apply(NAMESPACED.format(name="iris", uri=URI, groups="gpu1"))
        await world.settle()
        volume = await world.get(kinds.PersistentVolume, "iris-gpu1-team-download")
        assert volume.owners == []
        await world.get(kinds.PersistentVolumeClaim, "iris-gpu1-team-download", JOBS)
        cache = await world.get(kinds.LocalModelNamespaceCache, "iris", "team")
        assert cache.finalizers == ["localmodelnamespacecache.kserve.io/finalizer"]
        [entry] = (await world.get(kinds.LocalModelNode, "a")).spec["localModels"]
        assert entry["namespace"] == "team"
        job = await world.get(kinds.Job, "iris-a", JOBS)
        assert job.labels["modelNamespace"] == "team"
        await world.agent_says("a", "team/iris", "ModelDownloaded", revision="r")
        await world.settle()
        cache = await world.get(kinds.LocalModelNamespaceCache, "iris", "team")
        assert cache.status["copies"] == {"available": 1, "total": 1}
        await world.delete(kinds.LocalModelNamespaceCache, "iris", "team")
        await world.settle()
        await world.agents_prune()
        await world.settle()
        await world.sweep()
        for kind in (
            kinds.LocalModelNamespaceCache,
            kinds.PersistentVolume,
            kinds.PersistentVolumeClaim,
            kinds.Job,
        ):
            assert await world.names(kind) == []


async def test_a_cluster_cache_and_a_namespaced_one_of_one_name_do_not_take_each_others_job(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        await world.store.create(kinds.Namespace.new("team"))
        await world.node("a", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.apply(NAMESPACED.format(name="iris", uri="s3://other/model", groups="gpu1"))
        await world.settle()
        jobs = (await world.store.list(kinds.Job)).items
        assert sorted(len(j.labels.get("modelNamespace", "")) for j in jobs) == [0, 4]
        assert len({j.name for j in jobs}) == 2


async def test_a_tenants_credentials_come_from_its_own_namespace_and_go_with_the_job(tmp_path: Path) -> None:
    secret = """
apiVersion: v1
kind: Secret
metadata: {name: mine, namespace: team}
stringData: {HF_TOKEN: tenant}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: puller, namespace: team}
secrets: [{name: mine}]
---
apiVersion: v1
kind: Secret
metadata: {name: mine, namespace: kserve-localmodel-jobs}
stringData: {HF_TOKEN: admin}
---
apiVersion: serving.kserve.io/v1alpha1
kind: ClusterStorageContainer
metadata: {name: hub}
spec:
  container:
    name: c
    image: kserve/storage-initializer:latest
    env: [{name: HF_TOKEN, valueFrom: {secretKeyRef: {name: mine, key: HF_TOKEN}}}]
  supportedUriFormats: [{prefix: "s3://"}]
  workloadType: localModelDownloadJob
"""
    async with World(tmp_path) as world:
        await world.store.create(kinds.Namespace.new("team"))
        await world.node("a", **on("gpu1"))
        await world.apply(GROUP.format(name="gpu1") + "---" + secret)
        text = NAMESPACED.format(name="iris", uri=URI, groups="gpu1")
        await world.apply(text + "  serviceAccountName: puller\n")
        await world.settle()
        job = await world.get(kinds.Job, "iris-a", JOBS)
        [token] = [e for e in job.spec["template"]["spec"]["containers"][0]["env"] if e["name"] == "HF_TOKEN"]
        copy = await world.get(kinds.Secret, "iris-a-credentials", JOBS)
        reference = token["valueFrom"]["secretKeyRef"]
        assert reference["name"] == copy.name
        tenant = await world.get(kinds.Secret, "mine", "team")
        assert copy.raw["data"][reference["key"]] == tenant.raw["data"]["HF_TOKEN"]
        assert copy.controller_uid() == job.uid
        assert job.spec["template"]["spec"]["automountServiceAccountToken"] is False
        await world.agent_says("a", "team/iris", "ModelDownloaded")
        await world.job_ends("iris-a", "Complete")
        await world.settle()
        assert "iris-a-credentials" not in await world.names(kinds.Secret, JOBS)


async def test_an_administrators_token_is_not_lent_to_a_tenant(tmp_path: Path) -> None:
    container = """
apiVersion: serving.kserve.io/v1alpha1
kind: ClusterStorageContainer
metadata: {name: hub}
spec:
  container:
    name: c
    image: kserve/storage-initializer:latest
    env: [{name: HF_TOKEN, valueFrom: {secretKeyRef: {name: admin, key: HF_TOKEN}}}, {name: X, value: "1"}]
  supportedUriFormats: [{prefix: "s3://"}]
  workloadType: localModelDownloadJob
"""
    async with World(tmp_path) as world:
        await world.store.create(kinds.Namespace.new("team"))
        await world.node("a", **on("gpu1"))
        await world.apply(GROUP.format(name="gpu1") + "---" + container)
        await world.apply(NAMESPACED.format(name="iris", uri=URI, groups="gpu1"))
        await world.settle()
        job = await world.get(kinds.Job, "iris-a", JOBS)
        env = {e["name"] for e in job.spec["template"]["spec"]["containers"][0]["env"]}
        assert "HF_TOKEN" not in env and "X" in env


async def test_missing_credentials_stop_the_download_and_are_named(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("a", **on("gpu1"))
        await world.apply(GROUP.format(name="gpu1"))
        await world.apply(CACHE.format(name="iris", uri=URI, groups="gpu1") + "  storage: {key: mine}\n")
        await world.settle()
        cache = await world.get(kinds.LocalModelCache, "iris")
        assert condition(cache, "Ready")["reason"] == "CredentialsMissing"
        assert "kserve-localmodel-jobs/storage-config" in condition(cache, "Ready")["message"]
        assert await world.names(kinds.Job, JOBS) == []
        await world.apply("""
apiVersion: v1
kind: Secret
metadata: {name: storage-config, namespace: kserve-localmodel-jobs}
stringData: {mine: '{"type": "s3", "endpoint_url": "http://minio:9000"}'}
""")
        await world.settle()
        cache = await world.get(kinds.LocalModelCache, "iris")
        assert cache.status["storageKey"].startswith(KEY + "-"), "another server's content has another key"
        job = await world.get(kinds.Job, "iris-a", JOBS)
        env = {e["name"]: e for e in job.spec["template"]["spec"]["containers"][0]["env"]}
        assert env["STORAGE_CONFIG"]["valueFrom"]["secretKeyRef"] == {"name": "storage-config", "key": "mine"}
        assert env["FOREBAY_STORAGE_KEY"]["value"] == cache.status["storageKey"]
        [entry] = (await world.get(kinds.LocalModelNode, "a")).spec["localModels"]
        assert entry["storageKey"] == cache.status["storageKey"]


async def test_a_foreign_downloader_writes_aside(tmp_path: Path) -> None:
    container = """
apiVersion: serving.kserve.io/v1alpha1
kind: ClusterStorageContainer
metadata: {name: own}
spec:
  container: {name: c, image: "registry.example:5000/team/fetch:1"}
  supportedUriFormats: [{regex: "^s3://.+"}]
  workloadType: localModelDownloadJob
"""
    async with World(tmp_path) as world:
        await world.node("a", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.apply(container)
        await world.settle()
        job = await world.get(kinds.Job, "iris-a", JOBS)
        [mount] = job.spec["template"]["spec"]["containers"][0]["volumeMounts"]
        assert mount["subPath"] == f".forebay/staging/{KEY}"


async def test_a_name_of_a_hundred_characters_makes_legal_children(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("a", **on("gpu1"))
        await started(world, groups="gpu1", name="m" * 100)
        await world.settle()
        [job] = (await world.store.list(kinds.Job)).items
        names = [
            job.name,
            *await world.names(kinds.PersistentVolume),
            *await world.names(kinds.PersistentVolumeClaim),
        ]
        assert all(len(name) <= 63 for name in names)
        assert all(len(value) <= 63 for value in job.labels.values())


async def test_a_claim_of_someone_else_is_not_taken_over(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("a", **on("gpu1"))
        claim = kinds.PersistentVolumeClaim.new(
            "iris",
            JOBS,
            spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        )
        await world.store.create(claim)
        await started(world, groups="gpu1")
        await world.settle()
        job = await world.get(kinds.Job, "iris-a", JOBS)
        [volume] = job.spec["template"]["spec"]["volumes"]
        made = volume["persistentVolumeClaim"]["claimName"]
        assert made.startswith("iris-") and made in await world.names(kinds.PersistentVolumeClaim, JOBS)


async def test_switched_off_nothing_is_downloaded_and_the_condition_says_where_the_switch_is(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        await world.store.create(
            kinds.ConfigMap.new(
                "inferenceservice-config", "kserve", data={"localModel": '{"enabled": false}'}
            )
        )
        await world.node("a", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        cache = await world.get(kinds.LocalModelCache, "iris")
        assert condition(cache, "Ready")["reason"] == "Disabled"
        assert await world.names(kinds.Job) == [] and await world.names(kinds.LocalModelNode) == []


async def test_what_happened_is_told_as_events(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.node("a", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        await world.agent_says("a", "iris", "ModelDownloaded", revision="r", source="origin")
        await world.settle()
        reasons = {e.raw["reason"]: e for e in (await world.store.list(kinds.Event)).items}
        assert {"DownloadStarted", "Resolved", "Downloaded"} <= set(reasons)
        assert reasons["Downloaded"].raw["involvedObject"]["name"] == "iris"


async def test_the_group_adds_up_what_its_agents_report(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        for name in ("a", "b"):
            await world.node(name, **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        for name in ("a", "b"):

            def change(item: kinds.LocalModelNode) -> None:
                item.raw["status"] = {"groups": {"gpu1": {"used": 10, "available": 90, "limit": 100}}}

            from forebay.store.protocol import edit_status

            await edit_status(world.store, kinds.LocalModelNode, Key("", name), change)
        await world.settle()
        group = await world.get(kinds.LocalModelNodeGroup, "gpu1")
        assert (group.status["used"], group.status["available"], group.status["nodes"]) == ("20", "180", 2)
        assert group.status["rounded"] == {"used": "20", "available": "180"}


async def test_a_missing_job_namespace_is_named_and_the_download_starts_when_it_is_there(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        config = '{"jobNamespace": "elsewhere"}'
        await world.store.create(
            kinds.ConfigMap.new("inferenceservice-config", "kserve", data={"localModel": config})
        )
        await world.node("a", **on("gpu1"))
        await started(world, groups="gpu1")
        await world.settle()
        cache = await world.get(kinds.LocalModelCache, "iris")
        assert condition(cache, "Ready")["reason"] == "JobNamespaceMissing"
        await world.store.create(kinds.Namespace.new("elsewhere"))
        await world.settle()
        assert await world.names(kinds.Job, "elsewhere") == ["iris-a"]


async def test_what_the_server_refuses_is_told_in_the_status_and_goes_on_once_corrected(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        await world.node("a", **on("gpu1"))
        group = GROUP.format(name="gpu1")
        await world.apply(group.replace("capacity: {storage: 2Gi}", 'capacity: {storage: "0"}'))
        uncounted = CACHE.replace("  modelSize: 1Gi\n", "")  # else the volume's size would come from it
        await world.apply(uncounted.format(name="iris", uri=URI, groups="gpu1"))
        with pytest.raises(Invalid):
            await world.settle()
        told = condition(await world.get(kinds.LocalModelCache, "iris"), "Ready")
        assert (told["status"], told["reason"]) == ("False", "ObjectRefused")
        assert "must be greater than zero; correct what it comes from" in told["message"]

        def correct(item: kinds.LocalModelNodeGroup) -> None:
            item.spec["persistentVolumeSpec"]["capacity"] = {"storage": "2Gi"}

        await edit(world.store, kinds.LocalModelNodeGroup, Key("", "gpu1"), correct)
        await world.settle()
        told = condition(await world.get(kinds.LocalModelCache, "iris"), "Ready")
        assert told["reason"] != "ObjectRefused"
