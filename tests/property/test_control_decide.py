"""decide() of caches: it settles, stays still, ignores order, and never takes a ready copy away."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from forebay.api import names, wishes
from forebay.api.kinds import (
    Job,
    LocalModelCache,
    LocalModelNode,
    LocalModelNodeGroup,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
)
from forebay.control.actions import Create, Delete, Note, Replace
from forebay.control.config import Settings
from forebay.control.modelcache.decide import Decision, decide
from forebay.control.modelcache.model import Seen, attempt_of, entries, finished
from forebay.control.when import rfc3339

NOW = 1_800_000_000.0
STATES = ["", "ModelDownloadPending", "ModelDownloading", "ModelDownloaded", "ModelDownloadError"]
FIELDS = {
    LocalModelNode: "model_nodes",
    Job: "jobs",
    PersistentVolume: "volumes",
    PersistentVolumeClaim: "claims",
}


def a_group(name: str) -> LocalModelNodeGroup:
    required = {"nodeSelectorTerms": [{"matchExpressions": [{"key": name, "operator": "Exists"}]}]}
    return LocalModelNodeGroup.new(
        name,
        spec={
            "storageLimit": "1Gi",
            "persistentVolumeClaimSpec": {},
            "persistentVolumeSpec": {"local": {"path": f"/{name}"}, "nodeAffinity": {"required": required}},
        },
    )


def a_cache(groups: list[str]) -> LocalModelCache:
    item = LocalModelCache.new("m", spec={"sourceModelUri": "hf://o/m", "nodeGroups": groups})
    item.meta.update(uid="u", finalizers=[names.CACHE_FINALIZER], generation=1)
    return item


def asked_anew(seen: Seen) -> Seen:
    """The same world after somebody asked what the name means now."""
    cache = seen.cache.copy()
    cache.meta["annotations"] = {wishes.REFRESH: "2026-01-31T12:00:00Z"}
    return replace(seen, cache=cache)


@st.composite
def worlds(draw: Any) -> Seen:
    nodes, listed = [], []
    for at in range(draw(st.integers(0, 4))):
        labels = {g: "" for g in ("g1", "g2") if draw(st.booleans())}
        node = Node.new(f"n{at}", labels=labels)
        ready = "True" if draw(st.integers(0, 3)) else "False"
        node.raw["status"] = {"conditions": [{"type": "Ready", "status": ready}]}
        nodes.append(node)
        if draw(st.booleans()):
            item = LocalModelNode.new(
                node.name,
                spec={
                    "localModels": [
                        {
                            "sourceModelUri": "hf://o/m",
                            "modelName": "m",
                            "nodeGroup": draw(st.sampled_from(["g1", "g2"])),
                        },
                        {"sourceModelUri": "hf://o/x", "modelName": "x"},
                    ]
                },
            )
            item.raw["status"] = {"modelStatus": {"m": draw(st.sampled_from(STATES))}}
            if draw(st.booleans()):
                item.raw["status"]["models"] = {"m": {"revision": "r"}}
            listed.append(item)
    groups = draw(st.sampled_from([["g1"], ["g1", "g2"], ["g2", "g1"], ["g1", "absent"]]))
    return Seen(
        cache=a_cache(groups),
        settings=Settings(),
        now=NOW,
        groups={g: a_group(g) for g in ("g1", "g2") if g in groups},
        nodes=tuple(nodes),
        model_nodes=tuple(listed),
    )


def carry_out(seen: Seen, decision: Decision) -> Seen:
    """The world after the actions; what was created gets a uid, as a server gives it."""
    for action in decision.actions:
        match action:
            case Note():
                continue
            case Create(item):
                field = FIELDS[type(item)]
                item.meta.setdefault("uid", f"{item.kind}/{item.name}")
                have = getattr(seen, field)
                if all(i.key != item.key for i in have):
                    seen = replace(seen, **{field: (*have, item)})
            case Replace(item) if type(item) in FIELDS:
                field = FIELDS[type(item)]
                seen = replace(
                    seen, **{field: tuple(item if i.key == item.key else i for i in getattr(seen, field))}
                )
            case Replace(item):
                seen = replace(seen, cache=item)
            case Delete(kind, key, _):
                field = FIELDS[kind]  # type: ignore[index]
                seen = replace(seen, **{field: tuple(i for i in getattr(seen, field) if i.key != key)})
    seen = replace(seen, taken=frozenset(j.name for j in seen.jobs))
    if decision.status is not None:
        cache = seen.cache.copy()
        cache.raw["status"] = decision.status
        seen = replace(seen, cache=cache)
    return seen


def agents_work(seen: Seen) -> Seen:
    """Every Job that runs succeeds, and the agents publish what is asked of them and holds a finished Job."""
    jobs, done = [], set()
    fetched: dict[str, str] = {}
    refreshed: dict[str, Any] = {}
    for job in sorted(seen.jobs, key=attempt_of):
        env = {e["name"]: e.get("value") for e in job.spec["template"]["spec"]["containers"][0]["env"]}
        asked = env.get("FOREBAY_REFRESH_FOR")
        fetched[job.labels["node"]] = "new" if asked else env["FOREBAY_REVISION"] or "r"
        if asked:
            refreshed[job.labels["node"]] = {"refreshed": asked}
        item = job.copy()
        if not finished(item):
            item.raw["status"] = {
                "conditions": [
                    {"type": "Complete", "status": "True", "lastTransitionTime": rfc3339(seen.now)}
                ]
            }
        done.add(item.labels["node"])
        jobs.append(item)
    listed = []
    for model_node in seen.model_nodes:
        item = model_node.copy()
        if item.name in done and any(e["modelName"] == "m" for e in entries(item)):
            said = {"revision": fetched[item.name], **refreshed.get(item.name, {})}
            item.raw["status"] = {"modelStatus": {"m": "ModelDownloaded"}, "models": {"m": said}}
        listed.append(item)
    return replace(seen, jobs=tuple(jobs), model_nodes=tuple(listed))


def settled(seen: Seen) -> Seen:
    for _ in range(12):
        seen = agents_work(carry_out(seen, decide(seen)))
        seen = replace(seen, now=seen.now + 700)
    return seen


def homes(seen: Seen) -> dict[str, set[str]]:
    return {
        n.name: {g for g in seen.groups if g in n.labels}
        for n in seen.nodes
        if any(g in n.labels for g in seen.groups)
    }


@given(worlds())
def test_it_settles_with_a_copy_on_every_ready_node_of_the_groups_and_then_stays_still(seen: Seen) -> None:
    end = settled(seen)
    assert decide(end).actions == ()
    assert decide(end).status == end.cache.status
    wanted = homes(end)
    states = end.cache.status.get("nodeStatus") or {}
    assert set(states) == set(wanted)
    for node in end.nodes:
        if node.name in wanted:
            up = node.status["conditions"][0]["status"] == "True"
            assert states[node.name] == ("NodeDownloaded" if up else "NodeNotReady")
    for model_node in end.model_nodes:
        mine = [e for e in entries(model_node) if e["modelName"] == "m"]
        assert len(mine) == (1 if model_node.name in wanted else 0)
        assert all(e["nodeGroup"] in wanted[model_node.name] for e in mine)


@given(worlds(), st.booleans())
def test_asked_anew_every_node_ends_with_what_one_node_found_and_then_stays_still(
    seen: Seen, late: bool
) -> None:
    end = settled(asked_anew(settled(seen) if late else seen))
    assert decide(end).actions == ()
    up = {n.name for n in end.nodes if n.name in homes(end) and n.status["conditions"][0]["status"] == "True"}
    if up:
        assert end.cache.status["revision"] == "new"
        said = [n.status.get("models", {}).get("m", {}) for n in end.model_nodes if n.name in up]
        # An agent that names no revision (KServe's own) cannot be asked for another.
        assert {s["revision"] for s in said if "revision" in s} == {"new"}
        resolvers = [j for j in end.jobs if j.labels.get("forebay.dev/aim", "").startswith("refresh-")]
        assert len(resolvers) == 1


@given(worlds(), st.randoms())
def test_the_order_in_which_things_are_read_does_not_matter(seen: Seen, chance: random.Random) -> None:
    def shuffled(items: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(chance.sample(items, len(items)))

    seen = carry_out(seen, decide(seen))
    other = replace(
        seen,
        nodes=shuffled(seen.nodes),
        model_nodes=shuffled(seen.model_nodes),
        jobs=shuffled(seen.jobs),
        claims=shuffled(seen.claims),
        volumes=shuffled(seen.volumes),
    )
    assert decide(other) == decide(seen)


@given(worlds())
def test_before_the_revision_is_known_one_node_at_a_time_asks_for_it(seen: Seen) -> None:
    known = any((n.status.get("models") or {}).get("m", {}).get("revision") for n in seen.model_nodes)
    there = any(s == "NodeDownloaded" for s in (decide(seen).status or {}).get("nodeStatus", {}).values())
    started = [a for a in decide(seen).actions if isinstance(a, Create) and isinstance(a.item, Job)]
    if not known and not there:
        assert len(started) <= 1


@given(worlds())
def test_an_entry_of_a_ready_copy_on_a_node_of_the_group_is_never_taken_away(seen: Seen) -> None:
    after = carry_out(seen, decide(seen))
    wanted = homes(seen)
    for before in seen.model_nodes:
        holds = before.status["modelStatus"].get("m") == "ModelDownloaded" and before.name in wanted
        now = next(n for n in after.model_nodes if n.name == before.name)
        if holds:
            assert any(e["modelName"] == "m" for e in entries(now))
        assert any(e["modelName"] == "x" for e in entries(now)), "another cache's entry is not ours to touch"
