"""Services among others: addresses and node ports that nobody else has, and what a change of type does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from forebay.api.admission import Rules
from forebay.api.kinds import Service
from forebay.api.meta import Json, Key, Resource
from forebay.errors import Invalid


class Others:
    """The services that are there."""

    def __init__(self) -> None:
        self.services: list[Json] = []

    def get(self, kind: type[Resource], key: Key) -> Json | None:
        return None

    def list(self, kind: type[Resource], namespace: str = "") -> Iterable[Json]:
        return self.services if kind is Service else ()


class Cluster:
    """Stores services as the server does."""

    def __init__(self) -> None:
        self._others = Others()
        self._rules = Rules(self._others)

    def create(self, name: str, **spec: Any) -> Json:
        spec = {"selector": {"a": "b"}, "ports": [{"port": 80}], **spec}
        meta = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
        raw = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}
        made = self._rules.prepare(Service, raw, None, "create")
        self._others.services.append(made)
        return made

    def patch(self, old: Json, **spec: Any) -> Json:
        merged = {key: value for key, value in {**old["spec"], **spec}.items() if value is not None}
        made = self._rules.prepare(Service, {**old, "spec": merged}, old, "update")
        self._others.services[self._others.services.index(old)] = made
        return made


def numbers(service: Json) -> list[int]:
    return [port.get("nodePort", 0) for port in service["spec"]["ports"]]


def told(error: pytest.ExceptionInfo[Invalid]) -> list[str]:
    return [f"{path}: {message}" for path, _, message in error.value.causes]


@pytest.mark.parametrize("kind", ["NodePort", "LoadBalancer"])
def test_a_node_port_is_found_for_each_port(kind: str) -> None:
    cluster = Cluster()
    ports = [{"name": name, "port": port} for name, port in (("a", 80), ("b", 81))]
    found = numbers(cluster.create("x", type=kind, ports=ports)) + numbers(cluster.create("y", type=kind))
    assert len(set(found)) == 3 and all(30000 <= one <= 32767 for one in found)


def test_who_wants_no_node_ports_gets_none() -> None:
    made = Cluster().create("x", type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    assert numbers(made) == [0]


def test_two_protocols_of_a_port_share_the_nodes_port() -> None:
    ports = [{"name": kind.lower(), "port": 53, "protocol": kind} for kind in ("TCP", "UDP")]
    found = numbers(Cluster().create("dns", type="NodePort", ports=ports))
    assert found[0] and found[0] == found[1]


def test_a_node_port_is_nobody_elses() -> None:
    cluster = Cluster()
    cluster.create("x", type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    with pytest.raises(Invalid) as error:
        cluster.create("y", type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    expected = "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"
    assert told(error) == [expected]
    twice = [{"name": name, "port": port, "nodePort": 30081} for name, port in (("a", 80), ("b", 81))]
    with pytest.raises(Invalid) as error:
        cluster.create("z", type="NodePort", ports=twice)
    assert told(error) == [expected.replace("[0]", "[1]").replace("30080", "30081")]


def test_a_node_port_stays_when_the_port_changes() -> None:
    cluster = Cluster()
    old = cluster.create("x", type="NodePort")
    assert numbers(cluster.patch(old, ports=[{"port": 81}])) == numbers(old)


def test_a_type_may_change_and_change_back() -> None:
    cluster = Cluster()
    first = cluster.create("x")
    outside = cluster.patch(first, type="LoadBalancer")
    assert numbers(outside)[0] and outside["spec"]["externalTrafficPolicy"] == "Cluster"
    assert cluster.patch(outside, type="ClusterIP")["spec"] == first["spec"]


def test_a_name_elsewhere_has_no_address() -> None:
    cluster = Cluster()
    old = cluster.create("x", type="NodePort")
    named = cluster.patch(old, type="ExternalName", externalName="a.b")
    left = {"externalName", "ports", "selector", "sessionAffinity", "type"}
    assert set(named["spec"]) == left and numbers(named) == [0]
    back = cluster.patch(named, type="ClusterIP", externalName=None)
    assert back["spec"]["clusterIP"].startswith("10.96.") and "ipFamilies" in back["spec"]


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("10.96.0.77", "provided IP is already allocated"),
        ("1.2.3.4", "the provided network does not match the current range"),
        ("10.96.0.0", "the provided network does not match the current range"),
        ("10.96.255.255", "the provided network does not match the current range"),
    ],
)
def test_an_address_is_free_and_of_the_network(address: str, why: str) -> None:
    cluster = Cluster()
    cluster.create("x", clusterIP="10.96.0.77")
    with pytest.raises(Invalid) as error:
        cluster.create("y", clusterIP=address)
    expected = f'spec.clusterIPs: Invalid value: ["{address}"]: failed to allocate IP {address}: {why}'
    assert told(error) == [expected]


_NO_V6 = 'Invalid value: "IPv6": not configured on this cluster'
_ONE = (
    "Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP "
    "families are specified"
)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"ipFamilies": ["IPv6"]}, [f"spec.ipFamilies[0]: {_NO_V6}"]),
        (
            {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"},
            [f"spec.ipFamilies[1]: {_NO_V6}"],
        ),
        ({"ipFamilies": ["IPv4", "IPv6"]}, [f"spec.ipFamilyPolicy: {_ONE}"]),
        ({"ipFamilies": ["IPv4", "IPv4"]}, ['spec.ipFamilies[1]: Duplicate value: "IPv4"']),
        ({"ipFamilyPolicy": "PreferDualStack"}, []),
        (
            {"ipFamilyPolicy": "RequireDualStack"},
            ['spec.ipFamilyPolicy: Invalid value: "RequireDualStack": '
             "this cluster is not configured for dual-stack services"],
        ),
        (
            {"clusterIP": "fd00::1"},
            ['spec.clusterIPs[0]: Invalid value: ["fd00::1"]: IPv6 is not configured on this cluster'],
        ),
        (
            {"clusterIPs": ["10.96.0.78"]},
            ['spec.clusterIPs: Invalid value: ["10.96.0.78"]: '
             "must be empty when `clusterIP` is not specified"],
        ),
        (
            {"clusterIP": "10.96.0.79", "clusterIPs": ["10.96.0.80"]},
            ['spec.clusterIPs: Invalid value: ["10.96.0.80"]: first value must match `clusterIP`'],
        ),
        (
            {"clusterIP": "None", "type": "NodePort"},
            ["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
        ),
        (
            {"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.96.0.90"},
            ["spec.clusterIPs: Forbidden: may not be set for ExternalName services"],
        ),
    ],
)  # fmt: skip
def test_addresses_that_cannot_be_given(spec: Json, expected: list[str]) -> None:
    try:
        Cluster().create("x", **spec)
        found = []
    except Invalid as error:
        found = [f"{path}: {message}" for path, _, message in error.causes]
    assert found == expected
