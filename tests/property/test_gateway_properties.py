"""The route table does not depend on order; the field finder agrees with a JSON parser, in any pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.gateway_world import objects

from forebay.api.kinds import EndpointSlice, InferenceService, Service
from forebay.gateway.routes import RouteTable, build
from forebay.kit.http1.field import FieldFinder, Outcome

names = st.sampled_from(["a", "b", "a-b", "b-a"])
services = st.builds(
    lambda name, namespace, ports, alias: objects(
        name, namespace, ports=tuple(ports), predictor={"model": {"args": [f"--model_name={alias}"]}}
    ),
    names, names, st.lists(st.integers(1, 9), max_size=3, unique=True), names,
)  # fmt: skip


def _build(items: list[Any], before: RouteTable) -> RouteTable:
    kinds = (Service, EndpointSlice, InferenceService)
    return build(*([item for item in items if isinstance(item, kind)] for kind in kinds), before=before)  # type: ignore[misc]


@given(st.lists(services, max_size=6), st.randoms())
def test_the_order_of_objects_does_not_matter_and_every_route_is_reachable(
    worlds: list[list[Any]], random: Any
) -> None:
    unique = {(type(item), item.key): item for world in worlds for item in world}
    items = list(unique.values())
    table = _build(items, RouteTable())
    random.shuffle(items)
    assert _build(items, table) is table
    for key in table.routes:
        assert table.for_model(f"{key.namespace}/{key.name}") == (key,)
        assert key in table.for_model(key.name)
        assert table.for_host(f"{key.name}.{key.namespace}.example.com") == key
    for keys in table.models.values():
        assert keys and set(keys) <= set(table.routes)
    assert set(table.hosts.values()) <= set(table.routes)


@given(services, st.integers(0, 4))
def test_an_endpoint_that_is_not_ready_never_gets_traffic(world: list[Any], index: int) -> None:
    slices = [item for item in world if isinstance(item, EndpointSlice)]
    chosen = slices[index % len(slices)]
    for endpoint in chosen.raw["endpoints"]:
        endpoint["conditions"]["ready"] = False
    gone = {("127.0.0.1", chosen.raw["ports"][0]["port"]) for _ in chosen.raw["endpoints"]}
    (route,) = _build(world, RouteTable()).routes.values()
    assert not gone & set(route.endpoints)


texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["model", "\\", '"', '\\"', "}", "{["]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=12,
)  # fmt: skip


@st.composite
def pieces_of(draw: st.DrawFn, data: st.SearchStrategy[bytes]) -> list[bytes]:
    raw = draw(data)
    cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    return [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True) if a < b]


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    value = draw(st.dictionaries(texts, values, max_size=5) | values)
    separators = draw(st.sampled_from([(",", ":"), (" , ", " :\n"), (", ", ": ")]))
    return json.dumps(value, ensure_ascii=draw(st.booleans()), separators=separators).encode()


class Counted(bytearray):
    """Counts the bytes that somebody looks at."""

    looked = 0

    def find(self, sub: Any, start: Any = 0, *more: Any) -> int:
        found = super().find(sub, start, *more)
        self.looked += (len(self) if found < 0 else found) - start
        return found

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        self.looked += len(found) if isinstance(at, slice) else 1
        return found


@pytest.mark.parametrize("before", [b'{"model": "', b'{"', b'{"a": "', b'{"a": {"b": "'])
@pytest.mark.parametrize(
    "text", [b"\\\\", b'\\"', b"x", b'\\\\\\"'], ids=["slashes", "quotes", "plain", "both"]
)
def test_a_body_in_single_bytes_is_looked_at_once(before: bytes, text: bytes) -> None:
    """All of it was, for each byte more: after four megabytes of backslashes each one held everybody up for
    half a second."""
    body = before + text * 2000 + (b'\\"' if text == b"\\\\" else b"") + b"x" * 2000
    finder = FieldFinder("model")
    finder.body = counted = Counted()
    assert finder.feed(body[:8000]) is Outcome.MORE
    assert {finder.feed(body[at : at + 1]) for at in range(8000, len(body))} <= {Outcome.MORE}
    assert counted.looked < 8 * len(body)


def _run(pieces: list[bytes]) -> tuple[Outcome, FieldFinder]:
    finder = FieldFinder("model")
    outcome = Outcome.MORE
    for piece in pieces:
        outcome = finder.feed(piece)
        if outcome is not Outcome.MORE:
            break
    return outcome, finder


@given(pieces_of(documents()))
def test_the_field_found_is_the_field_of_the_document(pieces: list[bytes]) -> None:
    document = json.loads(b"".join(pieces))
    outcome, finder = _run(pieces)
    if not isinstance(document, dict):
        assert outcome in (Outcome.WRONG, Outcome.MORE)
    elif "model" not in document:
        assert outcome is Outcome.ABSENT
    elif not isinstance(document["model"], str):
        assert outcome is Outcome.WRONG
    else:
        assert outcome is Outcome.FOUND and finder.value == document["model"]
        replaced = bytes(finder.body[: finder.start]) + b'"new"' + bytes(finder.body[finder.end :])
        rest = b"".join(pieces)[len(finder.body) :]
        assert json.loads(replaced + rest) == document | {"model": "new"}


@given(pieces_of(st.binary(max_size=80) | documents().map(lambda raw: raw[: len(raw) // 2])))
def test_rubbish_never_raises(pieces: list[bytes]) -> None:
    _run(pieces)
