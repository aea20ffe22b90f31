"""What holds of schemas for any input."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from forebay.api import kinds, quantity, schema
from forebay.api.admission import Rules
from forebay.api.schema.merge import json_merge
from forebay.api.schema.shape import canonical
from forebay.api.schema.tables import struct
from forebay.errors import Invalid

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
)
FIELDS = st.sampled_from(
    sorted(
        {
            *struct("core.v1.PodSpec").fields,
            *struct("core.v1.Container").fields,
            *struct("meta.v1.ObjectMeta").fields,
            "foo",
        }
    )
)
VALUES = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(FIELDS | st.text(max_size=4),
    below, max_size=4), max_leaves=12
)  # fmt: skip
KINDS = st.sampled_from([*kinds.CORE, *kinds.OURS])
SUFFIXES = st.sampled_from(["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"])


@given(KINDS, VALUES, VALUES, st.sampled_from(["spec", "data", "status", "rules", "subjects"]))
def test_garbage_is_refused_or_stored_but_never_breaks_us(kind: Any, meta: Any, value: Any, part: str):
    raw = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, part: value}
    try:
        schema.check_types(raw, kind)
        schema.unknown_fields(raw, kind)
        if not isinstance(raw["metadata"], dict):
            raw["metadata"] = {}
        stored = Rules().prepare(kind, raw, None, "create")
    except Invalid:
        return
    assert Rules().prepare(kind, stored, None, "create")["metadata"]["name"] == stored["metadata"]["name"]


@given(st.lists(st.sampled_from("abcde"), unique=True), st.lists(st.sampled_from("abcdefg"), unique=True))
def test_a_strategic_merge_holds_every_item_once(server: list[str], patch: list[str]):
    def spec(names: list[str], image: str) -> dict[str, Any]:
        return {"spec": {"containers": [{"name": name, "image": image} for name in names]}}

    merged = schema.strategic_merge(spec(server, "old"), spec(patch, "new"), kinds.Pod)["spec"]["containers"]
    assert sorted(one["name"] for one in merged) == sorted({*server, *patch})
    assert all(one["image"] == ("new" if one["name"] in patch else "old") for one in merged)
    again = schema.strategic_merge({"spec": {"containers": merged}}, spec(patch, "new"), kinds.Pod)
    assert again["spec"]["containers"] == merged


@given(VALUES, VALUES)
def test_a_merge_patch_is_idempotent(current: Any, patch: Any):
    once = json_merge(current, patch)
    assert json_merge(once, patch) == once


@given(st.decimals(0, 10**9, places=3), SUFFIXES)
def test_canonical_quantities_keep_their_value_and_stay(number: Any, suffix: str):
    text = f"{number}{suffix}"
    form = canonical(text)
    assert quantity.parse(form) == quantity.parse(text)
    assert canonical(form) == form


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes):
    for read in (schema.decode_protobuf, schema.parse_json):
        try:
            read(b"k8s\x00" + body if read is schema.decode_protobuf else body)
        except Invalid as error:
            assert error.reason == "BadRequest"


@given(st.dictionaries(st.text(max_size=3), SCALARS, max_size=4))
def test_json_comes_back_as_it_was_sent(raw: dict[str, Any]):
    assert schema.parse_json(json.dumps(raw).encode()) == (raw, [])


@given(st.integers(0, 5), st.integers(0, 5))
def test_what_is_stored_is_stored_again_unchanged(replicas: int, ports: int):
    container = {"name": "c", "image": "i", "ports": [{"containerPort": 80 + n} for n in range(ports)]}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    raw = {"metadata": {"name": "d", "namespace": "n", "uid": "u"}, "spec": spec}
    stored = Rules().prepare(kinds.Deployment, raw, None, "create")
    assert Rules().prepare(kinds.Deployment, stored, stored, "update") == stored
