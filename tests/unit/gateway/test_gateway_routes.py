"""Objects -> route table: names, hosts, endpoints, what is said of a service that has no pod."""

from __future__ import annotations

import pytest
from tests.fakes.gateway_world import objects

from forebay.api.kinds import EndpointSlice, InferenceService, Service
from forebay.api.meta import Key
from forebay.gateway.dialects import dialect_of
from forebay.gateway.routes import WAIT_DEFAULT_S, Route, RouteTable, build


def table(*items: object, before: RouteTable | None = None) -> RouteTable:
    def only(kind: type) -> list:  # type: ignore[type-arg]
        return [item for item in items if isinstance(item, kind)]

    return build(only(Service), only(EndpointSlice), only(InferenceService), before=before or RouteTable())


def route(**isvc: object) -> Route:
    return table(*objects("m", **isvc)).routes[Key("ns", "m")]


def test_ready_endpoints_of_the_predictor_service_are_found() -> None:
    assert route(ports=(8001, 8002)).endpoints == (("127.0.0.1", 8001), ("127.0.0.1", 8002))


def test_only_ready_endpoints_with_the_right_port_count() -> None:
    made = objects("m", ports=(1,))
    made[2].raw["endpoints"] = [
        {"addresses": ["10.0.0.1"], "conditions": {"ready": False}},
        {"addresses": ["10.0.0.2"], "conditions": {"ready": None}},
        {"addresses": ["10.0.0.3"]},
        {"addresses": []},
    ]
    assert table(*made).routes[Key("ns", "m")].endpoints == (("10.0.0.2", 1), ("10.0.0.3", 1))
    made[2].raw["ports"] = [{"name": "grpc", "port": 9}]
    assert table(*made).routes[Key("ns", "m")].endpoints == ()


def test_a_slice_without_its_service_counts_for_nothing() -> None:
    made = objects("m", ports=(1,))
    assert table(made[0], *made[2:]).routes[Key("ns", "m")].endpoints == ()


@pytest.mark.parametrize(
    ("predictor", "served"),
    [
        ({"model": {"args": ["--model_name=alpha"]}}, "alpha"),
        ({"model": {"args": ["--ctx-size", "1", "--model_name", "beta"]}}, "beta"),
        ({"containers": [{"command": ["serve", "--served-model-name", "gamma"]}]}, "gamma"),
        ({"model": {"args": ["--model_name={{.Name}}"]}}, "m"),
        ({"model": {"args": ["--model_name"]}}, "m"),
        ({"model": None, "minReplicas": 2}, "m"),
    ],
)
def test_the_name_that_the_engine_knows(predictor: dict[str, object], served: str) -> None:
    assert route(predictor=predictor).served == served


def test_a_model_is_found_by_its_names_and_the_more_exact_name_wins() -> None:
    found = table(
        *objects("m", "a"), *objects("m", "b"),
        *objects("x", "a", predictor={"model": {"args": ["--model_name=m"]}}),
        *objects("y", "a", predictor={"model": {"args": ["--model_name=alias"]}}),
    )  # fmt: skip
    assert found.for_model("a/m") == (Key("a", "m"),)
    assert found.for_model("m") == (Key("a", "m"), Key("b", "m"))
    assert found.for_model("alias") == found.for_model("y") == (Key("a", "y"),)
    assert found.for_model("nobody") == ()


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("m.ns.example.com", Key("ns", "m")), ("m-ns.example.com:8080", Key("ns", "m")),
        ("m.ns.localhost", Key("ns", "m")),
        ("m.ns", Key("ns", "m")), ("m-predictor.ns.svc.cluster.local", Key("ns", "m")),
        ("m.other.example.com", None),
        ("127.0.0.1:80", None), ("localhost", None), ("", None), ("m", None), ("..", None),
    ],
)  # fmt: skip
def test_host_names(host: str, key: Key | None) -> None:
    assert table(*objects("m")).for_host(host) == key


def test_a_joined_host_name_that_two_services_share_belongs_to_neither() -> None:
    found = table(*objects("a-b", "c"), *objects("a", "b-c"))
    assert found.for_host("a-b-c.example.com") is None
    assert found.for_host("a-b.c.example.com") == Key("c", "a-b")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5.0),
        ("0", 0.0),
        ("2.5", 2.5),
        ("99999", 3600.0),
        ("soon", WAIT_DEFAULT_S),
        ("-1", WAIT_DEFAULT_S),
    ],
)
def test_the_wait_is_an_annotation(text: str, seconds: float) -> None:
    assert route(annotations={"forebay.dev/wait-seconds": text}).wait_s == seconds


def test_a_stopped_service_is_hopeless_and_says_how_to_start_it() -> None:
    found = route(annotations={"serving.kserve.io/stop": "true"})
    assert found.hopeless and "serving.kserve.io/stop" in found.why


def test_the_reason_is_the_most_telling_condition() -> None:
    conditions = [
        {"type": "Ready", "status": "False", "message": "not ready"},
        {
            "type": "PredictorReady",
            "status": "False",
            "reason": "Pending",
            "message": "0/1 nodes are available",
        },
        {"type": "RoutesReady", "status": "Unknown"},
    ]
    found = route(status={"conditions": conditions})
    assert found.why == "PredictorReady is False: Pending: 0/1 nodes are available" and not found.hopeless
    failed = {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": {"message": "no such file"}}
    found = route(status={"conditions": conditions, "modelStatus": failed})
    assert (found.hopeless, found.why) == (True, "no such file")


def test_the_version_grows_only_when_something_changes() -> None:
    first = table(*objects("m", ports=(1,)))
    assert first.version == 1
    assert table(*objects("m", ports=(1,)), before=first) is first
    assert table(*objects("m", ports=(2,)), before=first).version == 2


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/chat/completions", "openai"), ("/openai/v1/models/x", "openai"), ("/v1/models/m:predict", "v1"),
        ("/v2/models/m/infer", "v2"), ("/serving/ns/m/v2/models/m/infer", "v2"),
        ("/serving/ns/m/v1/models/m:predict", "v1"),
        ("/serving/ns/m/v1/completions", "openai"), ("/", "openai"),
    ],
)  # fmt: skip
def test_the_dialect_is_that_of_the_path(path: str, dialect: str) -> None:
    assert dialect_of(path) == dialect
