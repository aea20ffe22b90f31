"""Deleting, waiting, scaling, dry runs, field checks and posted kinds, with the real kubectl."""

from __future__ import annotations

import json

import pytest
from tests.service.kubectl import ApiServer
from tests.service.test_apiserver_kubectl import DEPLOYMENT, names

pytestmark = pytest.mark.kubectl

POD = """
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {nodeName: n1, containers: [{name: main, image: x}]}
"""
WIDGETS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.test}
spec:
  group: example.test
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}}
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            properties: {size: {type: integer, minimum: 1}, colour: {type: string, default: red}}
          status: {type: object, properties: {size: {type: integer}}}
  - name: v1beta1
    served: true
    storage: false
    deprecated: true
    schema:
      openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}
"""
WIDGET = "apiVersion: example.test/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: 2}\n"


def test_delete_waits_for_finalizers(apiserver: ApiServer, ns: str) -> None:
    apiserver("create", "-n", ns, "configmap", "c")
    apiserver("patch", "-n", ns, "cm", "c", "-p", '{"metadata":{"finalizers":["example.test/hold"]}}')
    deleting = apiserver.popen("delete", "-n", ns, "cm", "c")
    waiting = apiserver.popen(
        "wait", "-n", ns, "--for=jsonpath={.metadata.deletionTimestamp}", "cm/c", "--timeout=20s"
    )
    waiting.communicate(timeout=30)
    assert waiting.returncode == 0 and deleting.poll() is None
    refused = apiserver.run(
        "patch", "-n", ns, "cm", "c", "-p", '{"metadata":{"finalizers":["example.test/two"]}}'
    )
    assert refused.code == 1 and "no new finalizers can be added" in refused.err
    apiserver("patch", "-n", ns, "cm", "c", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    out, err = deleting.communicate(timeout=30)
    assert deleting.returncode == 0, err
    assert 'configmap "c" deleted' in out


@pytest.mark.parametrize(
    ("cascade", "finalizer"), [("foreground", "foregroundDeletion"), ("orphan", "orphan")]
)
def test_delete_with_a_cascade_leaves_its_finalizer(
    apiserver: ApiServer, ns: str, cascade: str, finalizer: str
) -> None:
    apiserver("apply", "-n", ns, "-f", "-", stdin=DEPLOYMENT)
    apiserver("delete", "-n", ns, "deploy", "web", f"--cascade={cascade}", "--wait=false")
    found = apiserver.json(ns, "deploy", "web")
    assert found["metadata"]["finalizers"] == [finalizer] and found["metadata"]["deletionTimestamp"]


def test_delete_by_label_by_file_and_of_all(apiserver: ApiServer, ns: str) -> None:
    for name in ("a", "b", "c"):
        apiserver("create", "-n", ns, "configmap", name)
    apiserver("label", "-n", ns, "cm", "a", "x=1")
    apiserver("delete", "-n", ns, "cm", "-l", "x=1")
    assert names(apiserver("get", "-n", ns, "cm", "--no-headers")) == ["b", "c"]
    apiserver("delete", "-n", ns, "cm", "--all")
    assert apiserver("get", "-n", ns, "cm", "--no-headers") == ""
    assert apiserver("delete", "-n", ns, "cm", "nope", "--ignore-not-found") == ""


def test_a_bound_pod_is_marked_and_goes_with_grace_zero(apiserver: ApiServer, ns: str) -> None:
    apiserver("create", "-n", ns, "-f", "-", stdin=POD)
    apiserver("delete", "-n", ns, "pod", "p", "--wait=false", "--grace-period=5")
    found = apiserver.json(ns, "pod", "p")
    assert found["metadata"]["deletionGracePeriodSeconds"] == 5
    apiserver("delete", "-n", ns, "pod", "p", "--force", "--grace-period=0")
    assert apiserver.run("get", "-n", ns, "pod", "p").code == 1


def test_wait_for_a_condition_of_another_writer(apiserver: ApiServer, ns: str) -> None:
    apiserver("apply", "-n", ns, "-f", "-", stdin=DEPLOYMENT)
    waiting = apiserver.popen("wait", "-n", ns, "--for=condition=Available", "deploy/web", "--timeout=20s")
    status = {"status": {"observedGeneration": 1, "conditions": [{"type": "Available", "status": "True"}]}}
    apiserver(
        "patch", "-n", ns, "deploy", "web", "--subresource=status", "--type=merge", "-p", json.dumps(status)
    )
    out, err = waiting.communicate(timeout=30)
    assert "condition met" in out, err


def test_rollout_status_follows_and_restart_annotates(apiserver: ApiServer, ns: str) -> None:
    apiserver("apply", "-n", ns, "-f", "-", stdin=DEPLOYMENT)
    apiserver("rollout", "restart", "-n", ns, "deploy/web")
    following = apiserver.popen("rollout", "status", "-n", ns, "deploy/web", "--timeout=20s")
    done = {
        "observedGeneration": 2,
        "replicas": 2,
        "updatedReplicas": 2,
        "availableReplicas": 2,
        "readyReplicas": 2,
    }
    apiserver(
        "patch",
        "-n",
        ns,
        "deploy",
        "web",
        "--subresource=status",
        "--type=merge",
        "-p",
        json.dumps({"status": done}),
    )
    out, err = following.communicate(timeout=30)
    assert "successfully rolled out" in out, err
    template = apiserver.json(ns, "deploy", "web")["spec"]["template"]
    assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]


def test_scale_with_and_without_precondition(apiserver: ApiServer, ns: str) -> None:
    apiserver("apply", "-n", ns, "-f", "-", stdin=DEPLOYMENT)
    assert "scaled" in apiserver("scale", "-n", ns, "deploy/web", "--replicas=3", "--current-replicas=2")
    wrong = apiserver.run("scale", "-n", ns, "deploy/web", "--replicas=4", "--current-replicas=2")
    assert wrong.code == 1
    assert apiserver("get", "-n", ns, "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "3"


def test_a_dry_run_at_the_server_stores_nothing(apiserver: ApiServer, ns: str) -> None:
    out = apiserver("create", "-n", ns, "-f", "-", "--dry-run=server", "-o", "json", stdin=DEPLOYMENT)
    assert json.loads(out)["spec"]["strategy"]["type"] == "RollingUpdate"
    assert apiserver.run("get", "-n", ns, "deploy", "web").code == 1
    apiserver("create", "-n", ns, "configmap", "c")
    apiserver("delete", "-n", ns, "cm", "c", "--dry-run=server")
    apiserver("label", "-n", ns, "cm", "c", "a=b", "--dry-run=server")
    found = apiserver.json(ns, "cm", "c")
    assert "labels" not in found["metadata"]


def test_an_unknown_field_is_an_error_a_warning_or_nothing(apiserver: ApiServer, ns: str) -> None:
    wrong = DEPLOYMENT.replace("  replicas: 2", "  replicaz: 2")
    strict = apiserver.run("create", "-n", ns, "-f", "-", stdin=wrong)
    assert strict.code == 1 and 'strict decoding error: unknown field "spec.replicaz"' in strict.err
    warned = apiserver.run("create", "-n", ns, "-f", "-", "--validate=warn", stdin=wrong)
    assert warned.code == 0 and 'Warning: unknown field "spec.replicaz"' in warned.err
    apiserver("delete", "-n", ns, "deploy", "web")
    ignored = apiserver.run("create", "-n", ns, "-f", "-", "--validate=ignore", stdin=wrong)
    assert ignored.code == 0 and "replicaz" not in ignored.err
    found = apiserver.json(ns, "deploy", "web")
    assert "replicaz" not in found["spec"]


def test_an_unknown_field_of_a_kind_of_ours_is_named(apiserver: ApiServer) -> None:
    wrong = """
apiVersion: serving.kserve.io/v1alpha1
kind: LocalModelCache
metadata: {name: wrong}
spec: {sourceModelUri: "hf://a/b", modelSize: 1Gi, nodeGroups: [workers], colour: red}
"""
    result = apiserver.run("apply", "-f", "-", stdin=wrong)
    assert result.code == 1 and 'unknown field "spec.colour"' in result.err


def test_a_wrong_type_is_told_in_gos_words(apiserver: ApiServer, ns: str) -> None:
    wrong = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: 1}\n"
    result = apiserver.run("create", "-n", ns, "-f", "-", stdin=wrong)
    assert "cannot unmarshal number into Go struct field ConfigMap.data of type string" in result.err


def test_namespaced_objects_need_their_namespace(apiserver: ApiServer) -> None:
    result = apiserver.run("create", "-n", "nowhere", "configmap", "c")
    assert result.code == 1 and 'namespaces "nowhere" not found' in result.err


def test_nothing_new_enters_a_namespace_that_goes(apiserver: ApiServer, ns: str) -> None:
    apiserver("delete", "namespace", ns, "--wait=false")
    result = apiserver.run("create", "-n", ns, "configmap", "c")
    assert result.code == 1 and "because it is being terminated" in result.err
    assert "Terminating" in apiserver("get", "ns", ns)


def test_logs_of_a_pod(apiserver: ApiServer, ns: str) -> None:
    apiserver("create", "-n", ns, "-f", "-", stdin=POD)
    early = apiserver.run("logs", "-n", ns, "p")
    assert 'container "main" in pod "p" is waiting to start: ContainerCreating' in early.err
    running = {"name": "main", "state": {"running": {}}, "ready": True, "restartCount": 0}
    running |= {"image": "x", "imageID": ""}
    apiserver.patch_status(ns, "pod/p", phase="Running", containerStatuses=[running])
    assert apiserver("logs", "-n", ns, "p") == "p/main line 1\nline 2\n"
    assert apiserver("logs", "-n", ns, "p", "-f").endswith("line 3\n")
    previous = apiserver.run("logs", "-n", ns, "p", "--previous")
    assert 'previous terminated container "main" in pod "p" not found' in previous.err
    assert "container nope is not valid" in apiserver.run("logs", "-n", ns, "p", "-c", "nope").err


@pytest.mark.parametrize("words", [("exec", "p", "--", "ls"), ("attach", "p"), ("port-forward", "p", "1:1")])
def test_what_is_not_there_says_so(apiserver: ApiServer, ns: str, words: tuple[str, ...]) -> None:
    apiserver("create", "-n", ns, "-f", "-", stdin=POD)
    apiserver.patch_status(ns, "pod/p", phase="Running")
    result = apiserver.run(words[0], "-n", ns, *words[1:])
    assert result.code != 0 and "not supported by this server" in result.err + result.out


def test_a_posted_kind_is_served_and_vanishes(apiserver: ApiServer, ns: str) -> None:
    apiserver("create", "-f", "-", stdin=WIDGETS)
    apiserver("wait", "--for=condition=Established", "crd/widgets.example.test", "--timeout=10s")
    apiserver("apply", "-n", ns, "-f", "-", stdin=WIDGET)
    rows = apiserver("get", "-n", ns, "wd").splitlines()
    assert rows[0].split() == ["NAME", "SIZE"] and rows[1].split() == ["w", "2"]
    assert apiserver("get", "-n", ns, "wd", "w", "-o", "jsonpath={.spec.colour}") == "red"
    assert "size" in apiserver("explain", "widgets.spec")
    many = apiserver.run("apply", "-n", ns, "-f", "-", stdin=WIDGET.replace("size: 2", "size: 0"))
    assert 'The Widget "w" is invalid: spec.size: Invalid value: 0' in many.err
    unknown = apiserver.run(
        "create", "-n", ns, "-f", "-", stdin=WIDGET.replace("{size: 2}", "{size: 2, x: 1}")
    )
    assert 'unknown field "spec.x"' in unknown.err
    apiserver("scale", "-n", ns, "wd/w", "--replicas=7")
    assert apiserver("get", "-n", ns, "wd", "w", "-o", "jsonpath={.spec.size}") == "7"
    assert "deprecated" in apiserver.run("get", "-n", ns, "widgets.v1beta1.example.test").err
    apiserver("delete", "crd", "widgets.example.test")
    gone = apiserver.run("get", "-n", ns, "widgets")
    assert gone.code == 1 and "the server could not find the requested resource" in gone.err
    assert "widgets" not in apiserver("api-resources")
    apiserver("create", "-f", "-", stdin=WIDGETS)
    assert apiserver("get", "-n", ns, "widgets", "--no-headers") == ""
    apiserver("delete", "crd", "widgets.example.test")


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
def test_kubernetes_own_namespaces_may_not_be_deleted(apiserver: ApiServer, name: str) -> None:
    for more in ((), ("--dry-run=server",)):
        result = apiserver.run("delete", "namespace", name, *more)
        told = f'namespaces "{name}" is forbidden: this namespace may not be deleted'
        assert result.code == 1 and f"Error from server (Forbidden): {told}" in result.err
    assert not apiserver.run("get", "namespace", name, "-o", "jsonpath={.metadata.deletionTimestamp}").out
