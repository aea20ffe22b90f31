"""Selection of a serving runtime: KServe's order, and the reasons when there is none."""

from __future__ import annotations

from typing import Any

import pytest

from forebay.api.kinds import ClusterServingRuntime, ServingRuntime
from forebay.api.meta import Json, Resource
from forebay.control.inferenceservice.runtime import select


def runtime(
    called: str,
    /,
    *,
    kind: type[Resource] = ClusterServingRuntime,
    protocols: tuple[str, ...] = ("v1",),
    made: str = "1",
    more: Json | None = None,
    **told: Any,
) -> Resource:
    shape = {"name": "huggingface", "autoSelect": True, **told}
    spec = {
        "supportedModelFormats": [shape],
        "protocolVersions": list(protocols),
        "containers": [],
        **(more or {}),
    }
    item = kind.new(called, "ns" if kind.namespaced else "", spec=spec)
    item.meta["creationTimestamp"] = f"2026-01-0{made}T00:00:00Z"
    return item


def named(*cluster: Resource, near: tuple[Resource, ...] = (), **model: Any) -> str:
    found = select({"modelFormat": {"name": "huggingface"}, **model}, near, cluster)
    return found.runtime.name if found.runtime else str(found.reason)


def test_the_namespaces_own_runtime_comes_first_whatever_the_priority() -> None:
    mine = runtime("mine", kind=ServingRuntime)
    assert named(runtime("all", priority=9), near=(mine,)) == "mine"


@pytest.mark.parametrize("turn", [1, -1])
def test_priority_then_protocol_then_age_then_name(turn: int) -> None:
    def order(*runtimes: Resource) -> str:
        return named(*runtimes[::turn])

    assert order(runtime("a"), runtime("b", priority=1), runtime("c", priority=2)) == "c"
    assert order(runtime("a", protocols=("v2", "v1")), runtime("b", protocols=("v1",), made="2")) == "b"
    assert order(runtime("a", made="1"), runtime("b", made="2")) == "b"
    assert order(runtime("b"), runtime("a")) == "a"


def test_only_what_offers_itself_and_takes_format_version_and_protocol_is_chosen() -> None:
    assert named(runtime("a", autoSelect=False)) == "NoSupportingRuntime"
    assert named(runtime("a", name="onnx")) == "NoSupportingRuntime"
    assert named(runtime("a", more={"disabled": True})) == "NoSupportingRuntime"
    assert named(runtime("a", more={"multiModel": True})) == "NoSupportingRuntime"
    assert (
        named(runtime("a", version="1"), modelFormat={"name": "huggingface", "version": "2"})
        == "NoSupportingRuntime"
    )
    assert named(runtime("a", version="1"), modelFormat={"name": "huggingface", "version": "1"}) == "a"
    assert named(runtime("a", protocols=("v2",)), protocolVersion="v1") == "NoSupportingRuntime"
    assert named(runtime("a", protocols=("v2",))) == "a", "nobody asked for a protocol"


def test_a_named_runtime_is_taken_even_if_it_does_not_offer_itself_or_its_fault_is_told() -> None:
    assert named(runtime("a", autoSelect=False), runtime="a") == "a"
    assert named(runtime("a"), runtime="b") == "RuntimeNotRecognized"
    assert named(runtime("a", more={"disabled": True}), runtime="a") == "RuntimeDisabled"
    assert named(runtime("a", name="onnx"), runtime="a") == "NoSupportingRuntime"
    assert (
        named(runtime("a"), near=(runtime("a", kind=ServingRuntime, name="onnx"),), runtime="a")
        == "NoSupportingRuntime"
    )
