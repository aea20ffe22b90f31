"""A claim that is being deleted stays for the pods that run on it, and for no others."""

from __future__ import annotations

import pytest

from forebay.api.kinds import PersistentVolumeClaim, Pod
from forebay.home.workloads.actions import Update
from forebay.home.workloads.volumes.decide import CLAIM_HELD, Seen, decide


def leaving() -> PersistentVolumeClaim:
    claim = PersistentVolumeClaim.new("shared", "team", spec={"resources": {}})
    claim.meta.update(uid="1", deletionTimestamp="2026-01-01T00:00:00Z", finalizers=[CLAIM_HELD])
    return claim


def a_pod(*, node: str = "", phase: str = "Pending", namespace: str = "team") -> Pod:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "shared"}}]
    spec = {"volumes": volumes, **({"nodeName": node} if node else {})}
    return Pod.new("p", namespace, spec=spec, status={"phase": phase})


@pytest.mark.parametrize(
    ("pod", "held"),
    [
        (a_pod(node="n", phase="Running"), True),
        (a_pod(node="n"), True),
        (a_pod(), False),  # it would wait for the claim, and the claim for it
        (a_pod(node="n", phase="Succeeded"), False),
        (a_pod(node="n", phase="Running", namespace="other"), False),
    ],
)
def test_a_claim_stays_for_the_pods_that_are_on_a_node(pod: Pod, held: bool) -> None:
    actions = decide(Seen((), (leaving(),), (), (pod,), ()))
    freed = [a for a in actions if isinstance(a, Update) and CLAIM_HELD not in a.item.finalizers]
    assert bool(freed) is not held
