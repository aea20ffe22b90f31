"""The init container that brings weights into the engine's own form."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from forebay.api.kinds import ClusterServingRuntime
from forebay.control.inferenceservice.prepare import prepared
from forebay.control.shipped import shipped

MOUNT = "/mnt/models"


def runtime(**annotations: str) -> ClusterServingRuntime:
    return ClusterServingRuntime.new("r", annotations=annotations, spec={})


def template(**container: Any) -> dict[str, Any]:
    main = {
        "name": "kserve-container",
        "image": "forebay/llama",
        "resources": {"requests": {"cpu": "1"}},
        "volumeMounts": [{"name": "model", "mountPath": MOUNT, "readOnly": True, "subPath": "a"}],
        **container,
    }
    return {"metadata": {}, "spec": {"containers": [main], "volumes": [{"name": "model"}]}}


ASKS = runtime(**{"forebay.dev/prepare": "true"})


def test_the_runtimes_own_image_reads_the_model_and_writes_beside_it() -> None:
    spec = prepared(template(), ASKS, MOUNT)["spec"]
    (container,) = spec["initContainers"]
    assert (container["image"], container["args"]) == ("forebay/llama", ["prepare", MOUNT, "/mnt/prepared"])
    assert container["resources"] == {"requests": {"cpu": "1"}}
    assert container["volumeMounts"] == [
        {"name": "model", "mountPath": MOUNT, "readOnly": True, "subPath": "a"},
        {"name": "prepared-model", "mountPath": "/mnt/prepared"},
    ]
    main = spec["containers"][0]
    assert {"name": "FOREBAY_PREPARED_DIR", "value": "/mnt/prepared"} in main["env"]
    assert main["volumeMounts"][-1] == {
        "name": "prepared-model",
        "mountPath": "/mnt/prepared",
        "readOnly": True,
    }
    assert spec["volumes"][-1] == {"name": "prepared-model", "emptyDir": {}}


def test_it_runs_after_the_download() -> None:
    before = template()
    before["spec"]["initContainers"] = [{"name": "storage-initializer"}]
    names = [c["name"] for c in prepared(before, ASKS, MOUNT)["spec"]["initContainers"]]
    assert names == ["storage-initializer", "prepare"]


def test_who_does_not_ask_has_no_model_or_an_own_command_gets_nothing() -> None:
    for asked, mount, given in (
        (None, MOUNT, template()),
        (runtime(), MOUNT, template()),
        (runtime(**{"forebay.dev/prepare": "false"}), MOUNT, template()),
        (ASKS, "", template()),
        (ASKS, MOUNT, template(volumeMounts=[])),
        (ASKS, MOUNT, template(command=["my-server"])),
    ):
        before = copy.deepcopy(given)
        assert prepared(given, asked, mount) == before
        assert given == before


def test_the_shipped_runtimes_ask_for_it() -> None:
    runtimes = [item for item in shipped() if isinstance(item, ClusterServingRuntime)]
    assert runtimes
    for item in runtimes:
        assert prepared(template(), item, MOUNT, frozenset({".safetensors", ".json"})) != template()
        assert prepared(template(), item, MOUNT, frozenset({".gguf", ".md", ""})) == template()


@pytest.mark.parametrize(
    ("told", "suffixes", "asked"),
    [
        ("true", {".gguf"}, True),
        (".safetensors", None, True),
        (".safetensors", {".gguf"}, False),
        (".bin, .Safetensors", {".safetensors", ".json"}, True),
        ("false", None, False),
        ("", {".safetensors"}, False),
    ],
)
def test_what_is_known_to_need_nothing_is_spared_and_in_doubt_it_stays(
    told: str, suffixes: set[str] | None, asked: bool
) -> None:
    known = None if suffixes is None else frozenset(suffixes)
    found = prepared(template(), runtime(**{"forebay.dev/prepare": told}), MOUNT, known)
    assert ("initContainers" in found["spec"]) is asked
