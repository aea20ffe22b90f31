"""Which bundle of authorities a downloader mounts, and where."""

from __future__ import annotations

from typing import Any

import pytest

from forebay.control.config import Settings
from forebay.control.trust import NO_TRUST, Trust, mount

GLOBAL = Trust("team", "global-kserve-ca-bundle")
PLAIN = Settings().ca_bundle_mount


@pytest.mark.parametrize(("trust", "said", "own", "expected"), [
    (NO_TRUST, {}, True, None),
    (NO_TRUST, {"AWS_CA_BUNDLE": "/x/cabundle.crt"}, True, None),
    (GLOBAL, {}, True, ("global-kserve-ca-bundle", PLAIN)),
    (GLOBAL, {"AWS_CA_BUNDLE": "/x/y/cabundle.crt"}, True, ("global-kserve-ca-bundle", "/x/y")),
    (GLOBAL, {"AWS_CA_BUNDLE": "/cabundle.crt"}, True, ("global-kserve-ca-bundle", PLAIN)),
    (NO_TRUST, {"AWS_CA_BUNDLE_CONFIGMAP": "s3-ca"}, True, ("s3-ca", PLAIN)),
    (GLOBAL, {"AWS_CA_BUNDLE_CONFIGMAP": "s3-ca"}, True, ("s3-ca", PLAIN)),
    (GLOBAL, {"AWS_CA_BUNDLE_CONFIGMAP": "s3-ca"}, False, ("global-kserve-ca-bundle", PLAIN)),
    (NO_TRUST, {"AWS_CA_BUNDLE_CONFIGMAP": "s3-ca", "AWS_CA_BUNDLE": "/x/cabundle.crt"}, True,
     ("s3-ca", "/x")),
])  # fmt: skip
def test_a_secrets_own_bundle_comes_first_and_lies_where_it_says(
    trust: Trust, said: dict[str, str], own: bool, expected: tuple[str, str] | None
) -> None:
    """The annotations became variables that named a ConfigMap which nobody mounted."""
    container: dict[str, Any] = {"env": [{"name": n, "value": v} for n, v in said.items()]}
    volumes: list[dict[str, Any]] = []
    mount(trust, Settings(), container, volumes, own=own)
    if expected is None:
        assert volumes == [] and "volumeMounts" not in container
        return
    assert volumes[0]["configMap"]["name"] == expected[0]
    assert container["volumeMounts"][0]["mountPath"] == expected[1]
    told = {e["name"]: e["value"] for e in container["env"]}
    assert (told["CA_BUNDLE_CONFIGMAP_NAME"], told["CA_BUNDLE_VOLUME_MOUNT_POINT"]) == expected
