"""Conversations of several requests in which a later one depends on an earlier answer.

Each is played against a real kube-apiserver and the embedded one; what it returns must be the same. Names
that a server makes up are never returned.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

MERGE = {"Content-Type": "application/merge-patch+json"}
CONTAINERS = [{"name": "c", "image": "i"}]


class Talk:
    """One client in a namespace of its own."""

    def __init__(self, kubeconfig: Path, ns: str) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        self._place = urlsplit(config["clusters"][0]["cluster"]["server"])
        self._token = config["users"][0]["user"]["token"]
        self._tls = ssl.create_default_context()
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self.maps = f"/api/v1/namespaces/{ns}/configmaps"
        self.deployments = f"/apis/apps/v1/namespaces/{ns}/deployments"
        self.pods = f"/api/v1/namespaces/{ns}/pods"
        self("POST", "/api/v1/namespaces", {"metadata": {"name": ns}})

    def __call__(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status code and answer."""
        assert self._place.hostname is not None
        link = http.client.HTTPSConnection(
            self._place.hostname, self._place.port, context=self._tls, timeout=20
        )
        named = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            link.request(method, path, None if body is None else json.dumps(body), named | (headers or {}))
            answer = link.getresponse()
            text = answer.read()
        finally:
            link.close()
        return answer.status, json.loads(text) if text.startswith(b"{") and b"\n{" not in text else text

    def ok(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """The answer of what must succeed."""
        code, answer = self(method, path, body, headers)
        assert code < 300, (method, path, code, answer)
        return answer

    def no(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """What a refusal says."""
        code, answer = self(method, path, body, headers)
        return [code, answer.get("reason", "")] if isinstance(answer, dict) else [code, ""]

    def events(self, path: str) -> list[list[Any]]:
        """All that a watch says until its `timeoutSeconds` are over: type, name and data of each."""
        text = self("GET", path)[1]
        lines = text.splitlines() if isinstance(text, bytes) else [json.dumps(text).encode()]
        found = [json.loads(line) for line in lines if line]
        return [[e["type"], e["object"]["metadata"].get("name"), e["object"].get("data")] for e in found]

    def map(self, name: str, **meta: Any) -> Any:
        """A ConfigMap, stored."""
        return self.ok("POST", self.maps, {"metadata": {"name": name, **meta}, "data": {"v": "1"}})

    def deployment(self, name: str = "d", **meta: Any) -> Any:
        """A Deployment, stored."""
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": CONTAINERS}}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        return self.ok("POST", self.deployments, {"metadata": {"name": name, **meta}, "spec": spec})

    def names(self, path: str) -> list[str]:
        return [item["metadata"]["name"] for item in self.ok("GET", path)["items"]]


Flow = Callable[[Talk], Any]
FLOWS: dict[str, Flow] = {}


def flow(function: Flow) -> Flow:
    """Register a conversation under its own name."""
    FLOWS[function.__name__.replace("_", "-")] = function
    return function


def values(page: Any) -> list[list[str]]:
    return [[item["metadata"]["name"], item["data"]["v"]] for item in page["items"]]


@flow
def pages_show_one_moment_whatever_is_written_meanwhile(t: Talk) -> Any:
    for name in ("a", "b", "c", "d", "e"):
        t.map(name, labels={"in": "yes"})
    first = t.ok("GET", f"{t.maps}?limit=2&labelSelector=in")
    whole = t.ok("GET", f"{t.maps}?limit=2&labelSelector=in&resourceVersion=0")
    t.map("aa", labels={"in": "yes"})
    t.map("cc", labels={"in": "yes"})
    t.ok("DELETE", f"{t.maps}/d")
    t.ok("PATCH", f"{t.maps}/e", {"data": {"v": "2"}}, MERGE)
    more = quote(first["metadata"]["continue"])
    second = t.ok("GET", f"{t.maps}?limit=2&labelSelector=in&continue={more}")
    third = t.ok("GET", f"{t.maps}?labelSelector=in&continue={quote(second['metadata']['continue'])}")
    same = {page["metadata"]["resourceVersion"] for page in (first, second, third)}
    seen = t.events(f"{t.maps}?watch=1&timeoutSeconds=1&labelSelector=in&resourceVersion={same.pop()}")
    return [values(first), values(second), values(third), not same, len(values(whole)) >= 2, seen]


@flow
def how_many_are_left_is_told_where_nothing_is_selected(t: Talk) -> Any:
    for name in ("a", "b", "c"):
        t.deployment(name, labels={"x": name})
    first = t.ok("GET", f"{t.deployments}?limit=1")["metadata"]
    chosen = t.ok("GET", f"{t.deployments}?limit=1&labelSelector=x")["metadata"]
    last = t.ok("GET", f"{t.deployments}?limit=2&continue={quote(first['continue'])}")["metadata"]
    return [first["remainingItemCount"], "remainingItemCount" in chosen, "continue" in chosen,
            "continue" in last, "remainingItemCount" in last]  # fmt: skip


@flow
def odd_ways_to_continue_are_refused(t: Talk) -> Any:
    for name in ("a", "b", "c"):
        t.map(name)
    more = quote(t.ok("GET", f"{t.maps}?limit=1")["metadata"]["continue"])
    return [t.no("GET", f"{t.maps}?limit=1&continue=nonsense"),
            t.no("GET", f"{t.maps}?limit=1&continue={more}&resourceVersion=1"),
            t.no("GET", f"{t.maps}?limit=1&continue={more}&resourceVersion=1&resourceVersionMatch=Exact"),
            t("GET", f"{t.maps}?limit=1&continue={more}&resourceVersion=0")[0]]  # fmt: skip


@flow
def a_list_may_be_of_an_earlier_moment(t: Talk) -> Any:
    at = t.map("a")["metadata"]["resourceVersion"]
    t.map("b")
    t.ok("PATCH", f"{t.maps}/a", {"data": {"v": "2"}}, MERGE)
    only = "labelSelector=!kubernetes.io/x&fieldSelector=metadata.name!%3Dkube-root-ca.crt"
    exact = t.ok("GET", f"{t.maps}?resourceVersion={at}&resourceVersionMatch=Exact&{only}")
    newer = t.ok("GET", f"{t.maps}?resourceVersion={at}&resourceVersionMatch=NotOlderThan&{only}")
    return [values(exact), exact["metadata"]["resourceVersion"] == at, values(newer),
            t.no("GET", f"{t.maps}?resourceVersion=0&resourceVersionMatch=Exact"),
            t("GET", f"{t.maps}?resourceVersion=0")[0],
            t("GET", f"{t.maps}/a?resourceVersion=0")[0]]  # fmt: skip


@flow
def label_selectors_of_sets(t: Talk) -> Any:
    t.map("one", labels={"env": "prod", "tier": "web"})
    t.map("two", labels={"env": "test"})
    t.map("three", labels={"tier": "db"})
    own = "fieldSelector=metadata.name!%3Dkube-root-ca.crt"
    asked = ("env in (prod)", "env in (prod,test)", "env notin (prod)", "env", "!env", "env=prod,tier",
             "env!=prod", "env==test", "tier in (web, db),!env", "env notin (prod,test),tier",
             "")  # fmt: skip
    found = [sorted(t.names(f"{t.maps}?labelSelector={quote(text)}&{own}")) for text in asked]
    wrong = ("env in ()", "env in prod", "in (a)", "env in (a", "env=a=b", "=a", "env notin", "a>b", "x y")
    return [found, [t.no("GET", f"{t.maps}?labelSelector={quote(text)}") for text in wrong]]


@flow
def watches_resume_and_tell_marks(t: Talk) -> Any:
    since = t.map("a")["metadata"]["resourceVersion"]
    t.map("b", labels={"x": "1"})
    middle = t.ok("PATCH", f"{t.maps}/a", {"data": {"v": "2"}}, MERGE)["metadata"]["resourceVersion"]
    t.ok("PATCH", f"{t.maps}/b", {"metadata": {"labels": {"x": None}}}, MERGE)
    t.ok("DELETE", f"{t.maps}/a")
    base = f"{t.maps}?watch=1&timeoutSeconds=1"
    one = "&fieldSelector=metadata.name%3Da"
    return [t.events(f"{base}&resourceVersion={since}"), t.events(f"{base}&resourceVersion={middle}"),
            t.events(f"{base}&labelSelector=x&resourceVersion={since}"),
            t.events(f"{base}{one}&resourceVersion={since}")]  # fmt: skip


@flow
def a_status_write_is_nothing_else_and_a_spec_write_no_status(t: Talk) -> Any:
    made = t.deployment()
    path = f"{t.deployments}/d"
    status = {"replicas": 1, "observedGeneration": 1, "conditions": []}
    changed = {**made, "spec": {**made["spec"], "replicas": 7}, "status": status}
    changed["metadata"] = {**made["metadata"], "labels": {"new": "label"}}
    one = t.ok("PUT", f"{path}/status", changed)
    two = t.ok("PATCH", path, {"spec": {"replicas": 3}, "status": {"replicas": 9}}, MERGE)
    three = t.ok("PATCH", f"{path}/status", {"status": {"replicas": 2}}, MERGE)
    return [
        [o["spec"]["replicas"], o["status"].get("replicas"), o["metadata"]["generation"],
         o["metadata"].get("labels")] for o in (one, two, three)
    ] + [t.no("PUT", f"{path}/status", changed), t.no("GET", f"{t.maps}/absent/status")]  # fmt: skip


@flow
def a_scale_is_a_view_of_its_object(t: Talk) -> Any:
    made = t.deployment()
    path = f"{t.deployments}/d/scale"
    scale = t.ok("GET", path)
    told = [scale["kind"], scale["apiVersion"], scale["spec"], scale["status"]]
    scale["spec"]["replicas"] = 4
    written = t.ok("PUT", path, scale)
    old = t.no("PUT", path, {**scale, "spec": {"replicas": 5}})
    scale["metadata"].pop("resourceVersion")
    free = t.ok("PUT", path, {**scale, "spec": {"replicas": 6}})
    same = written["metadata"]["uid"] == made["metadata"]["uid"]
    after = t.ok("GET", f"{t.deployments}/d")
    return [
        told,
        written["spec"],
        old,
        free["spec"],
        same,
        after["spec"]["replicas"],
        after["metadata"]["generation"],
    ]


@flow
def deletions_leave_the_finalizers_they_were_asked_for(t: Talk) -> Any:
    out = []
    for number, policy in enumerate(("Foreground", "Orphan", "Background")):
        t.map(f"m{number}", finalizers=["example.com/own"])
        body = {"propagationPolicy": policy}
        t.ok("DELETE", f"{t.maps}/m{number}", body)
        left = t.ok("GET", f"{t.maps}/m{number}")["metadata"]
        out.append([policy, sorted(left["finalizers"]), "deletionTimestamp" in left,
                    left.get("deletionGracePeriodSeconds")])  # fmt: skip
    t.map("plain")
    t.ok("DELETE", f"{t.maps}/plain", {"propagationPolicy": "Foreground"})
    left = t.ok("GET", f"{t.maps}/plain")["metadata"]["finalizers"]
    gone = t.ok("PATCH", f"{t.maps}/plain", {"metadata": {"finalizers": []}}, MERGE)["metadata"]
    return [out, left, "deletionTimestamp" in gone, t.no("GET", f"{t.maps}/plain")]


@flow
def preconditions_hold_a_deletion_back(t: Talk) -> Any:
    meta = t.map("m")["metadata"]
    t.ok("PATCH", f"{t.maps}/m", {"data": {"v": "2"}}, MERGE)
    old = t.no("DELETE", f"{t.maps}/m", {"preconditions": {"resourceVersion": meta["resourceVersion"]}})
    foreign = t.no("DELETE", f"{t.maps}/m", {"preconditions": {"uid": "not-mine"}})
    now = t.ok("GET", f"{t.maps}/m")["metadata"]
    both = {"uid": now["uid"], "resourceVersion": now["resourceVersion"]}
    return [old, foreign, t("DELETE", f"{t.maps}/m", {"preconditions": both})[0], t.no("GET", f"{t.maps}/m")]


@flow
def a_collection_is_deleted_by_what_is_selected(t: Talk) -> Any:
    for name, label in (("a", "x"), ("b", "x"), ("c", "y"), ("d", "y")):
        t.map(name, labels={"k": label})
    t.map("held", labels={"k": "z"}, finalizers=["example.com/own"])
    own = "fieldSelector=metadata.name!%3Dkube-root-ca.crt"
    dry = t.ok("DELETE", f"{t.maps}?labelSelector=k%3Dx&dryRun=All")
    untouched = sorted(t.names(f"{t.maps}?{own}"))
    done = t.ok("DELETE", f"{t.maps}?labelSelector=k%3Dx")
    one = t.ok("DELETE", f"{t.maps}?fieldSelector=metadata.name%3Dc")
    t.ok("DELETE", f"{t.maps}?labelSelector=k%3Dz")
    return [dry["kind"], untouched, done["kind"], len(done["items"]), one["kind"],
            sorted(t.names(f"{t.maps}?{own}"))]  # fmt: skip


@flow
def a_dry_run_of_any_verb_changes_nothing(t: Talk) -> Any:
    made = t.map("m")
    t.deployment()
    dry = "dryRun=All"
    answers = [
        t("POST", f"{t.maps}?{dry}", {"metadata": {"name": "new"}})[0],
        t("POST", f"{t.maps}?{dry}", {"metadata": {"name": "m"}})[0],
        t.ok("PUT", f"{t.maps}/m?{dry}", {**made, "data": {"v": "2"}})["data"],
        t.ok("PATCH", f"{t.maps}/m?{dry}", {"data": {"v": "3"}}, MERGE)["data"],
        t.ok("PATCH", f"{t.deployments}/d/scale?{dry}", {"spec": {"replicas": 9}}, MERGE)["spec"],
        t.ok("PATCH", f"{t.deployments}/d/status?{dry}", {"status": {"replicas": 9}}, MERGE)["status"].get(
            "replicas"
        ),
        t("DELETE", f"{t.maps}/m?{dry}")[0],
        t("DELETE", f"{t.maps}/m", {"dryRun": ["All"]})[0],
        t("DELETE", f"{t.maps}/absent?{dry}")[0],
        t.no("PUT", f"{t.maps}/m?{dry}", {**made, "metadata": {**made["metadata"], "resourceVersion": "1"}}),
    ]
    after, deployment = t.ok("GET", f"{t.maps}/m"), t.ok("GET", f"{t.deployments}/d")
    return [answers, after == made, deployment["spec"]["replicas"], t.no("GET", f"{t.maps}/new")]


@flow
def what_a_server_owns_a_client_does_not_change(t: Talk) -> Any:
    made = t.ok("POST", t.deployments, {
        "metadata": {"name": "d", "generation": 77, "creationTimestamp": "2001-01-01T00:00:00Z",
                     "deletionTimestamp": "2001-01-01T00:00:00Z", "deletionGracePeriodSeconds": 3,
                     "selfLink": "/nowhere"},
        "spec": {"selector": {"matchLabels": {"a": "b"}},
                 "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": CONTAINERS}}},
    })  # fmt: skip
    path = f"{t.deployments}/d"
    meta = {**made["metadata"], "generation": 99, "creationTimestamp": "2001-01-01T00:00:00Z"}
    put = t.ok("PUT", path, {**made, "metadata": meta})
    kept = [
        put["metadata"][name] == made["metadata"][name] for name in ("creationTimestamp", "generation", "uid")
    ]
    foreign = t.no("PUT", path, {**made, "metadata": {**made["metadata"], "uid": "another"}})
    return [made["metadata"]["generation"], "deletionTimestamp" in made["metadata"], kept, foreign,
            put["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]]  # fmt: skip


@flow
def drawn_names_differ_and_are_cut_to_fit(t: Talk) -> Any:
    body = {"metadata": {"generateName": "x-"}}
    drawn = {t.ok("POST", t.maps, body)["metadata"]["name"] for _ in range(30)}
    long = t.ok("POST", t.maps, {"metadata": {"generateName": "n" * 62 + "-"}})["metadata"]["name"]
    both = t.ok("POST", t.maps, {"metadata": {"name": "own", "generateName": "x-"}})["metadata"]["name"]
    return [len(drawn), {len(name) for name in drawn} == {7}, len(long), long[:58] == "n" * 58, both,
            t.no("POST", t.maps, {"metadata": {"generateName": "Not-Good-"}})]  # fmt: skip


@flow
def field_managers_are_looked_at_and_nothing_else(t: Talk) -> Any:
    body = {"metadata": {"name": "m"}}
    return [t("POST", f"{t.maps}?fieldManager=me", body)[0],
            t("PATCH", f"{t.maps}/m?fieldManager=me", {"data": {"a": "b"}}, MERGE)[0],
            t.no("PATCH", f"{t.maps}/m?fieldManager={'x' * 129}", {"data": {"a": "c"}}, MERGE),
            t.no("POST", f"{t.maps}?fieldManager={'x' * 129}", {"metadata": {"name": "n"}}),
            t.no("PUT", f"{t.maps}/m?fieldManager=a%0Ab", {"metadata": {"name": "m"}}),
            t.no("DELETE", f"{t.maps}/absent?fieldManager=me")]  # fmt: skip


@flow
def patches_that_meet_a_newer_object_clash(t: Talk) -> Any:
    old = t.map("m")["metadata"]["resourceVersion"]
    now = t.ok("PATCH", f"{t.maps}/m", {"data": {"v": "2"}}, MERGE)["metadata"]["resourceVersion"]
    json_patch = {"Content-Type": "application/json-patch+json"}
    guarded = [{"op": "test", "path": "/metadata/resourceVersion", "value": old},
               {"op": "add", "path": "/data/w", "value": "1"}]  # fmt: skip
    return [t.no("PATCH", f"{t.maps}/m", {"metadata": {"resourceVersion": old}, "data": {"v": "3"}}, MERGE),
            t("PATCH", f"{t.maps}/m", {"metadata": {"resourceVersion": now}, "data": {"v": "3"}}, MERGE)[0],
            t.no("PATCH", f"{t.maps}/m", guarded, json_patch),
            t.ok("GET", f"{t.maps}/m")["data"]]  # fmt: skip


@flow
def a_null_in_a_list_is_an_empty_value(t: Talk) -> Any:
    odd = ({"finalizers": [None]}, {"ownerReferences": [None]}, {"finalizers": [{}]}, {"labels": {"a": None}})
    refused = [t.no("POST", t.maps, {"metadata": {"name": f"m{n}", **more}}) for n, more in enumerate(odd)]
    refused.append(t.no("PATCH", f"{t.maps}/m3", {"metadata": {"finalizers": [None]}}, MERGE))
    return refused
