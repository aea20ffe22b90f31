"""Requests whose answers a real kube-apiserver and the embedded one must agree on, played in this order.

A row is method, path, body (None, JSON, or bytes) and headers. `notes()` is what is compared of an answer.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

AS_MERGE = {"Content-Type": "application/merge-patch+json"}
AS_STRATEGIC = {"Content-Type": "application/strategic-merge-patch+json"}
AS_JSON = {"Content-Type": "application/json-patch+json"}
AS_TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
AS_PARTIAL = {"Accept": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"}
NS = "/api/v1/namespaces/verdict"
CM, POD, DEP = f"{NS}/configmaps", f"{NS}/pods", "/apis/apps/v1/namespaces/verdict/deployments"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SETS = "/apis/apps/v1/namespaces/verdict/replicasets"
GEAR = "/apis/verdict.test/v1/namespaces/verdict/gears"
SAR = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
CRD = {
    "metadata": {"name": "gears.verdict.test"},
    "spec": {
        "group": "verdict.test", "scope": "Namespaced", "names": {"plural": "gears", "kind": "Gear"},
        "versions": [{
            "name": "v1", "served": True, "storage": True,
            "subresources": {
                "status": {},
                "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"},
            },
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1}}},
                "status": {"type": "object", "properties": {"size": {"type": "integer"}}},
            }}},
        }],
    },
}  # fmt: skip
CONTAINERS = [{"name": "c", "image": "i"}]
DEPLOYMENT = {
    "metadata": {"name": "d"},
    "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": CONTAINERS}},
    },
}
THE_POD = {"metadata": {"name": "p"}, "spec": {"containers": CONTAINERS}}


def a_map(name: str, **meta: Any) -> Any:
    return {"metadata": {"name": name, **meta}}


def gear(size: int, name: str = "g", kind: str = "Gear", **more: Any) -> Any:
    return {"apiVersion": "verdict.test/v1", "kind": kind, **a_map(name), "spec": {"size": size}, **more}


def a_service(node_port: int) -> Any:
    return {**a_map("s"), "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": node_port}]}}


def replace_name(name: str) -> Any:
    return [{"op": "replace", "path": "/metadata/name", "value": name}]


ROWS: list[tuple[str, str, Any, dict[str, str]]] = [
    ("POST", "/api/v1/namespaces", a_map("verdict"), {}),
    ("POST", CRDS, CRD, {}),
    ("UNTIL", GEAR, None, {}),
    ("POST", CM, {**a_map("m"), "data": {"a": "b"}}, {}),
    ("POST", CM, a_map("m"), {}),
    ("POST", CM, {"metadata": {"generateName": "x-"}}, {}),
    ("POST", CM, {"metadata": {}}, {}),
    ("POST", CM, a_map("No_Good"), {}),
    ("POST", CM, a_map("x", namespace="other"), {}),
    ("POST", CM, {"kind": "Secret", "apiVersion": "v1", **a_map("x")}, {}),
    ("POST", CM, {**a_map("x"), "data": {"a": 1}}, {}),
    ("POST", CM, {"metadata": "x"}, {}),
    ("POST", CM, b"<a/>", {"Content-Type": "text/xml"}),
    ("POST", f"{CM}?dryRun=Some", a_map("x"), {}),
    ("POST", f"{CM}?fieldValidation=Maybe", a_map("x"), {}),
    ("POST", f"{CM}?fieldValidation=Strict", {**a_map("x"), "foo": 1, "bar": 2}, {}),
    ("POST", f"{CM}?fieldValidation=Strict", b'{"metadata":{"name":"x","name":"x"}}', {}),
    ("POST", f"{CM}?dryRun=All", {**a_map("x"), "foo": 1}, {}),
    ("POST", f"{CM}/m", a_map("m"), {}),
    ("POST", "/api/v1/configmaps", a_map("x"), {}),
    ("DELETE", "/api/v1/configmaps", None, {}),
    ("PUT", CM, a_map("x"), {}),
    ("PATCH", CM, {}, AS_MERGE),
    ("PUT", f"{CM}/m", a_map("other"), {}),
    ("PUT", f"{CM}/m", {"metadata": {}}, {}),
    ("PUT", f"{CM}/absent", a_map("absent"), {}),
    ("PUT", f"{CM}/m", a_map("m", resourceVersion="1"), {}),
    ("PATCH", f"{CM}/absent", {}, AS_MERGE),
    ("PATCH", f"{CM}/m", [{"op": "remove", "path": "/no"}], AS_JSON),
    ("PATCH", f"{CM}/m", [{"op": "test", "path": "/data/a", "value": "c"}], AS_JSON),
    ("PATCH", f"{CM}/m", replace_name("z"), AS_JSON),
    ("PATCH", f"{CM}/m", [{"op": "replace", "path": "/data/b", "value": "c"}], AS_JSON),
    ("PATCH", f"{CM}/m", [{"op": "replace", "path": "/binaryData/b", "value": "c"}], AS_JSON),
    ("PATCH", f"{CM}/m", a_map("b"), AS_MERGE),
    ("PATCH", f"{CM}/m", {"metadata": {"namespace": "b"}}, AS_MERGE),
    ("PATCH", f"{CM}/m", {"metadata": None}, AS_MERGE),
    ("PATCH", f"{CM}/m", {"metadata": {"uid": "zz"}}, AS_MERGE),
    ("PATCH", f"{CM}/m", {"metadata": {"resourceVersion": "1"}}, AS_MERGE),
    ("PATCH", f"{CM}/m?fieldValidation=Strict", {"foo": 1}, AS_STRATEGIC),
    ("PATCH", f"{CM}/m", {"foo": 1}, AS_MERGE),
    ("DELETE", f"{CM}/absent", None, {}),
    ("DELETE", f"{CM}/m?propagationPolicy=Sideways", None, {}),
    ("DELETE", f"{CM}/m", {"preconditions": {"uid": "other"}}, {}),
    ("DELETE", f"{CM}/m", {"orphanDependents": True, "propagationPolicy": "Orphan"}, {}),
    ("GET", f"{CM}/absent", None, {}),
    ("GET", f"{CM}/m/status", None, {}),
    ("GET", f"{CM}?labelSelector=a%20b", None, {}),
    ("GET", f"{CM}?fieldSelector=data.a%3Db", None, {}),
    ("GET", f"{POD}?fieldSelector=spec.nope%3Db", None, {}),
    ("GET", f"{DEP}?fieldSelector=spec.nope%3Db", None, {}),
    ("GET", f"{GEAR}?fieldSelector=spec.nope%3Db", None, {}),
    ("GET", f"{SETS}?fieldSelector=status.replicas%3D0", None, {}),
    ("GET", f"{CM}?limit=x", None, {}),
    ("GET", f"{CM}?resourceVersionMatch=Exact", None, {}),
    ("GET", f"{CM}?resourceVersionMatch=Foo&resourceVersion=1", None, {}),
    ("GET", f"{CM}?resourceVersion=x", None, {}),
    ("GET", f"{CM}?watch=1&sendInitialEvents=true", None, {}),
    ("GET", "/api/v1/nothings", None, {}),
    ("GET", "/api/v1/pods/x", None, {}),
    ("GET", f"{NS}/nodes", None, {}),
    ("OPTIONS", CM, None, {}),
    ("POST", SAR, {"spec": {}}, {}),
    ("POST", SAR, {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}, {}),
    ("POST", TOKENS, {"spec": {"token": "x"}}, {}),
    ("POST", TOKENS, {"spec": {}}, {}),
    ("POST", f"{NS}/serviceaccounts/absent/token", {"spec": {}}, {}),
    ("POST", DEP, DEPLOYMENT, {}),
    ("PATCH", f"{DEP}/d", {"spec": {"selector": {"matchLabels": {"a": "c"}}}}, AS_MERGE),
    ("GET", f"{DEP}/d/scale", None, {}),
    ("PATCH", f"{DEP}/d/scale", {"spec": {"replicas": -1}}, AS_MERGE),
    ("PATCH", f"{DEP}/d/scale", {"spec": {"replicas": 3}}, AS_MERGE),
    ("PUT", f"{DEP}/d/scale", {**a_map("e"), "spec": {"replicas": 2}}, {}),
    ("GET", f"{DEP}/absent/scale", None, {}),
    ("POST", POD, THE_POD, {}),
    ("GET", f"{POD}?fieldSelector=spec.hostNetwork%3Dfalse", None, {}),
    ("GET", f"{POD}?fieldSelector=spec.hostNetwork!%3Dfalse", None, {}),
    ("GET", f"{POD}/p/log?container=zz", None, {}),
    ("GET", f"{POD}/p/log?tailLines=-1", None, {}),
    ("GET", f"{POD}/absent/log", None, {}),
    ("POST", f"{POD}/p/binding", {"target": {"name": "n1"}}, {}),
    ("POST", f"{POD}/p/binding", {**a_map("p"), "target": {"name": "n1"}}, {}),
    ("POST", f"{POD}/p/eviction", a_map("zzz"), {}),
    ("DELETE", f"{POD}/p?gracePeriodSeconds=5", None, {}),
    ("DELETE", f"{POD}/p", {"gracePeriodSeconds": 0}, {}),
    ("GET", f"{POD}/p", None, {}),
    ("POST", f"{NS}/services", a_service(99), {}),
    ("POST", f"{NS}/services", a_service(30055), {}),
    ("POST", GEAR, {**a_map("g"), "spec": {"size": 2}}, {}),
    ("POST", GEAR, gear(0), {}),
    ("POST", GEAR, gear(2), {}),
    ("POST", GEAR, gear(2), {}),
    ("POST", GEAR, {"apiVersion": "v1", "kind": "ConfigMap", **a_map("g")}, {}),
    ("POST", f"{GEAR}?fieldValidation=Strict", gear(2, "v", y=1), {}),
    ("PUT", f"{GEAR}/g", gear(3), {}),
    ("PATCH", f"{GEAR}/g", {"spec": {"size": 0}}, AS_MERGE),
    ("PATCH", f"{GEAR}/g", {"spec": {"size": 5}}, AS_STRATEGIC),
    ("PATCH", f"{GEAR}/g/status", {"spec": {"size": 5}, "status": {"size": 4}}, AS_MERGE),
    ("PATCH", f"{GEAR}/g/scale", {"spec": {"replicas": 4}}, AS_MERGE),
    ("GET", f"{GEAR}/g", None, {}),
    ("GET", f"{GEAR}/g", None, AS_PARTIAL),
    ("GET", f"{CM}/m", None, AS_TABLE),
    ("GET", f"{CM}/absent", None, AS_TABLE),
    ("DELETE", f"{GEAR}/g", None, {}),
    ("POST", CM, a_map("fin", finalizers=["a.b/c"]), {}),
    ("DELETE", f"{CM}/fin", None, {}),
    ("POST", CM, a_map("fin"), {}),
    ("PATCH", f"{CM}/fin", {"metadata": {"finalizers": ["a.b/c", "a.b/d"]}}, AS_MERGE),
    ("PATCH", f"{CM}/fin", {"metadata": {"finalizers": None}}, AS_MERGE),
    ("GET", f"{CM}/fin", None, {}),
    ("DELETE", f"{CM}/m", None, {}),
    ("DELETE", f"{CRDS}/gears.verdict.test", None, {}),
    ("DELETE", "/api/v1/namespaces", None, {}),
    ("DELETE", "/api/v1/namespaces/default", None, {}),
    ("DELETE", "/api/v1/namespaces/kube-system?dryRun=All", None, {}),
    ("DELETE", NS, None, {}),
    ("POST", CM, a_map("late"), {}),
    ("GET", CM, None, {"Authorization": "Bearer nonsense"}),
]


def label(row: tuple[str, str, Any, dict[str, str]]) -> str:
    """A row's name in the verdict file; what was asked."""
    body = row[2].decode() if isinstance(row[2], bytes) else json.dumps(row[2])
    return " ".join([row[0], row[1], body if row[2] is not None else "", *row[3].values()]).rstrip()


def play(kubeconfig: Path) -> list[dict[str, Any]]:
    """Send every row; what each answered."""
    config = yaml.safe_load(kubeconfig.read_text())
    place = urlsplit(config["clusters"][0]["cluster"]["server"])
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    token = config["users"][0]["user"]["token"]

    def send(method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        assert place.hostname is not None
        link = http.client.HTTPSConnection(place.hostname, place.port, context=context, timeout=20)
        named = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **headers}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            link.request(method, path, data, named)
            answer = link.getresponse()
            text = answer.read()
        finally:
            link.close()
        return answer.status, json.loads(text) if text.startswith(b"{") else text.decode()

    found = []
    for method, path, body, headers in ROWS:
        if method == "UNTIL":  # a definition is served a moment after it is accepted
            deadline = time.monotonic() + 20
            while send("GET", path, None, {})[0] != 200 and time.monotonic() < deadline:
                time.sleep(0.05)
            found.append({"asked": f"UNTIL {path}"})
            continue
        code, answer = send(method, path, body, headers)
        asked: dict[str, Any] = {"asked": label((method, path, body, headers)), "code": code}
        found.append(asked | notes(answer))
    return found


def notes(answer: Any) -> dict[str, Any]:
    """What is compared: kind, count, generation, grace of a success; reason, message and causes of others."""
    if not isinstance(answer, dict):
        return {}
    if answer.get("kind") != "Status":
        meta = answer.get("metadata", {})
        marks = {name: meta[name] for name in ("generation", "deletionGracePeriodSeconds") if name in meta}
        count = {"items": len(answer["items"])} if "items" in answer else {}
        return {"kind": answer.get("kind"), **count, **marks}
    if answer.get("status") != "Failure":
        return {"kind": "Status"}
    details = answer.get("details") or {}
    fields = sorted({cause.get("field", "") for cause in details.get("causes", ())})
    refusal = {"kind": "Status", "reason": answer.get("reason", ""), "message": answer["message"]}
    about = {name: details[name] for name in ("name", "group", "kind") if name in details}
    return {**refusal, "about": about, **({"fields": fields} if fields else {})}
