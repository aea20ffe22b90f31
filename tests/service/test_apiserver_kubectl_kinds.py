"""Kinds that the home serves and stores for manifests written for a cluster, with the real kubectl."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace

import pytest
from tests.service.kubectl import ApiServer, each_kubectl

pytestmark = pytest.mark.kubectl


@pytest.fixture(params=each_kubectl(), ids=os.path.basename)
def apiserver(apiserver: ApiServer, request: pytest.FixtureRequest) -> ApiServer:
    """The server as one kubectl sees it."""
    return replace(apiserver, kubectl=request.param)


MADE = {  # what is typed after `create` -> the row that `get` shows
    "cronjob x --image=busybox --schedule=@hourly -- date": r"x +@hourly +<none> +False +0 +<none>",
    "poddisruptionbudget x --selector=app=web --min-available=1": r"x +1 +N/A +0 ",
    "quota x --hard=cpu=1,pods=2": "x ",
    "ingress x --rule=a.b/c*=svc:80,tls=t": r"x +<none> +a.b +80, 443 ",
}


@pytest.mark.parametrize("words", MADE, ids=lambda words: words.split()[0])
def test_a_kind_that_nothing_acts_on_is_stored_and_the_client_is_told(
    apiserver: ApiServer, ns: str, words: str
) -> None:
    made = apiserver.run("create", "-n", ns, *words.split())
    assert (made.code, "created" in made.out) == (0, True)
    assert re.search(r"Warning: this \w+ is stored, and nothing in this home acts on it", made.err)
    kind = words.split()[0]
    assert re.search(MADE[words], apiserver("get", "-n", ns, kind, "x", "--no-headers"))
    patched = apiserver.run("patch", "-n", ns, kind, "x", "-p", '{"metadata":{"labels":{"a":"b"}}}')
    assert "nothing in this home acts on it" in patched.err
    told = apiserver("describe", "-n", ns, kind, "x")
    assert re.search(r"^Name: +x$", told, re.M)
    assert "deleted" in apiserver("delete", "-n", ns, kind, "x")


def test_who_makes_a_role_is_told_that_it_grants_nothing(apiserver: ApiServer, ns: str) -> None:
    made = apiserver.run("create", "role", "r", "-n", ns, "--verb=get", "--resource=pods")
    assert made.code == 0 and "Warning: stored, and grants nothing" in made.err
    assert "Warning" not in apiserver.run("create", "configmap", "c", "-n", ns).err


def test_autoscale_makes_one_object_that_both_versions_show(apiserver: ApiServer, ns: str) -> None:
    apiserver("create", "deployment", "web", "-n", ns, "--image=a:1")
    told = apiserver("autoscale", "deployment", "web", "-n", ns, "--min=1", "--max=3", "--cpu-percent=50")
    assert told == "horizontalpodautoscaler.autoscaling/web autoscaled\n"
    row = apiserver("get", "-n", ns, "hpa", "--no-headers")
    assert re.match(r"web +Deployment/web +cpu: <unknown>/50% +1 +3 +0 ", row)
    old = f"/apis/autoscaling/v1/namespaces/{ns}/horizontalpodautoscalers"
    one = json.loads(apiserver("get", "--raw", f"{old}/web"))
    assert (one["apiVersion"], one["spec"]["targetCPUUtilizationPercentage"]) == ("autoscaling/v1", 50)
    assert apiserver.json(ns, "hpa", "web")["apiVersion"] == "autoscaling/v2"
    one["spec"] |= {"maxReplicas": 5, "targetCPUUtilizationPercentage": 60}
    apiserver("replace", "--raw", f"{old}/web", "-f", "-", stdin=json.dumps(one))
    row = apiserver("get", "-n", ns, "hpa", "--no-headers")
    assert re.match(r"web +Deployment/web +cpu: <unknown>/60% +1 +5 ", row)
    assert len(json.loads(apiserver("get", "--raw", old))["items"]) == 1
    refused = apiserver.run("autoscale", "deployment", "web", "-n", ns, "--name=b", "--min=3", "--max=1")
    assert refused.code == 1
    apiserver("delete", "hpa", "web", "-n", ns)
    assert json.loads(apiserver("get", "--raw", old))["items"] == []


def test_old_endpoints_are_shown_with_the_warning_of_a_cluster(apiserver: ApiServer, ns: str) -> None:
    made = {
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "e"},
        "subsets": [{"addresses": [{"ip": "10.1.2.3"}, {"ip": "10.1.2.4"}],
                     "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}],
    }  # fmt: skip
    apiserver("apply", "-n", ns, "-f", "-", stdin=json.dumps(made))
    found = apiserver.run("get", "-n", ns, "endpoints", "e", "--no-headers")
    assert re.match(r"e +10.1.2.3:80,10.1.2.4:80,10.1.2.3:81 \+ 1 more... ", found.out)
    assert "Warning: v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice" in found.err
    apiserver("apply", "-n", ns, "-f", "-", stdin=json.dumps(made | {"subsets": []}))
    assert re.match(r"e +<none> ", apiserver("get", "-n", ns, "ep", "--no-headers"))


def test_all_lists_its_kinds_in_the_order_of_their_names(apiserver: ApiServer, ns: str) -> None:
    apiserver("create", "deployment", "web", "-n", ns, "--image=a:1", "--replicas=0")
    apiserver("create", "job", "one", "-n", ns, "--image=a:1")
    apiserver("create", "service", "clusterip", "svc", "-n", ns, "--tcp=80")
    named = apiserver("api-resources", "--api-group=apps", "-o", "name").split()
    assert named == sorted(named)
    assert apiserver("get", "all", "-n", ns, "-o", "name").split() == [
        "service/svc", "deployment.apps/web", "job.batch/one",
    ]  # fmt: skip


def test_a_field_that_is_not_set_has_its_zero_value_for_selectors(apiserver: ApiServer, ns: str) -> None:
    apiserver("create", "job", "one", "-n", ns, "--image=a:1")
    picked = ("get", "-n", ns, "job", "-o", "name", "--field-selector")
    assert apiserver(*picked, "status.successful=0") == "job.batch/one\n"
    assert apiserver(*picked, "status.successful!=0") == ""
    apiserver.patch_status(ns, "job/one", succeeded=1)
    assert apiserver(*picked, "status.successful=1") == "job.batch/one\n"
