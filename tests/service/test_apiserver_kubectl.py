"""The commands of the guides, typed with the real kubectl."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.service.kubectl import ApiServer, each_kubectl

pytestmark = pytest.mark.kubectl


@pytest.fixture(params=each_kubectl(), ids=os.path.basename)
def apiserver(apiserver: ApiServer, request: pytest.FixtureRequest) -> ApiServer:
    """The server as one kubectl sees it."""
    return replace(apiserver, kubectl=request.param)


DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: main
        image: nginx:1
        env: [{name: A, value: "1"}, {name: B, value: "2"}]
"""


def names(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if line]


def test_api_resources_lists_every_group_with_short_names(apiserver: ApiServer) -> None:
    rows = {line.split()[0]: line for line in apiserver("api-resources").splitlines()}
    assert "isvc" in rows["inferenceservices"] and "serving.kserve.io/v1beta1" in rows["inferenceservices"]
    assert "pvc" in rows["persistentvolumeclaims"]
    assert "false" in rows["localmodelcaches"].split()
    assert {"deployments", "leases", "endpointslices", "storageclasses", "customresourcedefinitions"} <= set(
        rows
    )


def test_api_versions_and_version_answer(apiserver: ApiServer) -> None:
    assert {"v1", "apps/v1", "serving.kserve.io/v1alpha1"} <= set(apiserver("api-versions").splitlines())
    assert json.loads(apiserver("version", "-o", "json"))["serverVersion"]["major"] == "1"


def test_explain_reads_types_required_and_nested_fields(apiserver: ApiServer) -> None:
    assert "<[]Container> -required-" in apiserver("explain", "pod.spec")
    assert "FIELD: replicas <integer>" in apiserver("explain", "deployment.spec.replicas")
    assert "sourceModelUri" in apiserver("explain", "localmodelcaches.spec")


def test_explain_reads_the_old_documents_too(apiserver: ApiServer) -> None:
    def explained(what: str) -> str:
        return apiserver("explain", what, "--output=plaintext-openapiv2", "--recursive")

    assert re.search(
        r"strategy\t<Object>\n +rollingUpdate\t<Object>\n +maxSurge\t<string>", explained("deploy")
    )
    assert re.search(r"ports\t<\[\]Object>\n +appProtocol\t<string>", explained("service"))
    assert "data\t<map[string]string>" in explained("configmap")
    assert re.search(r"nodeGroups\t<\[\]string>", explained("localmodelcache"))
    document = json.loads(apiserver("get", "--raw", "/openapi/v2"))
    assert document["swagger"] == "2.0"
    pod = document["definitions"]["io.k8s.api.core.v1.Pod"]
    assert pod["properties"]["spec"] == {"$ref": "#/definitions/io.k8s.api.core.v1.PodSpec"}
    assert "how far the model is" in apiserver("explain", "isvc.status.modelStatus").lower()


@pytest.mark.parametrize(
    "words",
    [
        ("secret", "generic", "s", "--from-literal=a=b"),
        ("secret", "docker-registry", "d", "--docker-username=u", "--docker-password=p"),
        ("configmap", "c", "--from-literal=x=y"),
        ("job", "j", "--image=busybox", "--", "echo", "hi"),
        ("deployment", "d", "--image=nginx:1", "--replicas=2"),
        ("serviceaccount", "sa"),
        ("service", "clusterip", "svc", "--tcp=80:8080"),
        ("role", "r", "--verb=get", "--resource=pods"),
        ("rolebinding", "rb", "--role=r", "--user=u"),
    ],
    ids=lambda words: "-".join(words[:1]) if isinstance(words, tuple) else words,
)
def test_create_posts_protobuf_and_what_it_made_reads_back(
    apiserver: ApiServer, ns: str, words: tuple[str, ...]
) -> None:
    kind, name = words[0], words[2] if words[0] in ("secret", "service") else words[1]
    assert "created" in apiserver("create", "-n", ns, *words)
    found = apiserver.json(ns, kind, name)
    assert found["metadata"]["name"] == name and found["metadata"]["uid"]


def test_create_job_keeps_the_command_that_was_posted(apiserver: ApiServer, ns: str) -> None:
    apiserver("create", "-n", ns, "job", "j", "--image=busybox", "--", "echo", "hi")
    path = "jsonpath={.spec.template.spec.containers[0].command}"
    assert json.loads(apiserver("get", "-n", ns, "job", "j", "-o", path)) == ["echo", "hi"]


def test_create_twice_says_already_exists(apiserver: ApiServer, ns: str) -> None:
    apiserver("create", "-n", ns, "configmap", "c")
    again = apiserver.run("create", "-n", ns, "configmap", "c")
    assert again.code == 1
    assert 'configmaps "c" already exists' in again.err


def test_whoami_and_can_i(apiserver: ApiServer) -> None:
    assert "kubernetes-admin" in apiserver("auth", "whoami")
    assert apiserver("auth", "can-i", "create", "pods").strip() == "yes"
    denied = apiserver.run(
        "auth", "can-i", "get", "secrets", "--as=system:serviceaccount:kserve:forebay-node"
    )
    assert denied.out.strip() == "no"
    assert "*.*" in apiserver("auth", "can-i", "--list")


def test_create_token_gives_a_token_that_is_the_account(apiserver: ApiServer) -> None:
    token = apiserver("create", "token", "default", "-n", "default").strip()
    me = apiserver("auth", "whoami", f"--token={token}", "--kubeconfig", str(bare_config(apiserver)))
    assert "system:serviceaccount:default:default" in me


def bare_config(apiserver: ApiServer) -> Path:
    """A kubeconfig without a user, for commands that bring their own token."""
    path = apiserver.folder / "kubeconfig.bare"
    text = apiserver.config().read_text()
    path.write_text("\n".join(line for line in text.splitlines() if "token:" not in line))
    return path


def test_apply_is_three_way(apiserver: ApiServer, ns: str) -> None:
    assert "created" in apiserver("apply", "-n", ns, "-f", "-", stdin=DEPLOYMENT)
    assert "unchanged" in apiserver("apply", "-n", ns, "-f", "-", stdin=DEPLOYMENT)
    apiserver("label", "-n", ns, "deployment", "web", "theirs=kept")
    apiserver("scale", "-n", ns, "deployment", "web", "--replicas=5")
    changed = DEPLOYMENT.replace('{name: A, value: "1"}, ', "").replace("  replicas: 2\n", "")
    assert "configured" in apiserver("apply", "-n", ns, "-f", "-", stdin=changed)
    found = apiserver.json(ns, "deployment", "web")
    assert found["metadata"]["labels"] == {"app": "web", "theirs": "kept"}
    assert found["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "B", "value": "2"}]
    assert (
        found["spec"]["template"]["spec"]["containers"][0]["terminationMessagePath"] == "/dev/termination-log"
    )
    assert found["metadata"]["generation"] == 3


def test_apply_takes_a_kustomize_folder(apiserver: ApiServer, ns: str, tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(DEPLOYMENT)
    (tmp_path / "kustomization.yaml").write_text(f"resources: [web.yaml]\nnamespace: {ns}\nnamePrefix: my-\n")
    assert "my-web created" in apiserver("apply", "-k", str(tmp_path))
    assert "my-web unchanged" in apiserver("apply", "-k", str(tmp_path))


def test_apply_of_a_kind_of_ours_merges(apiserver: ApiServer, ns: str) -> None:
    runtime = """
apiVersion: serving.kserve.io/v1alpha1
kind: ServingRuntime
metadata: {name: rt}
spec:
  supportedModelFormats: [{name: gguf}]
  containers: [{name: kserve-container, image: a:1}]
"""
    apiserver("apply", "-n", ns, "-f", "-", stdin=runtime)
    assert "configured" in apiserver("apply", "-n", ns, "-f", "-", stdin=runtime.replace("a:1", "a:2"))
    assert "unchanged" in apiserver("apply", "-n", ns, "-f", "-", stdin=runtime.replace("a:1", "a:2"))


def test_server_side_apply_says_that_it_is_not_there(apiserver: ApiServer, ns: str) -> None:
    result = apiserver.run("apply", "--server-side", "-n", ns, "-f", "-", stdin=DEPLOYMENT)
    assert result.code == 1 and "not supported by this server for now" in result.err


def test_get_in_every_output_form(apiserver: ApiServer, ns: str) -> None:
    apiserver("apply", "-n", ns, "-f", "-", stdin=DEPLOYMENT)
    table = apiserver("get", "-n", ns, "deployment").splitlines()
    assert table[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert table[1].split()[:4] == ["web", "0/2", "0", "0"]
    assert "nginx:1" in apiserver("get", "-n", ns, "deployment", "-o", "wide")
    assert apiserver("get", "-n", ns, "deployment", "-o", "name").strip() == "deployment.apps/web"
    assert "kind: Deployment" in apiserver("get", "-n", ns, "deployment", "web", "-o", "yaml")
    columns = apiserver(
        "get", "-n", ns, "deployment", "-o", "custom-columns=N:.metadata.name,R:.spec.replicas"
    )
    assert columns.splitlines()[1].split() == ["web", "2"]
    assert apiserver("get", "-n", ns, "deployment", "--show-labels").splitlines()[1].split()[-1] == "app=web"
    assert "web" in apiserver("get", "-A", "deployment", "-l", "app in (web)")
    assert "No resources found" in apiserver.run("get", "-n", ns, "deployment", "-l", "app=other").err
    apiserver("api-resources", "--cached=false")  # kubectl remembers kinds that another test has taken away
    assert "deployment.apps/web" in apiserver("get", "-n", ns, "all")


def test_get_by_field_selector_chunks_and_sorted(apiserver: ApiServer, ns: str) -> None:
    for name in ("c", "a", "b"):
        apiserver("create", "-n", ns, "configmap", name, f"--from-literal=k={name}")
    assert names(apiserver("get", "-n", ns, "cm", "--chunk-size=1", "--no-headers")) == ["a", "b", "c"]
    picked = apiserver("get", "-n", ns, "cm", "--field-selector=metadata.name!=a", "-o", "name")
    assert picked.split() == ["configmap/b", "configmap/c"]
    by_age = apiserver("get", "-n", ns, "cm", "--sort-by=.data.k", "--no-headers")
    assert names(by_age) == ["a", "b", "c"]
    wrong = apiserver.run("get", "-n", ns, "pods", "--field-selector=spec.nope=1")
    assert "field label not supported: spec.nope" in wrong.err and "(BadRequest)" in wrong.err


def test_get_w_prints_each_change_as_a_row(apiserver: ApiServer, ns: str) -> None:
    apiserver("create", "-n", ns, "configmap", "one")
    watching = apiserver.popen("get", "-n", ns, "configmap", "-w", "--no-headers")
    assert watching.stdout is not None
    assert watching.stdout.readline().split()[:2] == ["one", "0"]
    apiserver("create", "-n", ns, "configmap", "two", "--from-literal=a=b")
    assert watching.stdout.readline().split()[:2] == ["two", "1"]
    apiserver("delete", "-n", ns, "configmap", "two")
    assert watching.stdout.readline().split()[:1] == ["two"]
    watching.terminate()
    watching.communicate(timeout=10)


def test_get_w_with_events_shows_what_happened(apiserver: ApiServer, ns: str) -> None:
    watching = apiserver.popen(
        "get", "-n", ns, "cm", "-w", "--output-watch-events", "-l", "in=yes", "--no-headers"
    )
    assert watching.stdout is not None
    apiserver("create", "-n", ns, "configmap", "c")
    apiserver("label", "-n", ns, "cm", "c", "in=yes")
    assert watching.stdout.readline().split()[:2] == ["ADDED", "c"]
    apiserver("label", "-n", ns, "cm", "c", "in-")
    assert watching.stdout.readline().split()[:2] == ["DELETED", "c"]
    watching.terminate()
    watching.communicate(timeout=10)


def test_describe_finds_an_object_and_its_events(apiserver: ApiServer, ns: str) -> None:
    apiserver("apply", "-n", ns, "-f", "-", stdin=DEPLOYMENT)
    uid = apiserver("get", "-n", ns, "deployment", "web", "-o", "jsonpath={.metadata.uid}")
    event = {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e1"}, "type": "Normal", "reason": "Looked",
        "message": "somebody looked", "source": {"component": "test"},
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z", "count": 1,
        "involvedObject": {
            "kind": "Deployment", "name": "web", "namespace": ns, "uid": uid, "apiVersion": "apps/v1",
        },
    }  # fmt: skip
    apiserver("create", "-n", ns, "-f", "-", stdin=json.dumps(event))
    told = apiserver("describe", "-n", ns, "deployment", "web")
    assert "2 desired" in told and "somebody looked" in told
    assert "somebody looked" in apiserver("events", "-n", ns, "--for", "deployment/web")
    assert "somebody looked" in apiserver("get", "-n", ns, "events")
    other = apiserver.json(ns, "events.events.k8s.io", "e1")
    assert (other["note"], other["regarding"]["uid"], other["deprecatedCount"]) == ("somebody looked", uid, 1)
    assert "message" not in other


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("strategic", '{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"nginx:2"}]}}}}'),
        ("merge", '{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"nginx:2"}]}}}}'),
        ("json", '[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"nginx:2"}]'),
    ],
)
def test_patch_in_three_types(apiserver: ApiServer, ns: str, kind: str, change: str) -> None:
    apiserver("apply", "-n", ns, "-f", "-", stdin=DEPLOYMENT)
    assert "patched" in apiserver("patch", "-n", ns, "deployment", "web", f"--type={kind}", "-p", change)
    assert "patched (no change)" in apiserver(
        "patch", "-n", ns, "deploy", "web", f"--type={kind}", "-p", change
    )
    found = apiserver.json(ns, "deploy", "web")
    container = found["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "nginx:2"
    assert ("env" in container) is (kind != "merge")  # a merge patch replaces the list


def test_patch_of_a_status_and_of_nothing(apiserver: ApiServer, ns: str) -> None:
    apiserver("apply", "-n", ns, "-f", "-", stdin=DEPLOYMENT)
    change = '{"status":{"readyReplicas":1,"replicas":2},"spec":{"replicas":9}}'
    apiserver("patch", "-n", ns, "deploy", "web", "--subresource=status", "--type=merge", "-p", change)
    found = apiserver.json(ns, "deploy", "web")
    assert found["status"]["readyReplicas"] == 1 and found["spec"]["replicas"] == 2
    absent = apiserver.run("patch", "-n", ns, "deploy", "nope", "-p", "{}")
    assert '(NotFound): deployments.apps "nope" not found' in absent.err


def test_strategic_patch_of_a_custom_kind_is_refused(apiserver: ApiServer, ns: str) -> None:
    made = "apiVersion: serving.kserve.io/v1alpha1\nkind: LocalModelNode\nmetadata: {name: n1}\n"
    made += "spec: {localModels: []}\n"
    apiserver("apply", "-f", "-", stdin=made)
    result = apiserver.run("patch", "localmodelnode", "n1", "--type=strategic", "-p", "{}")
    assert result.code == 1 and "application/strategic-merge-patch+json is not supported" in result.err
    apiserver("delete", "localmodelnode", "n1")


def test_label_annotate_edit_and_replace(apiserver: ApiServer, ns: str, tmp_path: Path) -> None:
    apiserver("create", "-n", ns, "configmap", "c", "--from-literal=a=b")
    assert "labeled" in apiserver("label", "-n", ns, "cm", "c", "x=1")
    refused = apiserver.run("label", "-n", ns, "cm", "c", "x=2")
    assert refused.code == 1 and "--overwrite" in refused.err
    assert "labeled" in apiserver("label", "-n", ns, "cm", "c", "x=2", "--overwrite")
    assert "annotated" in apiserver("annotate", "-n", ns, "cm", "c", "y=1")
    editor = tmp_path / "editor.sh"
    editor.write_text("#!/bin/sh\nsed -i 's/a: b/a: edited/' \"$1\"\n")
    editor.chmod(0o755)
    edited = apiserver.run("edit", "-n", ns, "cm", "c", env={"KUBE_EDITOR": str(editor)})
    assert "configmap/c edited" in edited.out, edited.err
    text = apiserver("get", "-n", ns, "cm", "c", "-o", "yaml")
    assert "a: edited" in text
    replaced = apiserver("replace", "-n", ns, "-f", "-", stdin=text.replace("a: edited", "a: again"))
    assert "replaced" in replaced
    stale = apiserver.run("replace", "-n", ns, "-f", "-", stdin=text)
    assert "(Conflict)" in stale.err and "the object has been modified" in stale.err
    assert "replaced" in apiserver("replace", "--force", "-n", ns, "-f", "-", stdin=text)
