"""decide() of services: it settles, ignores order, and whatever caches do never rolls running pods."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from forebay.api import names
from forebay.api.kinds import (
    ClusterServingRuntime,
    Deployment,
    HorizontalPodAutoscaler,
    InferenceService,
    LocalModelCache,
    LocalModelNodeGroup,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Service,
)
from forebay.control.actions import Create, Delete, Note, Replace
from forebay.control.config import Settings
from forebay.control.inferenceservice.decide import Decision, decide
from forebay.control.inferenceservice.model import Seen

URI = "hf://o/m"
KEY = names.storage_key(URI)
SINGLE = {Deployment: "deployment", Service: "endpoint", HorizontalPodAutoscaler: "autoscaler"}
MANY = {PersistentVolumeClaim: "claims", PersistentVolume: "volumes"}


def a_group(name: str) -> LocalModelNodeGroup:
    spec = {"persistentVolumeSpec": {"local": {"path": f"/{name}"}}, "persistentVolumeClaimSpec": {}}
    return LocalModelNodeGroup.new(name, spec=spec)


def a_cache(name: str, uri: str, groups: list[str], ready_on: list[str]) -> LocalModelCache:
    item = LocalModelCache.new(name, spec={"sourceModelUri": uri, "nodeGroups": groups})
    item.meta["uid"] = f"uid-{name}"
    item.raw["status"] = {
        "nodeStatus": dict.fromkeys(ready_on, "NodeDownloaded"),
        "storageKey": names.storage_key(uri),
    }
    return item


def a_node(name: str, labels: dict[str, str]) -> Node:
    item = Node.new(name, labels=labels)
    item.raw["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
    return item


@st.composite
def caches(draw: Any) -> tuple[LocalModelCache, ...]:
    found = []
    for name, uri in (("one", URI), ("deep", URI + "/x"), ("above", "hf://o"), ("other", "hf://o/z")):
        if draw(st.booleans()):
            groups = draw(st.sampled_from([["g1"], ["g2"], ["g1", "g2"]]))
            found.append(a_cache(name, uri, groups, ["n1"] if draw(st.booleans()) else []))
    return tuple(found)


@st.composite
def worlds(draw: Any) -> Seen:
    notes = draw(
        st.fixed_dictionaries(
            {},
            optional={
                names.DISABLE_LOCALMODEL: st.sampled_from(["true", "false"]),
                names.NODEGROUP: st.sampled_from(["g1", "g2", "g3"]),
                names.WHEN_UNCACHED: st.sampled_from(["wait", "pull"]),
                names.READONLY: st.sampled_from(["true", "false"]),
                names.STOP: st.just("true"),
            },
        )
    )
    uri = draw(st.sampled_from([URI, URI + "/", URI + "/x/y", "pvc://c/p", ""]))
    model: Any = {"modelFormat": {"name": "f"}} | ({"storageUri": uri} if uri else {})
    bounds = draw(st.sampled_from([{}, {"minReplicas": 2}, {"minReplicas": 1, "maxReplicas": 3}]))
    service = InferenceService.new(
        "s", "ns", annotations=notes, spec={"predictor": {"model": model, **bounds}}
    )
    service.meta["uid"] = "uid-s"
    runtime = ClusterServingRuntime.new(
        "r",
        spec={
            "supportedModelFormats": [{"name": "f", "autoSelect": True}],
            "containers": [{"name": "kserve-container", "image": "i"}],
        },
    )
    labels = {names.node_label(names.storage_key(u)): "g1" for u in (URI, URI + "/x", "hf://o")}
    return Seen(
        service=service,
        settings=Settings(),
        now=1_800_000_000.0,
        cluster_runtimes=(runtime,),
        caches=draw(caches()),
        groups={g: a_group(g) for g in ("g1", "g2")},
        nodes=(a_node("n1", labels), a_node("n2", {})),
    )


def carry_out(seen: Seen, decision: Decision) -> Seen:
    for action in decision.actions:
        match action:
            case Note():
                continue
            case Create(item) | Replace(item) if type(item) in SINGLE:
                item.meta.setdefault("uid", "x")
                seen = replace(seen, **{SINGLE[type(item)]: item})
            case Create(item) | Replace(item) if type(item) in MANY:
                field = MANY[type(item)]
                rest = tuple(i for i in getattr(seen, field) if i.key != item.key)
                seen = replace(seen, **{field: (*rest, item)})
            case Replace(item):
                seen = replace(seen, service=item)
            case Delete(kind, key, _):
                if kind in SINGLE:
                    seen = replace(seen, **{SINGLE[kind]: None})
                else:
                    field = MANY[kind]
                    seen = replace(seen, **{field: tuple(i for i in getattr(seen, field) if i.key != key)})
    if decision.status is not None:
        item = seen.service.copy()
        item.raw["status"] = decision.status
        seen = replace(seen, service=item)
    return seen


def rolled_out(seen: Seen, *, ready: bool = True) -> Seen:
    if seen.deployment is None:
        return seen
    item = seen.deployment.copy()
    wanted = item.spec["replicas"]
    item.raw["status"] = {
        "replicas": wanted,
        "updatedReplicas": wanted,
        "readyReplicas": wanted if ready else 0,
        "availableReplicas": wanted if ready else 0,
    }
    return replace(seen, deployment=item)


def settled(seen: Seen) -> Seen:
    for _ in range(4):
        seen = rolled_out(carry_out(seen, decide(seen)))
    return seen


@given(worlds())
def test_it_settles_and_then_stays_still(seen: Seen) -> None:
    end = settled(seen)
    assert decide(end).actions == ()
    assert decide(end).status == end.service.status
    assert end.deployment is not None and end.endpoint is not None


@given(worlds(), caches())
def test_whatever_the_caches_do_running_pods_are_not_rolled(
    seen: Seen, later: tuple[LocalModelCache, ...]
) -> None:
    end = settled(seen)
    assert end.deployment is not None
    if not end.deployment.spec["replicas"]:
        return
    after = settled(replace(end, caches=later))
    assert after.deployment is not None
    assert after.deployment.spec["template"] == end.deployment.spec["template"]


@given(worlds(), st.randoms())
def test_the_order_in_which_things_are_read_does_not_matter(seen: Seen, chance: random.Random) -> None:
    def shuffled(items: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(chance.sample(items, len(items)))

    seen = carry_out(seen, decide(seen))
    other = replace(
        seen,
        caches=shuffled(seen.caches),
        nodes=shuffled(seen.nodes),
        claims=shuffled(seen.claims),
        volumes=shuffled(seen.volumes),
    )
    assert decide(other) == decide(seen)


@given(worlds())
def test_pods_that_read_a_copy_see_only_its_view_and_cannot_write_it(seen: Seen) -> None:
    end = settled(seen)
    assert end.deployment is not None
    spec = end.deployment.spec["template"]["spec"]
    for volume in end.volumes:
        assert volume.spec["local"]["path"].startswith(("/g1/models/", "/g2/models/"))
        assert "ro" in volume.spec["mountOptions"]
    for source in spec.get("volumes") or []:
        claim = source.get("persistentVolumeClaim")
        if claim and any(c.name == claim["claimName"] for c in end.claims):
            assert claim.get("readOnly") is True
    if "initContainers" not in spec and spec.get("volumes") and end.claims:
        assert spec["affinity"], "pods go only where the copy is"


@given(worlds(), st.sampled_from([1, 2, 3]))
def test_an_autoscalers_choice_within_the_bounds_stands_and_nothing_falls_below_the_minimum(
    seen: Seen, chosen: int
) -> None:
    end = settled(seen)
    assert end.deployment is not None
    if names.STOP in end.service.annotations:
        assert end.deployment.spec["replicas"] == 0
        return
    item = end.deployment.copy()
    item.spec["replicas"] = chosen
    after = settled(replace(end, deployment=item))
    predictor = end.service.spec["predictor"]
    least, most = predictor.get("minReplicas", 1), predictor.get("maxReplicas", 0)
    assert after.deployment is not None
    assert after.deployment.spec["replicas"] == (max(least, min(most, chosen)) if most > least else least)
