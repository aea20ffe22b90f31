"""Scheduler, volumes, garbage, endpoints, nodes: within limits, still at the end, whatever the order."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.property.workloads.cluster import Cluster, pod_status, shape, writes

from forebay.api.kinds import (
    ConfigMap,
    Endpoints,
    EndpointSlice,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    Service,
    StorageClass,
)
from forebay.api.meta import Json
from forebay.home.workloads.endpoints import decide as endpoints
from forebay.home.workloads.garbage import decide as garbage
from forebay.home.workloads.nodes import decide as nodes
from forebay.home.workloads.scheduler import decide as scheduler
from forebay.home.workloads.scheduler import fit
from forebay.home.workloads.volumes import decide as volumes

READY = {"type": "Ready", "status": "True"}


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    cluster = Cluster()
    for number in range(draw(st.integers(0, 4))):
        room = {"cpu": str(draw(st.integers(1, 4))), "memory": "4Gi", "pods": str(draw(st.integers(1, 5)))}
        labels = {"zone": draw(st.sampled_from(["a", "b"])), "kubernetes.io/hostname": f"n{number}"}
        node = Node.new(
            f"n{number}", labels=labels, spec={}, status={"allocatable": room, "conditions": [READY]}
        )
        if draw(st.integers(0, 4)) == 0:
            node.raw["spec"]["unschedulable"] = True
        cluster.add(node)
    for number in range(draw(st.integers(0, 8))):
        cpu = draw(st.sampled_from(["250m", "1", "2"]))
        container: dict[str, Any] = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
        if draw(st.integers(0, 3)) == 0:
            container["ports"] = [{"containerPort": 80, "hostPort": draw(st.sampled_from([8080, 8081]))}]
        spec: dict[str, Any] = {"containers": [container]}
        if draw(st.booleans()):
            spec["nodeSelector"] = {"zone": draw(st.sampled_from(["a", "b"]))}
        cluster.add(Pod.new(f"p{number}", "default", spec=spec))
    return cluster


def schedule(cluster: Cluster, *, shuffled: int | None = None) -> tuple[Any, ...]:
    pods, every = list(cluster.all(Pod)), list(cluster.all(Node))
    if shuffled is not None:
        random.Random(shuffled).shuffle(pods)
        random.Random(shuffled).shuffle(every)
    return scheduler.decide(
        scheduler.Seen(
            tuple(pods), tuple(every), cluster.all(PersistentVolume), cluster.all(PersistentVolumeClaim),
            cluster.all(StorageClass), cluster.now,
        )
    )  # fmt: skip


@given(clusters(), st.integers())
def test_no_node_gets_more_than_it_has_and_the_second_pass_does_nothing(cluster: Cluster, seed: int) -> None:
    actions = schedule(cluster)
    assert shape(actions) == shape(schedule(cluster, shuffled=seed))
    cluster.carry_out(actions)
    placed = {pod.name: pod.spec.get("nodeName") for pod in cluster.all(Pod)}
    cluster.carry_out(schedule(cluster))  # those who wait may hear another reason: others took the room
    assert writes(schedule(cluster)) == []
    assert placed == {pod.name: pod.spec.get("nodeName") for pod in cluster.all(Pod)}
    ports = [port for pod in cluster.all(Pod) if pod.spec.get("nodeName") for port in fit.host_ports(pod)]
    assert len(ports) == len(set(ports))
    for node in cluster.all(Node):
        mine = [pod for pod in cluster.all(Pod) if pod.spec.get("nodeName") == node.name]
        assert all(left >= 0 for left in fit.room(node, mine).free.values())
        assert not (mine and node.spec.get("unschedulable"))
        wanted = [(pod.spec.get("nodeSelector") or {}).get("zone", node.labels["zone"]) for pod in mine]
        assert all(zone == node.labels["zone"] for zone in wanted)


@given(clusters())
def test_a_pod_waits_only_if_it_fits_on_no_node_and_then_says_why(cluster: Cluster) -> None:
    cluster.carry_out(schedule(cluster))
    bound = [pod for pod in cluster.all(Pod) if pod.spec.get("nodeName")]
    taken = frozenset(port for pod in bound for port in fit.host_ports(pod))
    for pod in cluster.all(Pod):
        if pod.spec.get("nodeName"):
            continue
        for node in cluster.all(Node):
            where = fit.room(node, [p for p in bound if p.spec["nodeName"] == node.name])
            assert fit.obstacles(pod, where, fit.Volumes(), taken)
        told = pod.status["conditions"][0]
        assert (told["type"], told["status"], told["reason"]) == ("PodScheduled", "False", "Unschedulable")
        assert told["message"].startswith("0/") or told["message"] == "no nodes available to schedule pods"


@given(
    st.lists(st.sampled_from(["100m", "1", "3"]), max_size=3),
    st.lists(st.sampled_from(["100m", "2"]), max_size=2),
)
def test_a_pod_asks_for_its_containers_or_its_largest_start(containers: list[str], starts: list[str]) -> None:
    def made(amounts: list[str]) -> list[dict[str, Any]]:
        return [{"name": str(n), "resources": {"requests": {"cpu": a}}} for n, a in enumerate(amounts)]

    pod = Pod.new("p", spec={"containers": made(containers), "initContainers": made(starts)})
    number = {"100m": Fraction(1, 10), "1": Fraction(1), "2": Fraction(2), "3": Fraction(3)}
    most = max([number[a] for a in starts], default=Fraction(0))
    assert fit.requests(pod).get("cpu", 0) == max(sum(number[a] for a in containers), most)


@st.composite
def stores(draw: st.DrawFn) -> Cluster:
    cluster = Cluster()
    cluster.add(StorageClass.new("lazy", volumeBindingMode="WaitForFirstConsumer"))
    classes = st.sampled_from(["", "lazy", "unknown"])
    for number in range(draw(st.integers(0, 4))):
        spec: dict[str, Any] = {
            "capacity": {"storage": draw(st.sampled_from(["1Gi", "5Gi"]))}, "accessModes": ["ReadWriteOnce"],
            "storageClassName": draw(classes),
            "persistentVolumeReclaimPolicy": draw(st.sampled_from(["Retain", "Delete"])),
        }  # fmt: skip
        if draw(st.integers(0, 3)) == 0:
            spec["claimRef"] = {"namespace": "default", "name": f"c{draw(st.integers(0, 3))}"}
        cluster.add(PersistentVolume.new(f"v{number}", spec=spec))
    for number in range(draw(st.integers(0, 4))):
        wanted: dict[str, Any] = {
            "accessModes": ["ReadWriteOnce"], "storageClassName": draw(classes),
            "resources": {"requests": {"storage": draw(st.sampled_from(["1Gi", "3Gi"]))}},
        }  # fmt: skip
        if draw(st.booleans()):
            wanted["volumeName"] = f"v{draw(st.integers(0, 4))}"
        cluster.add(PersistentVolumeClaim.new(f"c{number}", "default", spec=wanted))
    return cluster


def bind(cluster: Cluster, *, shuffled: int | None = None) -> tuple[Any, ...]:
    every, claims = list(cluster.all(PersistentVolume)), list(cluster.all(PersistentVolumeClaim))
    if shuffled is not None:
        random.Random(shuffled).shuffle(every)
        random.Random(shuffled).shuffle(claims)
    return volumes.decide(
        volumes.Seen(tuple(every), tuple(claims), cluster.all(StorageClass), cluster.all(Pod), ())
    )


@given(stores(), st.integers(), st.integers(0, 12))
def test_binding_settles_one_to_one_even_when_killed_between_two_writes(
    cluster: Cluster, seed: int, killed_after: int
) -> None:
    assert shape(bind(cluster)) == shape(bind(cluster, shuffled=seed))
    cluster.carry_out(bind(cluster)[:killed_after])
    for _ in range(4):
        cluster.carry_out(bind(cluster))
    assert writes(bind(cluster)) == []
    holders = []
    for claim in cluster.all(PersistentVolumeClaim):
        if claim.status["phase"] != "Bound":
            continue
        volume = cluster.one(PersistentVolume, claim.spec["volumeName"])
        holders.append(volume.name)
        assert volume.status["phase"] == "Bound" and volume.spec["claimRef"]["uid"] == claim.uid
        assert claim.status["capacity"] == volume.spec["capacity"]
        assert volume.spec["storageClassName"] == claim.spec["storageClassName"]
    assert len(holders) == len(set(holders))


@given(stores())
def test_a_volume_whose_claim_is_gone_is_released_or_removed_and_never_given_away(cluster: Cluster) -> None:
    for _ in range(3):
        cluster.carry_out(bind(cluster))
    held = {v.name: v for v in cluster.all(PersistentVolume) if v.status["phase"] == "Bound"}
    for claim in cluster.all(PersistentVolumeClaim):
        claim.meta["finalizers"] = []
        del cluster._items[PersistentVolumeClaim, claim.key]
    for _ in range(3):
        cluster.carry_out(bind(cluster))
    left = {v.name: v for v in cluster.all(PersistentVolume)}
    for name, before in held.items():
        if before.spec["persistentVolumeReclaimPolicy"] == "Delete":
            assert name not in left
        else:
            assert left[name].status["phase"] == "Released"


@st.composite
def families(draw: st.DrawFn) -> Cluster:
    """ConfigMaps that own one another without a circle."""
    cluster = Cluster()
    for number in range(draw(st.integers(1, 7))):
        item = ConfigMap.new(f"c{number}", "default")
        owners = draw(st.lists(st.integers(-1, max(-1, number - 1)), max_size=2, unique=True))
        item.meta["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": f"c{o}",
             "uid": f"uid-{o + 1}" if o >= 0 else "gone",
             "blockOwnerDeletion": draw(st.booleans())}
            for o in owners
        ]  # fmt: skip
        cluster.add(item)
    return cluster


def collect(cluster: Cluster) -> list[Any]:
    every = {item.uid: item for item in cluster.all(ConfigMap)}
    found: list[Any] = []
    for item in every.values():
        owners = {str(o["uid"]): every[o["uid"]] for o in item.owners if o["uid"] in every}
        children = tuple(c for c in every.values() if any(o["uid"] == item.uid for o in c.owners))
        found += garbage.decide(garbage.Seen(item, owners, children if item.deleting else ()))
    return found


def run_collector(cluster: Cluster) -> None:
    for _ in range(30):
        for action in collect(cluster):
            if cluster.has(action.item):
                cluster.carry_out([action])
                if type(action).__name__ == "Delete" and cluster.has(action.item):
                    mark(cluster, action.item, action.propagation)


def mark(cluster: Cluster, item: ConfigMap, propagation: str) -> None:
    """Delete as a store does: with the finalizer that the policy asks for."""
    stored = cluster._items[ConfigMap, item.key]
    finalizer = {"Foreground": garbage.FOREGROUND, "Orphan": garbage.ORPHAN}.get(propagation)
    if finalizer is None:
        del cluster._items[ConfigMap, item.key]
    elif not stored.deleting:
        stored.meta["finalizers"] = [finalizer]
        stored.meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"


@given(families(), st.integers(0, 6), st.sampled_from(["Background", "Foreground", "Orphan"]))
def test_what_has_no_living_owner_goes_and_nothing_else(
    cluster: Cluster, root: int, propagation: str
) -> None:
    run_collector(cluster)
    items = {i.name: i for i in cluster.all(ConfigMap)}
    if f"c{root}" not in items:
        return
    victim = items[f"c{root}"]
    expected = set(items) - {victim.name}
    if propagation != "Orphan":
        while True:
            dead = {
                n for n in expected
                if items[n].owners and not any(o["name"] in expected for o in items[n].owners)
            }  # fmt: skip
            if not dead:
                break
            expected -= dead
    mark(cluster, victim, propagation)
    run_collector(cluster)
    assert {i.name for i in cluster.all(ConfigMap)} == expected
    assert collect(cluster) == []


@st.composite
def services(draw: st.DrawFn) -> Cluster:
    cluster = Cluster()
    ports = [{"name": "http", "port": 80, "targetPort": draw(st.sampled_from([8080, "http", "missing"]))}]
    cluster.add(Service.new("s", "default", spec={"selector": {"app": "x"}, "ports": ports}))
    for number in range(draw(st.integers(0, 6))):
        spec = {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]}
        pod = Pod.new(f"p{number}", "default", labels={"app": "x"}, spec={**spec, "nodeName": "n"})
        pod.raw["status"] = pod_status(
            pod, draw(st.sampled_from(["ready", "silent", "succeed"])), cluster.now
        )
        pod.raw["status"]["podIP"] = "127.0.0.1"
        pod.meta["annotations"] = {"forebay.dev/ports": json.dumps({"8080": draw(st.integers(30000, 30002))})}
        if draw(st.integers(0, 3)) == 0:
            pod.meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        cluster.add(pod)
    return cluster


def slices(cluster: Cluster, *, shuffled: int | None = None) -> tuple[Any, ...]:
    pods = list(cluster.all(Pod))
    if shuffled is not None:
        random.Random(shuffled).shuffle(pods)
    old = next(iter(cluster.all(Endpoints)), None)
    return endpoints.decide(
        endpoints.Seen(cluster.one(Service, "s"), tuple(pods), cluster.all(EndpointSlice), old)
    )  # fmt: skip


def lines(endpoints: Iterable[Json], ports: Any) -> set[tuple[str, str]]:
    """(name of the pod, its ports) of each."""
    numbers = str([port["port"] for port in ports or ()])
    return {(one["targetRef"]["name"], numbers) for one in endpoints}


@given(services(), st.integers())
def test_slices_hold_every_running_pod_once_at_its_own_port_and_then_stay_still(
    cluster: Cluster, seed: int
) -> None:
    assert shape(slices(cluster)) == shape(slices(cluster, shuffled=seed))
    cluster.carry_out(slices(cluster))
    assert slices(cluster) == ()
    target = cluster.one(Service, "s").spec["ports"][0]["targetPort"]
    shown = {}
    for item in cluster.all(EndpointSlice):
        for endpoint in item.raw["endpoints"]:
            assert endpoint["targetRef"]["name"] not in shown
            shown[endpoint["targetRef"]["name"]] = (item.raw["ports"], endpoint["conditions"])
    running = {p.name: p for p in cluster.all(Pod) if p.status["phase"] == "Running"}
    assert set(shown) == set(running)
    for name, (ports, conditions) in shown.items():
        pod = running[name]
        real = json.loads(pod.annotations["forebay.dev/ports"])["8080"]
        assert [p["port"] for p in ports] == ([] if target == "missing" else [real])
        ready = pod.status["conditions"][0]["status"] == "True"
        assert conditions == {
            "ready": ready and not pod.deleting,
            "serving": ready,
            "terminating": pod.deleting,
        }
    for side, ready in (("addresses", True), ("notReadyAddresses", False)):
        new = [
            lines([e for e in item.raw["endpoints"] if e["conditions"]["ready"] is ready], item.raw["ports"])
            for item in cluster.all(EndpointSlice)
        ]
        subsets = cluster.one(Endpoints, "s").raw["subsets"]
        old = [lines(one.get(side, ()), one.get("ports")) for one in subsets]
        assert set().union(*old) == set().union(*new), "the old form says the same"


@given(st.sampled_from(["True", "False", "Unknown", None]), st.booleans(), st.booleans(), st.booleans())
def test_taints_follow_readiness_and_a_node_that_reports_again_is_clean(
    ready: str | None, silent: bool, foreign: bool, cordoned: bool
) -> None:
    taints = [{"key": "mine", "effect": "NoSchedule"}] if foreign else []
    conditions = [{"type": "Ready", "status": ready}] if ready else []
    node = Node.new(
        "n", spec={"taints": taints, "unschedulable": cordoned}, status={"conditions": conditions}
    )
    cluster = Cluster([node])

    def step(silent_s: float) -> tuple[Any, ...]:
        return nodes.decide(nodes.Seen(cluster.one(Node, "n"), silent_s, (), cluster.now)).actions

    cluster.carry_out(step(41.0 if silent else 1.0))
    assert writes(step(41.0 if silent else 1.0)) == []
    keys = {t["key"] for t in cluster.one(Node, "n").spec.get("taints", [])}
    assert keys - {"mine", "node.kubernetes.io/unschedulable"} == (
        {nodes.UNREACHABLE}
        if silent or ready == "Unknown"
        else {nodes.NOT_READY}
        if ready != "True"
        else set()
    )
    cluster._items[Node, node.key].raw["status"] = {"conditions": [READY]}
    cluster.carry_out(step(0.0))
    left = {t["key"] for t in cluster.one(Node, "n").spec.get("taints", [])}
    assert left == ({"mine"} if foreign else set()) | (
        {"node.kubernetes.io/unschedulable"} if cordoned else set()
    )
