"""What the agent says of its models, and which models pods use."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forebay.api.kinds import Job, LocalModelNode, PersistentVolume, Pod
from forebay.api.meta import Key
from forebay.api.names import storage_key
from forebay.cache.evict import Space
from forebay.cache.reservations import Progress, Reservation
from forebay.node.decide import Ask, Copy, Entry, JobView, Seen
from forebay.node.pods import claims_of, is_starting, key_of_volume, keys_of, pins_of
from forebay.node.sight import entries_of, job_view, jobs_of
from forebay.node.status import applied, is_urgent, report

ENTRY = Entry("a", "hf://x/a", "k")
BASE = Seen(entries=(ENTRY,), space=Space(100, 10, 50))
COPY = Copy("k", "r", 7, {"d": 7}, 0.0, phases={"resolve": 0.1}, sources={"hub": 5, "peer": 2})


def said(seen):
    mine = report(seen, "g")
    return mine.states["a"], mine.models["a"]


def asked(state, alive=True, model="a", **more):
    return Ask(Reservation("i", "k", model, state=state, **more), alive)


def test_nothing_yet_is_pending():
    assert said(BASE) == ("ModelDownloadPending", {"group": "g", "storageKey": "k"})


def test_a_whole_published_and_entitled_copy_is_downloaded():
    seen = replace(BASE, copies={"k": COPY}, views=frozenset("k"), entitled=frozenset({("a", "k")}))
    state, more = said(seen)
    assert state == "ModelDownloaded"
    assert (more["revision"], more["source"], more["bytesDone"]) == ("r", "hub", 7)


@pytest.mark.parametrize("lacking", ["copies", "views", "entitled"])
def test_without_any_one_of_the_three_it_is_not_downloaded(lacking):
    whole = replace(BASE, copies={"k": COPY}, views=frozenset("k"), entitled=frozenset({("a", "k")}))
    assert (
        said(replace(whole, **{lacking: {} if lacking == "copies" else frozenset()}))[0]
        == "ModelDownloadPending"
    )


def test_a_model_that_left_is_reported_while_its_copy_goes_but_not_where_another_cache_keeps_it():
    left = replace(BASE, copies={"k": COPY}, withdrawn=frozenset({("b", "k")}), used={"k": ("p",)})
    assert list(report(left, "g").models) == ["a"]
    left = replace(left, entries=())
    assert report(left, "g").models["b"]["message"] == "goes when p ends"
    assert not report(replace(left, neighbours=(ENTRY,)), "g").models


def test_a_granted_pull_downloads_with_its_numbers():
    progress = Progress(40, 100, 12.7, 4.6, "hub", "transfer", 1.0)
    state, more = said(replace(BASE, asks=(asked("granted", progress=progress, revision="r"),)))
    assert state == "ModelDownloading"
    assert more == {
        "group": "g", "storageKey": "k", "revision": "r", "bytesDone": 40, "bytesTotal": 100, "rate": 12,
        "etaSeconds": 5, "source": "hub", "phase": "transfer",
    }  # fmt: skip


def test_a_refused_pull_is_pending_with_the_reason():
    state, more = said(replace(BASE, asks=(asked("refused", message="no room for a"),)))
    assert (state, more["message"]) == ("ModelDownloadPending", "no room for a")


def test_a_failed_attempt_is_an_error_only_when_its_job_has_failed():
    failed = replace(BASE, asks=(asked("failed", alive=False, message="denied"),))
    state, more = said(replace(failed, jobs={"a": JobView("active")}))
    assert (state, more["message"]) == ("ModelDownloadPending", "an attempt failed: denied")
    state, more = said(replace(failed, jobs={"a": JobView("failed", "BackoffLimitExceeded")}))
    assert (state, more["message"]) == ("ModelDownloadError", "denied")
    assert said(replace(BASE, jobs={"a": JobView("failed", "Deadline")}))[1]["message"] == "Deadline"


def test_the_class_of_an_error_is_told_as_a_word():
    denied = replace(
        BASE, asks=(asked("failed", False, message="no", code="denied"),), jobs={"a": JobView("failed")}
    )
    assert said(denied)[1] == {"group": "g", "storageKey": "k", "message": "no", "reason": "Denied"}
    assert said(replace(BASE, asks=(asked("refused", message="full"),)))[1]["reason"] == "Exhausted"
    assert "reason" not in said(replace(BASE, asks=(asked("asked"),)))[1]


def test_what_pods_held_up_is_no_longer_told_once_they_are_gone():
    whole = replace(BASE, copies={"k": COPY}, views=frozenset("k"), entitled=frozenset({("a", "k")}))
    held = replace(
        whole, asks=(asked("failed", False, message="in use by p", code="clash"),), used={"k": ("p",)}
    )
    assert (said(held)[1]["refused"], said(held)[1]["reason"]) == ("in use by p", "Clash")
    assert "refused" not in said(replace(held, used={}))[1]
    other = replace(whole, asks=(asked("failed", False, message="gone", code="absent"),))
    assert (said(other)[1]["refused"], said(other)[1]["reason"]) == ("gone", "Absent")


def test_what_an_earlier_cache_of_the_name_failed_at_is_not_told_of_the_new_one():
    failed = asked("failed", False, message="no token", code="denied", cache_uid="old")
    new = replace(BASE, entries=(replace(ENTRY, uid="new"),), asks=(failed,), jobs={"a": JobView("active")})
    assert "message" not in said(new)[1]
    same = replace(new, entries=(replace(ENTRY, uid="old"),))
    assert said(same)[1]["message"] == "an attempt failed: no token"


def test_a_job_of_another_groups_folder_is_not_this_ones():
    entry = {"modelName": "a", "sourceModelUri": "hf://x/a", "nodeGroup": "g"}
    node = LocalModelNode.new("n", spec={"localModels": [entry]})
    labels = {"model": "a", "node": "n", "forebay.dev/node-group": "h"}
    assert jobs_of(node, [Job.new("a-n", "jobs", labels=labels)]) == {}
    assert list(
        jobs_of(node, [Job.new("a-n", "jobs", labels={**labels, "forebay.dev/node-group": "g"})])
    ) == ["a"]


def test_what_waits_behind_another_pull_of_the_same_model_says_so():
    seen = replace(BASE, asks=(asked("granted", model="ns/b"),), jobs={"a": JobView("active")})
    assert said(seen) == (
        "ModelDownloading",
        {"group": "g", "storageKey": "k", "message": "shares the download of ns/b"},
    )


def test_evicted_damaged_and_troubled_models_say_why():
    assert "made room for b" in said(replace(BASE, evicted={"k": "b"}))[1]["message"]
    assert said(replace(BASE, complaints={"k": "rotten"}))[1]["message"] == "rotten"
    state, more = said(replace(BASE, trouble={"k": "in the way"}))
    assert (state, more["message"]) == ("ModelDownloadError", "in the way")


def test_other_groups_parts_stay_and_what_nobody_lists_goes():
    status = {
        "modelStatus": {"other": "ModelDownloaded", "gone": "ModelDownloaded", "a": "ModelDownloaded"},
        "models": {"other": {"group": "h"}, "gone": {"group": "g"}},
        "groups": {"h": {"used": 1}},
        "conditions": [1],
    }
    after = applied(status, report(BASE, "g"), "g", frozenset({"a", "other"}))
    assert after["modelStatus"] == {"other": "ModelDownloaded", "a": "ModelDownloadPending"}
    assert after["models"].keys() == {"other", "a"}
    assert after["groups"] == {"h": {"used": 1}, "g": {"used": 10, "available": 50, "limit": 100}}
    assert after["conditions"] == [1]


def test_numbers_that_move_are_not_urgent_but_the_first_ones_and_states_are():
    def status(**more):
        return {"modelStatus": {"a": "ModelDownloading"}, "models": {"a": more}}

    assert not is_urgent(status(bytesDone=1, rate=5), status(bytesDone=2, rate=9))
    assert is_urgent(status(), status(bytesDone=2))
    assert is_urgent(status(bytesDone=1), status(bytesDone=1, message="x"))
    assert is_urgent(status(), {"modelStatus": {"a": "ModelDownloaded"}, "models": {"a": {}}})


def pod(**spec):
    return Pod.new("p", "ns", spec=spec)


def no_claim(claim: Key) -> str:
    return ""


def test_a_pod_uses_what_it_mounts_requires_or_is_annotated_with():
    mounted = pod(
        volumes=[{"hostPath": {"path": "/models/models/abc-1/"}}, {"hostPath": {"path": "/models"}}]
    )
    assert keys_of(mounted, no_claim) == {"abc-1"}
    claimed = pod(volumes=[{"persistentVolumeClaim": {"claimName": "c"}}])
    assert keys_of(claimed, lambda claim: "k" if claim == Key("ns", "c") else "") == {"k"}
    assert claims_of(claimed) == {Key("ns", "c")}
    term = {"matchExpressions": [{"key": "localmodel.forebay.dev/k2", "operator": "Exists"}, {"key": "zone"}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    assert keys_of(pod(affinity={"nodeAffinity": required}), no_claim) == {"k2"}
    noted = pod()
    noted.meta["annotations"] = {"internal.serving.kserve.io/localmodel-sourceuri": "hf://x/a"}
    assert keys_of(noted, no_claim) == {storage_key("hf://x/a")}


def test_a_pod_that_is_over_pins_nothing():
    using = pod(volumes=[{"hostPath": {"path": "/models/models/k"}}])
    using.meta["uid"] = "u"
    assert [p.keys for p in pins_of([using], no_claim)] == [("k",)]
    using.raw["status"] = {"phase": "Succeeded"}
    assert pins_of([using], no_claim) == ()


def test_a_volume_that_is_no_view_has_no_key():
    assert key_of_volume(PersistentVolume.new("v", spec={"hostPath": {"path": "/models/models/k"}})) == "k"
    assert key_of_volume(PersistentVolume.new("v", spec={"local": {"path": "/models/models/k"}})) == "k"
    assert key_of_volume(PersistentVolume.new("v", spec={"hostPath": {"path": "/models"}})) == ""
    assert key_of_volume(PersistentVolume.new("v", spec={"nfs": {}})) == ""


def test_a_pod_that_is_not_ready_is_starting():
    starting = pod()
    assert is_starting(starting)
    starting.raw["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    assert not is_starting(starting)


def test_an_entry_belongs_to_its_group_and_its_newest_job_counts():
    node = LocalModelNode.new("n", spec={"localModels": [
        {"modelName": "a", "sourceModelUri": "hf://x/a", "nodeGroup": "g"},
        {"modelName": "a", "namespace": "ns", "sourceModelUri": "x", "nodeGroup": "h", "storageKey": "own"},
    ]})  # fmt: skip
    assert [e.model for e in entries_of(node, "g")] == ["a"]
    assert [(e.model, e.key) for e in entries_of(node, "h")] == [("ns/a", "own")]

    def job(name, attempt, condition, **labels):
        made = Job.new(
            name, "jobs", labels={"model": "a", "forebay.dev/attempt": str(attempt), **labels}, spec={}
        )
        made.raw["status"] = {"conditions": [{"type": condition, "status": "True", "message": name}]}
        return made

    found = jobs_of(
        node,
        [job("new", 10, "Complete"), job("old", 9, "Failed"), job("b", 1, "Failed", modelNamespace="ns")],
    )
    assert found == {"a": JobView("succeeded"), "ns/a": JobView("failed", "b")}
    assert job_view(Job.new("x", "jobs", spec={})) == JobView("active")


def test_two_groups_agree_about_a_model_that_went_from_one_to_the_other_while_a_pod_uses_it():
    """Each wrote what it held over what the other had said, for as long as the pod ran."""
    old = replace(BASE, entries=(), copies={"k": COPY}, withdrawn=frozenset({("a", "k")}), used={"k": ("p",)})
    new = replace(BASE, copies={"k": COPY}, views=frozenset("k"), entitled=frozenset({("a", "k")}))
    status = applied({}, report(new, "new"), "new", frozenset("a"))
    after = applied(status, report(old, "old"), "old", frozenset("a"))
    assert after["models"] == status["models"] and after["models"]["a"]["group"] == "new"
    assert applied(after, report(new, "new"), "new", frozenset("a")) == after
    gone = applied({}, report(old, "old"), "old", frozenset())
    assert gone["models"]["a"]["message"] == "goes when p ends"  # named by nobody: its agent still tells
