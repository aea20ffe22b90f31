"""The old Endpoints of a Service, out of its EndpointSlices, for those who still ask for them; pure.

Source: Kubernetes' endpoints controller (form, label, ready apart from not ready addresses).
"""

from __future__ import annotations

from collections.abc import Sequence

from forebay.api.kinds import Endpoints, EndpointSlice, Service
from forebay.api.meta import Json
from forebay.home.workloads.actions import Action, Create, Update

_LABELS = {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}


def mirrored(service: Service, slices: Sequence[EndpointSlice], have: Endpoints | None) -> tuple[Action, ...]:
    """What brings the Endpoints in line with the slices: one subset per set of ports."""
    labels = {**service.labels, **_LABELS}
    subsets = [subset for one in slices if (subset := _subset(one))]
    if have is None:
        made = Endpoints.new(service.name, service.namespace, labels=labels, subsets=subsets)
        made.meta["ownerReferences"] = [service.owner_reference()]
        return (Create(made),)
    if have.labels == labels and (have.raw.get("subsets") or []) == subsets:
        return ()
    new = have.copy()
    new.meta["labels"], new.raw["subsets"] = labels, subsets
    return (Update(new),)


def _subset(one: EndpointSlice) -> Json:
    """{} for a slice that nobody stands behind."""
    sides: dict[str, list[Json]] = {"addresses": [], "notReadyAddresses": []}
    for endpoint in one.raw["endpoints"]:
        side = "addresses" if endpoint["conditions"]["ready"] else "notReadyAddresses"
        rest = {name: endpoint[name] for name in ("hostname", "nodeName", "targetRef") if name in endpoint}
        sides[side].append({"ip": endpoint["addresses"][0], **rest})
    found: Json = {name: addresses for name, addresses in sides.items() if addresses}
    ports = [{name: value for name, value in port.items() if value != ""} for port in one.raw["ports"]]
    if found and ports:
        found["ports"] = ports
    return found
