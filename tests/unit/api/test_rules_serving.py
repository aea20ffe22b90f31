"""Admission of the serving kinds, through the rules object that both homes use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.fakes.serving_world import World
from tests.unit.control.test_caches import CACHE, GROUP, NAMESPACED, URI

from forebay.api import kinds
from forebay.api.admission import Nothing, Rules
from forebay.api.rules_serving import CHECKS
from forebay.errors import Denied, Invalid

pytestmark = pytest.mark.anyio


def cache(uri: str = URI, name: str = "iris") -> str:
    return CACHE.format(name=name, uri=uri, groups="gpu1")


async def test_the_uri_of_a_cache_cannot_be_changed(tmp_path: Path) -> None:
    async with World(tmp_path, checks=CHECKS) as world:
        await world.apply(cache())
        with pytest.raises(Invalid, match="StorageUri is immutable"):
            await world.change(
                kinds.LocalModelCache, "iris", lambda i: i.spec.update(sourceModelUri="s3://mybucket/other")
            )


async def test_two_cluster_wide_caches_of_one_uri_are_refused_in_kserves_words(tmp_path: Path) -> None:
    async with World(tmp_path, checks=CHECKS) as world:
        await world.apply(cache())
        with pytest.raises(Denied, match=f"LocalModelCache iris has the same StorageURI {URI}"):
            await world.apply(cache(name="second"))
        with pytest.raises(Denied, match="has the same StorageURI"):
            await world.apply(cache(URI + "/", name="slashed"))
        await world.change(
            kinds.LocalModelCache, "iris", lambda i: i.spec.update(nodeGroups=["gpu1", "gpu2"])
        )


@pytest.mark.parametrize("size", ["-10Mi", "0", "'0.0'", "1e99999"])
async def test_a_size_of_nothing_or_less_is_refused_in_a_sentence(tmp_path: Path, size: str) -> None:
    async with World(tmp_path, checks=CHECKS) as world:
        with pytest.raises(Invalid) as refused:
            await world.apply(cache().replace("1Gi", size))
        [(path, _, told)] = refused.value.causes
        assert path == "spec.modelSize"
        assert "for example 10Gi" in told or "write it like" in told
        with pytest.raises(Invalid, match=r"spec\.storageLimit"):
            await world.apply(GROUP.format(name="gpu1").replace("10Gi", size))


async def test_a_size_that_an_earlier_server_let_in_does_not_stop_other_changes(tmp_path: Path) -> None:
    async with World(tmp_path) as before:
        await before.apply(cache().replace("1Gi", "-1"))
        old = (await before.get(kinds.LocalModelCache, "iris")).raw
    rules = Rules(Nothing(), CHECKS)
    new = {**old, "spec": {**old["spec"], "nodeGroups": ["gpu2"]}}
    assert rules.prepare(kinds.LocalModelCache, new, old, "update")["spec"]["nodeGroups"] == ["gpu2"]


async def test_a_claim_and_an_unknown_scheme_are_refused_with_what_to_do(tmp_path: Path) -> None:
    async with World(tmp_path, checks=CHECKS) as world:
        with pytest.raises(Invalid, match="mounted, not cached"):
            await world.apply(cache("pvc://claim/path"))
        for uri in ("ftp://host/x", "no-scheme", ""):
            with pytest.raises(Invalid, match="sourceModelUri"):
                await world.apply(cache(f"'{uri}'"))
        with pytest.raises(Invalid, match="names no model"):
            await world.apply(cache("'hf://'"))
        await world.apply("""
apiVersion: serving.kserve.io/v1alpha1
kind: ClusterStorageContainer
metadata: {name: ftp}
spec: {container: {name: c, image: x}, supportedUriFormats: [{prefix: "ftp://"}]}
""")
        await world.apply(cache("ftp://host/x"))


async def test_a_password_does_not_stand_where_everybody_reads_it(tmp_path: Path) -> None:
    async with World(tmp_path, checks=CHECKS) as world:
        with pytest.raises(Invalid, match="keep them in a Secret") as caught:
            await world.apply(cache("https://me:pass-1@host/model.gguf"))
        assert "pass-1" not in str(caught.value) and "pass-1" not in str(caught.value.causes)
        await world.apply(cache("https://host/a@b/model.gguf?at=c@d"))


async def test_the_groups_of_a_namespaced_cache_must_exist(tmp_path: Path) -> None:
    async with World(tmp_path, checks=CHECKS) as world:
        await world.store.create(kinds.Namespace.new("team"))
        text = NAMESPACED.format(name="iris", uri=URI, groups="gpu1")
        with pytest.raises(Invalid, match="NodeGroup gpu1 not found"):
            await world.apply(text)
        await world.apply(GROUP.format(name="gpu1"))
        await world.apply(text)


async def test_a_cache_in_use_is_not_deleted_and_the_user_is_named(tmp_path: Path) -> None:
    service = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: user, namespace: {namespace}, labels: {{{labels}}}}}
spec: {{predictor: {{model: {{modelFormat: {{name: x}}, storageUri: {uri}}}}}}}
"""
    label = "internal.serving.kserve.io/localmodel: iris"
    async with World(tmp_path, checks=CHECKS) as world:
        await world.store.create(kinds.Namespace.new("team"))
        await world.apply(GROUP.format(name="gpu1") + "---" + cache())
        await world.apply(service.format(namespace="default", labels=label, uri=URI))
        with pytest.raises(Denied, match="LocalModelCache iris is being used by InferenceService user"):
            await world.delete(kinds.LocalModelCache, "iris")
        await world.apply(NAMESPACED.format(name="iris", uri=URI, groups="gpu1"))
        await world.delete(kinds.LocalModelNamespaceCache, "iris", "team")

        await world.apply(NAMESPACED.format(name="ours", uri=URI, groups="gpu1"))
        prefix = "internal.serving.kserve.io/localmodel"
        label = f"{prefix}: ours, {prefix}-namespace: team"
        await world.apply(service.format(namespace="team", labels=label, uri=URI))
        message = "LocalModelNamespaceCache team/ours is being used by InferenceService team/user"
        with pytest.raises(Denied, match=message):
            await world.delete(kinds.LocalModelNamespaceCache, "ours", "team")


@pytest.mark.parametrize("name", ["1abc", "Abc", "a.b", "-a", "a" * 60])
async def test_names_of_services_follow_kserves_pattern(tmp_path: Path, name: str) -> None:
    async with World(tmp_path, checks=CHECKS) as world:
        with pytest.raises(Invalid, match=r"metadata\.name"):
            await world.apply(f"""
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: "{name}"}}
spec: {{predictor: {{model: {{modelFormat: {{name: x}}}}}}}}
""")


@pytest.mark.parametrize(
    ("predictor", "field"),
    [
        ("{minReplicas: -1, model: {modelFormat: {name: x}}}", "minReplicas"),
        ("{minReplicas: 3, maxReplicas: 2, model: {modelFormat: {name: x}}}", "minReplicas"),
        (
            "{model: {modelFormat: {name: x}, storageUri: s3://a/b}, storageUris: [{uri: s3://a/b}]}",
            "storageUris",
        ),
        ("{model: {modelFormat: {name: x}, name: mine}}", "model.name"),
        (
            "{containers: [{name: c, image: x}], storageUris: [{uri: s3://a/b, mountPath: /a/../b}]}",
            "mountPath",
        ),
    ],
)
async def test_what_cannot_stand_together_is_refused(tmp_path: Path, predictor: str, field: str) -> None:
    async with World(tmp_path, checks=CHECKS) as world:
        with pytest.raises(Invalid, match=field):
            await world.apply(f"""
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: svc}}
spec: {{predictor: {predictor}}}
""")


async def test_a_node_group_stays_while_a_cache_names_it(tmp_path: Path) -> None:
    async with World(tmp_path, checks=CHECKS) as world:
        await world.apply(GROUP.format(name="gpu1"))
        await world.apply(GROUP.format(name="gpu2"))
        await world.apply(cache())
        await world.delete(kinds.LocalModelNodeGroup, "gpu2")
        with pytest.raises(Denied, match="LocalModelNodeGroup gpu1 is being used by LocalModelCache iris"):
            await world.delete(kinds.LocalModelNodeGroup, "gpu1")
        await world.delete(kinds.LocalModelCache, "iris")
        await world.delete(kinds.LocalModelNodeGroup, "gpu1")


@pytest.mark.parametrize(
    ("kind", "spec", "path", "said"),
    [
        (
            kinds.LocalModelNodeGroup,
            {"storageLimit": "1Gi", "persistentVolumeSpec": {"local": []}, "persistentVolumeClaimSpec": {}},
            "spec.persistentVolumeSpec",
            "cannot unmarshal array into Go struct field PersistentVolumeSpec.local",
        ),
        (
            kinds.InferenceService,
            {"predictor": {"containers": [{"name": "c"}], "affinity": {"nodeAffinity": "x"}}},
            "spec.predictor",
            "cannot unmarshal string into Go struct field Affinity.affinity.nodeAffinity",
        ),
        (
            kinds.InferenceService,
            {"predictor": {"containers": [{"name": "c"}], "dnsConfig": {"options": [None]}}},
            "spec.predictor.dnsConfig.options[0]",
            "must be of type object: null",
        ),
        (
            kinds.ClusterServingRuntime,
            {"containers": [{"name": "c", "ports": [{"containerPort": "x"}]}]},
            "spec",
            "cannot unmarshal string into Go struct field ContainerPort.containers.ports.containerPort",
        ),
    ],
)
async def test_embedded_objects_have_kubernetes_types(
    tmp_path: Path, kind: type[Any], spec: dict[str, Any], path: str, said: str
) -> None:
    async with World(tmp_path, checks=CHECKS) as world:
        item = kind.new("x", "default" if kind.namespaced else "", spec=spec)
        with pytest.raises(Invalid) as caught:
            await world.store.create(item)
        [(where, _, message)] = caught.value.causes
        assert where == path and said in message
