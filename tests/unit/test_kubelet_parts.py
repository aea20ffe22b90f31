"""Images, ports, probes' counting, recovery and the status of a pod."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest

from forebay.api.meta import Json
from forebay.errors import Invalid
from forebay.home import images
from forebay.home.kubelet import account, node, ports
from forebay.home.kubelet.decide import Decision, decide
from forebay.home.kubelet.probes import Count, counted
from forebay.home.kubelet.state import Ended, PodSeen, Waiting, pod_plan, recovered
from forebay.home.kubelet.status import About, pod_status, qos_class
from forebay.kit.clock import parse_rfc3339


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("kserve/storage-initializer:latest", "kserve/storage-initializer"),
        ("docker.io/kserve/storage-initializer:v0.15@sha256:00", "kserve/storage-initializer"),
        ("localhost:5000/forebay/node", "forebay/node"),
        ("localhost/forebay/node:x", "forebay/node"),
        ("busybox", "busybox"),
        ("busybox:1.36", "busybox"),
    ],
)
def test_registry_tag_and_digest_do_not_matter(image: str, name: str) -> None:
    assert images.repository(image) == name


def test_known_images_are_programs_of_this_interpreter() -> None:
    argv = images.resolve("ghcr.io/kserve/huggingfaceserver:v1")
    assert argv is not None and argv[0] == sys.executable and argv[-1] == "llama"
    assert images.resolve("nginx") is None
    assert images.resolve("x/nginx:2", {"x/nginx": ("serve",)}) == ["serve"]
    assert "`nginx: [program, argument]`" in images.refusal("nginx:1")


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("nginx", ""), ("nginx:1.2", ""), ("host:5000/a/b-c__d:v1", ""), ("Host.Example/a", ""),
        (f"ghcr.io/kserve/agent:v1@sha256:{'a' * 64}", ""),
        ("a:::", "invalid reference format"), ("-a", "invalid reference format"),
        ("a@sha256:12", "invalid reference format"), ("a b", "invalid reference format"),
        ("nginx:1\n", "invalid reference format"),
        ("Upper/Case", "invalid reference format: repository name (Upper/Case) must be lowercase"),
    ],
)  # fmt: skip
def test_an_image_name_that_cannot_be_read(image: str, why: str) -> None:
    told = f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": {why}'
    assert images.unreadable(image) == (told if why else "")


def test_extra_images_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "images.yaml"
    assert images.read_extra(path) == {}
    path.write_text("nginx: [web, --fast]\nredis: redis-server --port 1\n")
    assert images.read_extra(path) == {"nginx": ("web", "--fast"), "redis": ("redis-server", "--port", "1")}
    for bad in ("- a", "nginx: 3", "nginx: []", "a: [b: c]", "{"):
        path.write_text(bad)
        with pytest.raises(Invalid, match=r"images\.yaml"):
            images.read_extra(path)


def pod(spec: Json, **annotations: str) -> Json:
    return {"metadata": {"name": "p", "namespace": "d", "annotations": annotations}, "spec": spec}


def test_ports_are_real_free_and_not_given_twice() -> None:
    book = ports.PortBook()
    spec = {
        "containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "web"}, {"containerPort": 81}]}]
    }
    first, second = ports.assign(pod(spec), book), ports.assign(pod(spec), book)
    assert set(first) == {"80", "81"}
    assert len({*first.values(), *second.values()}) == 4
    assert ports.assign(pod({"containers": [{"name": "a"}]}), book).keys() == {"8080"}
    container = spec["containers"][0]
    assert ports.environment(container, first) == {
        "PORT": str(first["80"]), "PORT_80": str(first["80"]), "PORT_81": str(first["81"]),
    }  # fmt: skip
    assert ports.real_port(container, "web", first) == first["80"]
    assert ports.real_port(container, 81, first) == first["81"]
    assert ports.real_port(container, 9999, first) == 9999
    assert ports.real_port(container, "nope", first) is None


def test_a_host_port_is_the_real_port_and_the_annotation_is_kept_where_it_is_free() -> None:
    book = ports.PortBook()
    spec = {"containers": [{"name": "a", "ports": [{"containerPort": 80, "hostPort": 12345}]}]}
    assert ports.assign(pod(spec), book) == {"80": 12345}
    plain = {"containers": [{"name": "a", "ports": [{"containerPort": 80}]}]}
    before = book.take()
    book.give_back({"80": before})
    kept = pod(plain, **{ports.ANNOTATION: json.dumps({"80": before})})
    assert ports.assign(kept, book) == {"80": before}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = taken.getsockname()[1]
        other = pod(plain, **{ports.ANNOTATION: json.dumps({"80": busy})})
        assert ports.assign(other, book)["80"] != busy
    assert ports.read(pod(plain, **{ports.ANNOTATION: "[]"})) == {}


def test_thresholds_count_answers_in_a_row() -> None:
    probe = {"failureThreshold": 2, "successThreshold": 2}
    count = Count()
    verdicts = []
    for ok in (False, True, False, False, True, True):
        count = counted(count, ok, probe)
        verdicts.append(count.verdict)
    assert verdicts == [None, None, None, False, False, True]


def plan_of(**spec: Json) -> Json:
    return {"containers": [{"name": "main"}], **spec}


def status_of(state: Json, **more: Json) -> Json:
    return {"phase": "Running", "startTime": "2026-01-31T12:00:00Z",
            "containerStatuses": [{"name": "main", "state": state, "restartCount": 2, **more}]}  # fmt: skip


NOW = parse_rfc3339("2026-01-31T13:00:00Z").timestamp()


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
def test_what_ran_when_the_home_died_starts_anew_whatever_the_policy(policy: str) -> None:
    plan = pod_plan(plan_of(restartPolicy=policy))
    seen = recovered(plan, status_of({"running": {"startedAt": "2026-01-31T12:00:05Z"}}), NOW)
    main = seen.containers["main"]
    assert main.runs == 3 and isinstance(main.state, Waiting)
    assert main.last is not None and main.last.reason == "ContainerStatusUnknown" and main.last.code == 137
    assert seen.started_at == parse_rfc3339("2026-01-31T12:00:00Z").timestamp()


def test_what_had_ended_for_good_stays_ended() -> None:
    state = {"terminated": {"exitCode": 0, "finishedAt": "2026-01-31T12:10:00Z"}}
    plan = pod_plan(plan_of(restartPolicy="OnFailure"))
    main = recovered(plan, status_of(state), NOW).containers["main"]
    assert isinstance(main.state, Ended) and main.state.code == 0
    always = recovered(pod_plan(plan_of()), status_of(state), NOW).containers["main"]
    assert isinstance(always.state, Waiting)
    finished = recovered(plan, status_of(state) | {"phase": "Failed", "reason": "Evicted"}, NOW)
    assert finished.outcome is not None and finished.outcome.reason == "Evicted"
    assert decide(plan, finished, NOW).actions == ()


def test_a_new_pod_waits_for_its_init_containers_and_says_so() -> None:
    plan = pod_plan(plan_of(initContainers=[{"name": "first"}]))
    seen = recovered(plan, {}, NOW)
    about = About(pod({}), {})
    status = pod_status(about, plan, seen, Decision(), NOW)
    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    conditions = {c["type"]: c for c in status["conditions"]}
    assert conditions["Initialized"]["message"] == "containers with incomplete status: [first]"
    assert conditions["Ready"]["message"] == "containers with unready status: [main]"
    assert conditions["PodScheduled"]["status"] == "True"


def test_transition_times_and_foreign_conditions_are_kept() -> None:
    plan = pod_plan(plan_of())
    seen = PodSeen(recovered(plan, {}, NOW).containers, NOW)
    raw = pod({})
    raw["status"] = pod_status(About(raw, {}), plan, seen, Decision(), NOW)
    raw["status"]["conditions"].append({"type": "example.com/gate", "status": "True"})
    later = pod_status(About(raw, {}), plan, seen, Decision(), NOW + 60)
    assert later["conditions"] == raw["status"]["conditions"]


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m"}}, "Guaranteed"),
        ({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}}, "Burstable"),
    ],
)
def test_quality_of_service(resources: Json, qos: str) -> None:
    assert qos_class({"containers": [{"name": "a", "resources": resources}]}) == qos


def test_the_account_and_its_kubeconfig(tmp_path: Path) -> None:
    robot = pod({"serviceAccountName": "robot"})
    assert (account.name(robot), account.name(pod({}))) == ("robot", "default")
    assert account.wants_token(robot, None)
    assert not account.wants_token(robot, {"automountServiceAccountToken": False})
    assert account.wants_token(
        pod({"automountServiceAccountToken": True}), {"automountServiceAccountToken": False}
    )
    path = tmp_path / "kubeconfig"
    account.write_kubeconfig(
        path, api_url="https://127.0.0.1:1", ca_file=Path("/ca"), token="t", namespace="d"
    )
    assert path.stat().st_mode & 0o777 == 0o600
    env = account.environment(path, "https://127.0.0.1:6443")
    assert env == {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "6443",
                   "KUBECONFIG": str(path)}  # fmt: skip


def test_a_nodes_capacity_is_the_machines_with_what_was_given(tmp_path: Path) -> None:
    capacity = node.capacity_of({"cpu": "8", "nvidia.com/gpu": "1"}, tmp_path / "not" / "yet")
    assert capacity["cpu"] == "8" and capacity["nvidia.com/gpu"] == "1" and capacity["pods"] == "110"
    assert int(capacity["memory"].removesuffix("Ki")) > 0
    assert node.node_labels("w", {"kubernetes.io/hostname": "other"})["kubernetes.io/hostname"] == "other"
    now = parse_rfc3339("2026-01-31T13:00:00Z")
    first = node.node_status({}, name="w", capacity=capacity, now=now)
    later = node.node_status(first, name="w", capacity=capacity, now=parse_rfc3339("2026-01-31T14:00:00Z"))
    ready = next(c for c in later["conditions"] if c["type"] == "Ready")
    assert ready["lastTransitionTime"] == "2026-01-31T13:00:00Z"
    assert ready["lastHeartbeatTime"] == "2026-01-31T14:00:00Z"
