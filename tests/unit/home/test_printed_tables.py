"""`kubectl get` shows what it shows on a cluster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.schema.objects import crd

from forebay.api import kinds
from forebay.api.meta import Json, Resource
from forebay.api.schema import kind_of_crd
from forebay.home.apiserver.printers.jsonpath import find
from forebay.home.apiserver.printers.words import duration
from forebay.home.apiserver.tables import table
from forebay.kit.clock import rfc3339

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def ago(**span: float) -> str:
    return rfc3339(NOW - timedelta(**span))


def shown(kind: type[Resource], raw: Json, *, wide: bool = False) -> dict[str, Any]:
    """Heading -> cell, as kubectl prints them."""
    raw.setdefault("metadata", {}).setdefault("name", "x")
    raw["metadata"].setdefault("creationTimestamp", ago(days=5, hours=17))
    made = table(kind, [kind(raw)], now=NOW)
    heads = made["columnDefinitions"]
    assert len(heads) == len(made["rows"][0]["cells"])
    cells = zip(heads, made["rows"][0]["cells"], strict=True)
    return {head["name"].upper(): cell for head, cell in cells if wide or not head["priority"]}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-0.5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (261, "4m21s"), (599,
        "9m59s"),
        (600, "10m"), (179 * 60, "179m"), (180 * 60, "3h"), (200 * 60, "3h20m"), (8 * 3600, "8h"), (47 *
        3600, "47h"),
        (48 * 3600, "2d"), ((5 * 24 + 17) * 3600, "5d17h"), (8 * 86400, "8d"), (729 * 86400, "729d"),
        (730 * 86400, "2y"), (740 * 86400, "2y10d"), (9 * 365 * 86400, "9y"),
    ],
)  # fmt: skip
def test_ages(seconds: float, text: str):
    assert duration(seconds) == text


def test_the_guides_daemonset():
    status = {
        "desiredNumberScheduled": 1, "currentNumberScheduled": 1, "numberReady": 1,
        "updatedNumberScheduled": 1,
        "numberAvailable": 1,
    }  # fmt: skip
    assert shown(kinds.DaemonSet, {"metadata": {"name": "workers-agent"}, "status": status}) == {
        "NAME": "workers-agent", "DESIRED": 1, "CURRENT": 1, "READY": 1, "UP-TO-DATE": 1, "AVAILABLE": 1,
        "NODE SELECTOR": "<none>", "AGE": "5d17h",
    }  # fmt: skip


def test_the_guides_job():
    status = {
        "succeeded": 1, "startTime": ago(seconds=1000), "completionTime": ago(seconds=1000 - 261),
        "conditions": [{"type": "Complete", "status": "True"}],
    }  # fmt: skip
    assert shown(kinds.Job, {"spec": {"completions": 1}, "status": status}) == {
        "NAME": "x", "STATUS": "Complete", "COMPLETIONS": "1/1", "DURATION": "4m21s", "AGE": "5d17h",
    }  # fmt: skip


def test_the_guides_claim():
    spec = {"volumeName": "m-download", "storageClassName": "local-storage", "volumeMode": "Filesystem"}
    status = {"phase": "Bound", "capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"]}
    raw = {"metadata": {"creationTimestamp": ago(hours=9)}, "spec": spec, "status": status}
    assert shown(kinds.PersistentVolumeClaim, raw) == {
        "NAME": "x", "STATUS": "Bound", "VOLUME": "m-download", "CAPACITY": "10Gi", "ACCESS MODES": "RWO",
        "STORAGECLASS": "local-storage", "VOLUMEATTRIBUTESCLASS": "<unset>", "AGE": "9h",
    }  # fmt: skip


def pod(status: Json, **more: Any) -> Json:
    containers = [{"name": "a"}, {"name": "b"}]
    return {
        "metadata": {"name": "p", **more.pop("metadata", {})},
        "spec": {"containers": containers, **more},
        "status": status,
    }


def waiting(reason: str, **more: Any) -> Json:
    return {"name": "a", "state": {"waiting": {"reason": reason}}, **more}


RUNNING = {"name": "a", "ready": True, "state": {"running": {}}}
DONE = {"name": "i", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
INIT = [{"name": "i"}, {"name": "j"}]


@pytest.mark.parametrize(
    ("raw", "ready", "status", "restarts"),
    [
        (pod({"phase": "Pending"}), "0/2", "Pending", "0"),
        (pod({"phase": "Running", "containerStatuses": [RUNNING, RUNNING]}), "2/2", "Running", "0"),
        (
            pod({"phase": "Pending", "initContainerStatuses": [DONE, {"name": "j", "state": {"running":
            {}}}]}, initContainers=INIT),
            "0/2", "Init:1/2", "0",
        ),
        (
            pod({"phase": "Pending", "initContainerStatuses": [waiting("CrashLoopBackOff",
            restartCount=2)]}, initContainers=INIT),
            "0/2", "Init:CrashLoopBackOff", "2",
        ),
        (
            pod({"phase": "Pending", "initContainerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]},
            initContainers=INIT),
            "0/2", "Init:ExitCode:3", "0",
        ),
        (
            pod({
                "phase": "Running",
                "containerStatuses": [
                    waiting("CrashLoopBackOff", restartCount=3, lastState={"terminated": {"finishedAt":
                    ago(seconds=5)}}),
                    RUNNING,
                ],
            }),
            "1/2", "CrashLoopBackOff", "3 (5s ago)",
        ),
        (pod({"phase": "Failed", "reason": "Evicted"}), "0/2", "Evicted", "0"),
        (pod({"phase": "Succeeded", "containerStatuses": [DONE]}), "0/2", "Completed", "0"),
        (pod({"phase": "Running", "containerStatuses": [RUNNING]}, metadata={"deletionTimestamp":
        ago(seconds=1)}), "1/2", "Terminating", "0"),
        (pod({"phase": "Pending", "containerStatuses": [waiting("ErrImagePull")]}), "0/2", "ErrImagePull",
        "0"),
        (
            pod({"phase": "Running", "containerStatuses": [DONE, RUNNING], "conditions": [{"type": "Ready",
            "status": "True"}]}),
            "1/2", "Running", "0",
        ),
        (
            pod({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 137,
            "signal": 9}}}]}),
            "0/2", "Signal:9", "0",
        ),
    ],
)  # fmt: skip
def test_the_status_of_pods(raw: Json, ready: str, status: str, restarts: str):
    cells = shown(kinds.Pod, raw)
    assert (cells["READY"], cells["STATUS"], cells["RESTARTS"]) == (ready, status, restarts)


def test_wide_columns_of_pods():
    cells = shown(kinds.Pod, pod({"podIPs": [{"ip": "127.0.0.1"}]}, nodeName="n"), wide=True)
    assert (cells["IP"], cells["NODE"], cells["NOMINATED NODE"]) == ("127.0.0.1", "n", "<none>")


def test_deployments_and_their_wide_columns():
    spec = {
        "replicas": 2, "selector": {"matchLabels": {"b": "1", "a": "2"}},
        "template": {"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "j"}]}},
    }  # fmt: skip
    status = {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1}
    cells = shown(kinds.Deployment, {"spec": spec, "status": status}, wide=True)
    assert (cells["READY"], cells["UP-TO-DATE"], cells["AVAILABLE"]) == ("1/2", 2, 1)
    assert (cells["CONTAINERS"], cells["IMAGES"], cells["SELECTOR"]) == ("c,d", "i,j", "a=2,b=1")


def test_nodes():
    raw = {
        "metadata": {"labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/a": ""}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "False"}],
            "nodeInfo": {"kubeletVersion": "v1"},
        },
    }
    cells = shown(kinds.Node, raw)
    assert (cells["STATUS"], cells["ROLES"], cells["VERSION"]) == (
        "NotReady,SchedulingDisabled",
        "a,worker",
        "v1",
    )


def test_services():
    spec = {
        "type": "ClusterIP",
        "clusterIPs": ["10.96.0.9"],
        "ports": [{"port": 80, "protocol": "TCP"}, {"port": 443, "nodePort": 30001, "protocol": "TCP"}],
    }
    cells = shown(kinds.Service, {"spec": spec})
    assert (cells["CLUSTER-IP"], cells["EXTERNAL-IP"], cells["PORT(S)"]) == (
        "10.96.0.9",
        "<none>",
        "80/TCP,443:30001/TCP",
    )
    assert shown(kinds.Service, {"spec": {"type": "LoadBalancer"}})["EXTERNAL-IP"] == "<pending>"


def test_events_of_both_groups():
    core = {
        "involvedObject": {"kind": "Pod", "name": "p"},
        "lastTimestamp": ago(minutes=2),
        "message": " hello\n",
    }
    new = {"regarding": {"kind": "Pod", "name": "p"}, "eventTime": ago(minutes=2), "note": "hello"}
    for kind, raw in ((kinds.Event, core), (kinds.EventV1, new)):
        cells = shown(kind, raw)
        assert (cells["LAST SEEN"], cells["OBJECT"], cells["MESSAGE"]) == ("2m", "pod/p", "hello")


def test_endpoint_slices_cut_long_lists():
    addresses = [{"addresses": [f"10.0.0.{n}"]} for n in range(5)]
    cells = shown(
        kinds.EndpointSlice, {"addressType": "IPv4", "endpoints": addresses, "ports": [{"port": 80}]}
    )
    assert (cells["PORTS"], cells["ENDPOINTS"]) == ("80", "10.0.0.0,10.0.0.1,10.0.0.2 + 2 more...")
    assert shown(kinds.EndpointSlice, {})["PORTS"] == "<unset>"


def test_inference_services_have_kserves_columns():
    status = {
        "url": "http://h/serving/a/b", "conditions": [{"type": "Ready", "status": "True"}],
        "components": {"predictor": {"latestReadyRevision": "r1", "traffic": [{"latestRevision": True,
        "percent": 100}]}},
    }  # fmt: skip
    cells = shown(kinds.InferenceService, {"status": status})
    assert list(cells) == [
        "NAME",
        "URL",
        "READY",
        "PREV",
        "LATEST",
        "PREVROLLEDOUTREVISION",
        "LATESTREADYREVISION",
        "AGE",
    ]
    assert (cells["URL"], cells["READY"], cells["PREV"], cells["LATEST"]) == (
        "http://h/serving/a/b",
        "True",
        None,
        100,
    )


def test_posted_columns_by_type():
    columns = [
        {"name": "Spec", "type": "string", "jsonPath": ".spec.cron"},
        {"name": "Count", "type": "integer", "jsonPath": ".spec.count"},
        {"name": "On", "type": "boolean", "jsonPath": ".spec.on"},
        {"name": "When", "type": "date", "jsonPath": ".status.when"},
        {"name": "Wide", "type": "string", "jsonPath": ".spec.map", "priority": 1},
    ]
    kind = kind_of_crd(crd({"type": "object"}, additionalPrinterColumns=columns), "v1")
    raw = {
        "spec": {"cron": "* *", "count": "x", "on": False, "map": {"a": 1}},
        "status": {"when": ago(hours=3)},
    }
    assert shown(kind, raw, wide=True) == {
        "NAME": "x", "SPEC": "* *", "COUNT": None, "ON": False, "WHEN": "3h", "WIDE": '{"a":1}',
    }  # fmt: skip
    assert list(shown(kind_of_crd(crd({"type": "object"}), "v1"), {})) == ["NAME", "AGE"]


@pytest.mark.parametrize("kind", kinds.ALL)
def test_every_kind_has_a_table_even_for_an_empty_object(kind: type[Resource]):
    assert "x" in shown(kind, {}, wide=True).values()


DOCUMENT = {
    "a": {"b.c": 1, "list": [{"k": "x", "v": 1}, {"k": "y", "v": 2}]},
    "metadata": {"labels": {"app.io/name": "n"}},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.list[0].k", ["x"]), (".a.list[-1].k", ["y"]), (".a.list[*].v", [1, 2]), ("{.a.list[1].v}", [2]),
        ('.a.list[?(@.k=="y")].v', [2]), (".a.list[?(@.k=='y')].v", [2]), (".a.list[?(@.v>1)].k", ["y"]),
        (".a.list[?(@.w)].k", []), (r".metadata.labels.app\.io/name", ["n"]),
        (".metadata.labels['app\\.io/name']", ["n"]), (".nothing.here", []), (".a.list[7]", []), (".a[", []),
        (".a.list[0:1].k", ["x"]), ("..v", [1, 2]), ("a.list[0].v", [1]),
    ],
)  # fmt: skip
def test_json_paths(path: str, found: list[Any]):
    assert find(DOCUMENT, path) == found


def test_rows_carry_what_was_asked_for():
    item = kinds.Secret({"metadata": {"name": "s"}, "data": {"a": "eA=="}})
    assert "data" not in table(kinds.Secret, [item], now=NOW)["rows"][0]["object"]
    assert table(kinds.Secret, [item], now=NOW, include="Object")["rows"][0]["object"] == item.raw
    assert table(kinds.Secret, [item], now=NOW, include="None")["rows"][0]["object"] is None
