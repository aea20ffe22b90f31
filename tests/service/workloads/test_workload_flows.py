"""Whole flows over a real store: what a person sees after applying objects."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.service.workloads.world import World, template, world

from forebay.api.admission import Rules
from forebay.api.kinds import (
    ConfigMap,
    ControllerRevision,
    CustomResourceDefinition,
    DaemonSet,
    Deployment,
    Endpoints,
    EndpointSlice,
    Event,
    Job,
    Namespace,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    ReplicaSet,
    Service,
    ServiceAccount,
)  # fmt: skip
from forebay.api.meta import Json, Key, Resource, dynamic_kind
from forebay.errors import Denied
from forebay.home.workloads.pods import active, condition, ready
from forebay.store.protocol import Where, edit

pytestmark = pytest.mark.anyio
APP = {"app": "web"}


def deployment(replicas: int = 2, **spec: Any) -> Deployment:
    return Deployment.new("web", "default", spec={
        "replicas": replicas, "selector": {"matchLabels": APP}, "template": template(APP), **spec,
    })  # fmt: skip


async def rolled_out(w: World, name: str = "web") -> Deployment | None:
    """What `kubectl rollout status` waits for."""
    item = await w.there(Deployment, name)
    s, wanted = item.status, item.spec["replicas"]
    done = s.get("observedGeneration", 0) >= item.generation and all(
        s.get(f, 0) == wanted for f in ("updatedReplicas", "replicas", "availableReplicas")
    )
    return item if done else None


async def test_a_deployment_runs_its_pods_and_reports_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.store.create(deployment())
        item = await w.until(lambda: rolled_out(w))
        assert item.annotations["deployment.kubernetes.io/revision"] == "1"
        found = {c["type"]: (c["status"], c["reason"]) for c in item.status["conditions"]}
        assert found == {"Available": ("True", "MinimumReplicasAvailable"),
                         "Progressing": ("True", "NewReplicaSetAvailable")}  # fmt: skip
        sets = (await w.store.list(ReplicaSet)).items
        assert [rs.status["readyReplicas"] for rs in sets] == [2]
        assert all(p.name.startswith(sets[0].name) and p.spec["nodeName"] == "node-0" for p in await w.pods())


async def test_a_rollout_never_has_fewer_ready_pods_than_promised_and_can_be_undone(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.store.create(deployment(3, strategy={
            "type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}))  # fmt: skip
        await w.until(lambda: rolled_out(w))

        async def never_below() -> None:
            assert sum(active(p) and ready(p) for p in await w.pods()) >= 3

        def other_image(item: Deployment) -> None:
            item.raw["spec"]["template"]["spec"]["containers"][0]["image"] = "forebay/test:2"

        await edit(w.store, Deployment, Key("default", "web"), other_image)
        item = await w.until(lambda: rolled_out(w), invariant=never_below)
        assert item.annotations["deployment.kubernetes.io/revision"] == "2"
        assert {p.spec["containers"][0]["image"] for p in await w.pods() if active(p)} == {"forebay/test:2"}

        def back(item: Deployment) -> None:
            item.raw["spec"]["template"]["spec"]["containers"][0]["image"] = "forebay/test"

        await edit(w.store, Deployment, Key("default", "web"), back)
        item = await w.until(lambda: rolled_out(w), invariant=never_below)
        assert item.annotations["deployment.kubernetes.io/revision"] == "3"
        sets = (await w.store.list(ReplicaSet)).items
        assert sorted(rs.annotations["deployment.kubernetes.io/revision"] for rs in sets) == ["2", "3"]


async def test_scaling_to_zero_and_deleting_leaves_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.store.create(deployment())
        await w.until(lambda: rolled_out(w))
        await w.store.delete(Deployment, Key("default", "web"))

        async def empty() -> bool:
            return not (await w.pods()) and not (await w.store.list(ReplicaSet)).items

        await w.until(empty)


async def test_foreground_deletion_waits_for_the_pods(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.store.create(deployment())
        await w.until(lambda: rolled_out(w))
        w.kubelet.slow_to_stop = True
        await w.store.delete(Deployment, Key("default", "web"), propagation="Foreground")

        async def stopping() -> bool:
            return all(p.deleting for p in await w.pods())

        await w.until(stopping)
        assert len(await w.pods()) == 2 and len((await w.store.list(ReplicaSet)).items) == 1
        assert not await w.gone(Deployment, "web")
        w.kubelet.slow_to_stop = False

        async def gone() -> bool:
            if not await w.gone(Deployment, "web"):
                return False
            assert not await w.pods()
            return True

        await w.until(gone)


async def test_orphans_stay_and_are_adopted_again(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.store.create(deployment())
        await w.until(lambda: rolled_out(w))
        before = {p.uid for p in await w.pods()}
        await w.store.delete(Deployment, Key("default", "web"), propagation="Orphan")
        await w.until(lambda: w.gone(Deployment, "web"))
        assert {p.uid for p in await w.pods()} == before
        await w.store.create(deployment())
        await w.until(lambda: rolled_out(w))
        assert {p.uid for p in await w.pods()} == before


async def test_a_job_completes_and_is_removed_after_its_time(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        labels = {"ends": "0"}
        await w.store.create(Job.new("j", "default", spec={
            "completions": 3, "parallelism": 2, "ttlSecondsAfterFinished": 60,
            "template": template(labels, restartPolicy="Never")}))  # fmt: skip

        async def complete() -> Any:
            return condition(await w.there(Job, "j"), "Complete")

        assert (await w.until(complete))["reason"] == "CompletionsReached"
        job = await w.there(Job, "j")
        assert (job.status["succeeded"], job.status.get("active"), job.status["uncountedTerminatedPods"]) == (
            3,
            None,
            {},
        )
        pods = await w.pods()
        assert len(pods) == 3 and not any(p.finalizers for p in pods)
        assert {p.labels["job-name"] for p in pods} == {"j"}
        w.clock.ahead += timedelta(seconds=61)
        await w.until(lambda: w.gone(Job, "j"))
        assert await w.pods() == []


async def test_a_failing_job_waits_longer_each_time_and_gives_up(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.store.create(Job.new("j", "default", spec={
            "backoffLimit": 2, "template": template({"ends": "1"}, restartPolicy="Never")}))  # fmt: skip
        for failures, wait_s in ((1, 10), (2, 20)):

            async def failed(failures: int = failures) -> bool:
                return (await w.there(Job, "j")).status.get("failed") == failures

            await w.until(failed)
            await asyncio.sleep(0.1)
            assert len(await w.pods()) == failures, "a retry came before its time"
            w.clock.ahead += timedelta(seconds=wait_s)

        async def over() -> Any:
            return condition(await w.there(Job, "j"), "Failed")

        assert (await w.until(over))["reason"] == "BackoffLimitExceeded"
        assert len({p.name for p in await w.pods()}) == 3


async def test_deleting_a_job_leaves_no_pod_behind_its_finalizer(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.store.create(
            Job.new("j", "default", spec={"template": template({"x": "y"}, restartPolicy="Never")})
        )

        async def running() -> bool:
            return any(ready(p) for p in await w.pods())

        await w.until(running)
        await w.store.delete(Job, Key("default", "j"))

        async def empty() -> bool:
            return not await w.pods()

        await w.until(empty)


async def test_a_daemonset_has_one_pod_on_each_node_that_fits(tmp_path: Path) -> None:
    async with world(tmp_path, nodes=2) as w:
        await w.kubelet.register("gpu-0", labels={"gpu": "a100"})
        spec = {"selector": {"matchLabels": APP}, "template": template(APP, nodeSelector={"gpu": "a100"})}
        await w.store.create(DaemonSet.new("agent", "default", spec=spec))

        async def ready_on(count: int) -> Any:
            item = await w.there(DaemonSet, "agent")
            of = ("desiredNumberScheduled", "currentNumberScheduled", "updatedNumberScheduled")
            return (
                item
                if all(item.status.get(f) == count for f in (*of, "numberReady", "numberAvailable"))
                else None
            )

        await w.until(lambda: ready_on(1))
        await w.kubelet.register("gpu-1", labels={"gpu": "a100"})
        await w.until(lambda: ready_on(2))
        assert sorted(p.spec["nodeName"] for p in await w.pods()) == ["gpu-0", "gpu-1"]

        def other(item: DaemonSet) -> None:
            item.raw["spec"]["template"]["spec"]["containers"][0]["image"] = "forebay/test:2"

        await edit(w.store, DaemonSet, Key("default", "agent"), other)

        async def rolled() -> bool:
            images = {p.spec["containers"][0]["image"] for p in await w.pods()}
            return images == {"forebay/test:2"} and bool(await ready_on(2))

        await w.until(rolled)
        assert sorted(r.raw["revision"] for r in (await w.store.list(ControllerRevision)).items) == [1, 2]

        def unlabelled(item: Node) -> None:
            item.meta["labels"].pop("gpu")

        await edit(w.store, Node, Key("", "gpu-1"), unlabelled)
        await w.until(lambda: ready_on(1))


def volume(name: str, size: str = "10Gi", node: str = "node-0", **spec: Any) -> PersistentVolume:
    terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]
    return PersistentVolume.new(name, spec={
        "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "local-storage",
        "local": {"path": "/models"}, "nodeAffinity": {"required": {"nodeSelectorTerms": terms}}, **spec,
    })  # fmt: skip


def claim(name: str, size: str = "5Gi", **spec: Any) -> PersistentVolumeClaim:
    return PersistentVolumeClaim.new(name, "default", spec={
        "accessModes": ["ReadWriteOnce"], "storageClassName": "local-storage",
        "resources": {"requests": {"storage": size}}, **spec,
    })  # fmt: skip


async def test_a_claim_binds_the_volume_it_names_and_shows_its_capacity(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.store.create(claim("m", volumeName="m-download"))
        await w.store.create(volume("m-download"))

        async def bound() -> Any:
            item = await w.there(PersistentVolumeClaim, "m")
            return item if item.status.get("phase") == "Bound" else None

        assert (await w.until(bound)).status["capacity"] == {"storage": "10Gi"}

        async def volume_bound() -> bool:
            return (await w.there(PersistentVolume, "m-download")).status["phase"] == "Bound"

        await w.until(volume_bound)
        await w.store.delete(PersistentVolumeClaim, Key("default", "m"))

        async def released() -> bool:
            return (await w.there(PersistentVolume, "m-download")).status["phase"] == "Released"

        await w.until(released)


async def test_why_a_claim_waits_is_an_event_once(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.store.create(claim("lost", storageClassName="nowhere"))
        await w.store.create(claim("lazy", storageClassName="local-storage"))

        async def told() -> dict[str, str]:
            found = (await w.store.list(Event, Where(namespace="default"))).items
            claims = [e for e in found if e.raw["involvedObject"]["kind"] == "PersistentVolumeClaim"]
            assert all(e.raw["count"] == 1 for e in claims)
            return {e.raw["involvedObject"]["name"]: f"{e.raw['type']} {e.raw['reason']}" for e in claims}

        async def both() -> bool:
            return await told() == {
                "lost": "Warning ProvisioningFailed",
                "lazy": "Normal WaitForFirstConsumer",
            }

        await w.until(both)
        await w.store.create(volume("other"))  # another look at everything

        async def available() -> bool:
            return bool((await w.there(PersistentVolume, "other")).status.get("lastPhaseTransitionTime"))

        await w.until(available)
        assert await both()


async def test_a_volume_waits_for_its_pod_and_the_pod_goes_where_a_volume_is(tmp_path: Path) -> None:
    async with world(tmp_path, nodes=3) as w:
        await w.store.create(volume("small", "1Gi", "node-1"))
        await w.store.create(volume("large", "10Gi", "node-2"))
        await w.store.create(claim("m"))
        volumes = [{"name": "m", "persistentVolumeClaim": {"claimName": "m"}}]
        await w.store.create(Pod.new("p", "default", spec=template({}, volumes=volumes)["spec"]))

        async def placed() -> Any:
            pod = await w.there(Pod, "p")
            return pod.spec.get("nodeName") and ready(pod)

        await w.until(placed)
        assert (await w.there(Pod, "p")).spec["nodeName"] == "node-2"
        assert (await w.there(PersistentVolumeClaim, "m")).spec["volumeName"] == "large"
        await w.store.delete(PersistentVolumeClaim, Key("default", "m"))
        await asyncio.sleep(0.1)
        assert not await w.gone(PersistentVolumeClaim, "m"), "a claim in use went away"
        await w.store.delete(Pod, Key("default", "p"))
        await w.until(lambda: w.gone(PersistentVolumeClaim, "m"))


async def test_a_service_lists_ready_pods_at_their_real_ports(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        spec = {"selector": APP, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
        await w.store.create(Service.new("web", "default", spec=spec))
        await w.store.create(deployment())

        async def two() -> Any:
            slices = (await w.store.list(EndpointSlice, Where(labels="kubernetes.io/service-name=web"))).items
            ends = [e for s in slices for e in s.raw["endpoints"] or []]
            return slices if len(ends) == 2 and all(e["conditions"]["ready"] for e in ends) else None

        slices = await w.until(two)
        assert len(slices) == 2, "two pods with different real ports need two slices"
        assert all(20000 < s.raw["ports"][0]["port"] < 30000 for s in slices)
        real = {s.raw["ports"][0]["port"] for s in slices}

        async def old_form_too() -> bool:
            subsets = (await w.there(Endpoints, "web")).raw["subsets"]
            return {s["ports"][0]["port"] for s in subsets if s.get("addresses")} == real

        await w.until(old_form_too)
        await w.store.delete(Service, Key("default", "web"))

        async def none() -> bool:
            return not (await w.store.list(EndpointSlice)).items and await w.gone(Endpoints, "web")

        await w.until(none)


async def test_a_pod_that_fits_nowhere_says_why_and_runs_once_there_is_room(tmp_path: Path) -> None:
    async with world(tmp_path, nodes=2) as w:
        pod = Pod.new("big", "default", spec=template({})["spec"])
        pod.raw["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "64", "nvidia.com/gpu": "1"}}
        await w.store.create(pod)

        async def told() -> Any:
            return condition(await w.there(Pod, "big"), "PodScheduled")

        found = await w.until(told)
        assert (found["status"], found["reason"]) == ("False", "Unschedulable")
        assert (
            found["message"] == "0/2 nodes are available: 2 Insufficient cpu, 2 Insufficient nvidia.com/gpu."
        )

        async def event() -> bool:
            events = {e.raw["reason"]: e.raw["message"] for e in (await w.store.list(Event)).items}
            return events.get("FailedScheduling") == found["message"]

        await w.until(event)
        await w.kubelet.register("giant", cpu="128", **{"nvidia.com/gpu": "8"})

        async def runs() -> bool:
            return ready(await w.there(Pod, "big"))

        await w.until(runs)


async def test_a_namespace_is_furnished_and_dies_with_its_content(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.store.create(Namespace.new("team"))
        await w.until(lambda: w.there(ServiceAccount, "default", "team"))
        assert (await w.until(lambda: w.there(ConfigMap, "kube-root-ca.crt", "team"))).raw["data"][
            "ca.crt"
        ] == "the CA"
        await w.store.create(Deployment.new("web", "team", spec={
            "replicas": 2, "selector": {"matchLabels": APP}, "template": template(APP)}))  # fmt: skip

        async def two() -> bool:
            return sum(ready(p) for p in await w.pods("team")) == 2

        await w.until(two)
        await w.store.delete(Namespace, Key("", "team"))
        await w.until(lambda: w.gone(Namespace, "team"))
        assert not await w.pods("team")


async def test_a_namespace_that_is_held_up_says_by_what_and_goes_when_it_lets_go(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.store.create(Namespace.new("team"))
        await w.until(lambda: w.there(ServiceAccount, "default", "team"))
        kept = ConfigMap.new("kept", "team")
        kept.meta["finalizers"] = ["example.com/hold"]
        await w.store.create(kept)
        await w.store.delete(Namespace, Key("", "team"))

        async def told() -> dict[str, tuple[str, str]] | None:
            found = (await w.there(Namespace, "team")).status.get("conditions") or []
            return {c["type"]: (c["status"], c["message"]) for c in found}

        said = await w.until(told)
        assert said["NamespaceContentRemaining"] == (
            "True", "Some resources are remaining: configmaps. has 1 resource instances",
        )  # fmt: skip
        assert said["NamespaceFinalizersRemaining"][1].endswith(
            "finalizers remaining: example.com/hold in 1 resource instances"
        )
        await edit(w.store, ConfigMap, Key("team", "kept"), lambda item: item.meta.pop("finalizers"))
        await w.until(lambda: w.gone(Namespace, "team"))


async def report(w: World, node: str, *, for_s: int) -> None:
    """Let time pass in which only this node reports."""
    for _ in range(for_s // 20):
        w.clock.ahead += timedelta(seconds=20)
        await w.kubelet.renew(node)


async def test_pods_leave_a_node_that_stops_reporting(tmp_path: Path) -> None:
    async with world(tmp_path, nodes=2) as w:
        await w.store.create(deployment())
        await w.until(lambda: rolled_out(w))
        assert {p.spec["nodeName"] for p in await w.pods()} == {"node-0", "node-1"}
        w.kubelet.deaf = {"node-1"}
        await report(w, "node-0", for_s=60)

        async def lost() -> Any:
            node = await w.there(Node, "node-1")
            taints = {t["key"] for t in node.spec.get("taints") or []}
            return condition(node, "Ready")["status"] == "Unknown" and taints == {
                "node.kubernetes.io/unreachable"
            }

        await w.until(lost)

        async def not_ready() -> bool:
            return not any(ready(p) for p in await w.pods() if p.spec.get("nodeName") == "node-1")

        await w.until(not_ready)
        await report(w, "node-0", for_s=320)

        async def moved() -> bool:
            return sum(ready(p) for p in await w.pods() if p.spec.get("nodeName") == "node-0") == 2

        await w.until(moved)


async def test_objects_of_user_defined_kinds_go_with_their_owner(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        names = {"kind": "Dam", "plural": "dams"}
        await w.store.create(CustomResourceDefinition.new("dams.example.com", spec={
            "group": "example.com", "names": names, "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True,
                          "schema": {"openAPIV3Schema": {"type": "object"}}}]}))  # fmt: skip
        dam = dynamic_kind(api="example.com/v1", kind="Dam", plural="dams")
        owner = await w.store.create(ConfigMap.new("owner", "default"))
        made = dam.new("d", "default")
        made.meta["ownerReferences"] = [owner.owner_reference()]
        made = await w.store.create(made)
        grandchild = ConfigMap.new("turbine", "default")
        grandchild.meta["ownerReferences"] = [made.owner_reference()]
        await w.store.create(grandchild)
        await w.store.delete(ConfigMap, owner.key)

        async def gone() -> bool:
            w.clock.ahead += timedelta(seconds=31)
            return await w.gone(dam, "d") and await w.gone(ConfigMap, "turbine")

        await w.until(gone)


class Quota(Rules):
    """Admission that takes no pod."""

    def prepare(self, kind: type[Resource], new: Json, old: Json | None, verb: str) -> Json:
        if kind is Pod and verb == "create":
            raise Denied("pods is forbidden: exceeded quota")
        return super().prepare(kind, new, old, verb)


async def test_a_pod_that_the_store_refuses_is_told_on_its_owner(tmp_path: Path) -> None:
    async with world(tmp_path, rules=Quota()) as w:
        await w.store.create(deployment())

        async def told() -> set[str]:
            events = (await w.store.list(Event, Where(namespace="default"))).items
            return {e.raw["message"] for e in events if e.raw["reason"] == "FailedCreate"}

        assert await w.until(told) == {"Error creating: pods is forbidden: exceeded quota"}
