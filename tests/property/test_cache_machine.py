"""The real cache beside a dictionary: pulls, pins, removals, damage and power cuts in any order."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.fakes.cache_promises import a_pin, assert_promises, model, opened, pull, shown
from tests.fakes.simdisk import PowerCut, SimDisk

from forebay.cache import gc, manifests, pins, verify, views
from forebay.errors import Absent, Unavailable

KEYS = st.sampled_from(["k1", "k2", "k3"])
BODIES = st.dictionaries(
    st.sampled_from(["config.json", "a/one.bin", "a/two.bin", "three.bin"]),
    st.sampled_from([b"", b"{}", b"weights" * 30, b"other" * 30]),
    min_size=1,
)


class CacheMachine(RuleBasedStateMachine):
    """`have` is the dictionary: key -> (path -> bytes); `seen` are the views, `used` the pins."""

    def __init__(self):
        super().__init__()
        self.disk = SimDisk()
        self.root = opened(self.disk)
        self.have: dict[str, dict[str, bytes]] = {}
        self.seen: set[str] = set()
        self.used: dict[str, str] = {}
        self.rotted = False  # then good blobs of what was set aside are kept for the pull that heals it

    @rule(key=KEYS, bodies=BODIES)
    def pulls(self, key, bodies):
        changes = key in self.have and bodies != self.have[key]
        if changes and key in self.used.values():
            with pytest.raises(Unavailable):
                pull(self.root, model(key, bodies), bodies)
            return
        pull(self.root, model(key, bodies), bodies)
        if changes:
            self.seen.discard(key)
        self.have[key] = bodies

    @rule(key=KEYS)
    def publishes(self, key):
        if key not in self.have:
            with pytest.raises(Absent):
                views.publish(self.root, key)
            return
        assert views.publish(self.root, key) == (key not in self.seen)
        self.seen.add(key)

    @rule(key=KEYS, pod=st.sampled_from(["p1", "p2"]))
    def a_pod_starts(self, key, pod):
        self.used[pod] = key
        self._pin()

    @rule(pod=st.sampled_from(["p1", "p2"]))
    def a_pod_ends(self, pod):
        self.used.pop(pod, None)
        self._pin()

    def _pin(self):
        pins.rebuild(self.root, [a_pin(pod, key) for pod, key in self.used.items()])

    @rule(key=KEYS)
    def removes(self, key):
        if key in self.used.values():
            with pytest.raises(Unavailable):
                manifests.remove(self.root, key)
            return
        assert manifests.remove(self.root, key) == (key in self.have)
        self.have.pop(key, None)
        self.seen.discard(key)

    @rule()
    def collects(self):
        gc.collect(self.root, keep_parts=())
        here = sum(_digests(*self.have.values()).values())
        assert gc.usage(self.root) == here or (self.rotted and gc.usage(self.root) > here)

    @rule(key=KEYS)
    def verifies(self, key):
        manifest = manifests.find(self.root, key)
        if manifest is not None:
            assert verify.check(self.root, manifest) == []

    @precondition(lambda self: self.have)
    @rule(data=st.data())
    def a_content_rots_and_is_found(self, data):
        key = data.draw(st.sampled_from(sorted(self.have)))
        digest = data.draw(st.sampled_from(sorted(_digests(self.have[key]))))
        file = self.disk._file(self.root.layout.blob(digest))
        file.data = file.safe = b"rotten"
        self.rotted = True
        assert [note.digest for note in verify.check(self.root, manifests.find(self.root, key))] == [digest]
        for other in [k for k, bodies in self.have.items() if digest in _digests(bodies)]:
            assert shown(self.root, other) is None
            del self.have[other]
            self.seen.discard(other)

    @rule(data=st.data(), cut=st.integers(0, 60), key=KEYS, bodies=BODIES)
    def the_power_goes_during_a_pull(self, data, cut, key, bodies):
        if key in self.used.values():
            return
        self.disk.cut_after = self.disk.changes + cut
        finished = False
        try:
            pull(self.root, model(key, bodies), bodies)
            views.publish(self.root, key)
            finished = True
        except PowerCut:
            pass
        self.disk = self.disk.after_power_cut(data.draw)
        self.root = opened(self.disk)
        gc.recover(self.root)
        manifest = manifests.find(self.root, key)
        if finished:
            assert manifest is not None
        before = self.have.pop(key, bodies)
        self.seen.discard(key)
        if manifest is not None:
            self.have[key] = next(
                b for b in (bodies, before) if {p: _sha(v) for p, v in b.items()} == manifest.content
            )
            if views.shows(self.root, manifest):
                self.seen.add(key)

    @invariant()
    def the_promises_hold(self):
        assert_promises(self.root)
        assert {m.key for m in manifests.find_all(self.root)} == self.have.keys()
        assert views.standing(self.root) == self.seen
        for key in self.seen:
            assert shown(self.root, key) == {p: _sha(b) for p, b in self.have[key].items()}
        assert pins.used_keys(self.root) == frozenset(self.used.values())


def _sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _digests(*many: dict[str, bytes]) -> dict[str, int]:
    return {_sha(body): len(body) for bodies in many for body in bodies.values()}


def test_the_cache_behaves_like_a_dictionary_through_pulls_removals_damage_and_power_cuts():
    run_state_machine_as_test(
        CacheMachine,
        settings=settings(max_examples=50, stateful_step_count=25, deadline=None, report_multiple_bugs=False),
    )
