"""Secrets of the shapes that KServe knows become environment and volumes; what is missing is named."""

from __future__ import annotations

import pytest
from tests.fakes.serving_world import encoded

from forebay.api.kinds import Secret, ServiceAccount
from forebay.control.config import Credentials, settings_from
from forebay.control.credentials import Sources, copied, injection
from forebay.errors import Invalid

CONFIG = Credentials()


def secret(name: str = "s", annotations: dict[str, str] | None = None, **data: str) -> Secret:
    return Secret.new(
        name, "ns", annotations=annotations, data=encoded({k.replace("__", "-"): v for k, v in data.items()})
    )


def of(*secrets: Secret) -> Sources:
    account = ServiceAccount.new("sa", "ns")
    account.raw["secrets"] = [{"name": s.name} for s in secrets]
    return Sources(account="sa", found_account=account, secrets={s.name: s for s in secrets})


def env(found: object) -> dict[str, object]:
    return {e["name"]: e.get("value") or e["valueFrom"]["secretKeyRef"]["key"] for e in found.env}  # type: ignore[attr-defined]


def test_an_s3_secret_gives_keys_by_reference_and_its_annotations_as_values() -> None:
    notes = {"serving.kserve.io/s3-endpoint": "minio:9000", "serving.kserve.io/s3-region": "x"}
    found = injection(
        of(secret(annotations=notes, AWS_ACCESS_KEY_ID="i", AWS_SECRET_ACCESS_KEY="k")), CONFIG, "ns"
    )
    assert env(found) == {
        "AWS_ACCESS_KEY_ID": "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY": "AWS_SECRET_ACCESS_KEY",
        "AWS_DEFAULT_REGION": "x",
        "S3_ENDPOINT": "minio:9000",
        "AWS_ENDPOINT_URL": "https://minio:9000",
    }
    assert found.endpoint == "https://minio:9000"
    old = injection(of(secret(awsAccessKeyID="i", awsSecretAccessKey="k")), CONFIG, "ns")
    assert env(old)["AWS_SECRET_ACCESS_KEY"] == "awsSecretAccessKey" and old.endpoint == ""


@pytest.mark.parametrize(
    ("data", "variables"),
    [
        ({"HF_TOKEN": "t"}, {"HF_TOKEN"}),
        ({"MODELSCOPE_API_TOKEN": "t"}, {"MODELSCOPE_API_TOKEN"}),
        ({"AZURE_STORAGE_ACCESS_KEY": "t"}, {"AZURE_STORAGE_ACCESS_KEY"}),
        ({"AZURE_CLIENT_ID": "a", "AZURE_TENANT_ID": "b"}, {"AZURE_CLIENT_ID", "AZURE_TENANT_ID"}),
        ({"https__host": "example.com", "headers": "{}"}, {"example.com-headers"}),
        ({"gcloud-application-credentials.json": "{}"}, {"GOOGLE_APPLICATION_CREDENTIALS"}),
        ({".dockerconfigjson": "{}"}, {"KSERVE_OCI_DOCKER_CONFIG"}),
        ({".dockercfg": "{}"}, {"KSERVE_OCI_DOCKER_CONFIG"}),
        ({"unknown": "x"}, set()),
    ],
)
def test_other_shapes(data: dict[str, str], variables: set[str]) -> None:
    assert set(env(injection(of(secret(**data)), CONFIG, "ns"))) == variables


def test_the_secret_that_images_are_pulled_with_opens_oci_models_too() -> None:
    """Named by the account's imagePullSecrets; of two files for one place the first is mounted."""
    first, second = (secret(name, **{".dockerconfigjson": "{}"}) for name in ("pull-1", "pull-2"))
    account = ServiceAccount.new("sa", "ns")
    account.raw["secrets"] = [{"name": "token"}]
    account.raw["imagePullSecrets"] = [{"name": first.name}, {"name": second.name}, {"name": "gone"}]
    known = {s.name: s for s in (first, second, secret("token", HF_TOKEN="t"))}
    found = injection(Sources(account="sa", found_account=account, secrets=known), CONFIG, "ns")
    place = "/var/secrets/kserve-oci/.dockerconfigjson"
    assert env(found) == {"HF_TOKEN": "HF_TOKEN", "KSERVE_OCI_DOCKER_CONFIG": place}
    assert [v["secret"]["secretName"] for v in found.volumes] == ["pull-1"]
    assert [m["mountPath"] for m in found.mounts] == ["/var/secrets/kserve-oci"]


def test_what_is_missing_is_a_sentence_and_not_a_download_without_credentials() -> None:
    assert "ServiceAccount ns/sa does not exist" in injection(Sources(account="sa"), CONFIG, "ns").problem
    assert (
        "Secret ns/storage-config does not exist" in injection(Sources(storage_key="k"), CONFIG, "ns").problem
    )
    store = secret("storage-config", other="{}")
    wrong = Sources(storage_key="k", secrets={store.name: store})
    assert "no entry 'k'" in injection(wrong, CONFIG, "ns").problem
    text = secret("storage-config", k="not json")
    assert (
        "not a JSON object"
        in injection(Sources(storage_key="k", secrets={text.name: text}), CONFIG, "ns").problem
    )
    assert injection(Sources(), CONFIG, "ns").problem == ""


def test_an_empty_key_needs_no_secret_if_the_parameters_name_a_type_but_counts_as_another_endpoint() -> None:
    parameters = {"type": "s3", "endpoint_url": "http://evil", "anonymous": "true"}
    found = injection(Sources(storage_key="", parameters=parameters), CONFIG, "ns")
    assert found.problem == "" and found.endpoint == "http://evil"
    assert set(env(found)) == {"STORAGE_OVERRIDE_CONFIG"}


def test_several_endpoints_are_a_place_of_their_own_and_never_one_of_them() -> None:
    """Which of them is asked is the downloader's matter: bytes of one must not stand under another's key."""
    store = secret("storage-config", k='{"type": "s3", "endpoint_url": "http://theirs"}')
    for parameters in ({"endpoint_url": "http://evil"}, {"endpoint": "http://evil"}):
        sources = Sources(storage_key="k", secrets={store.name: store}, parameters=parameters)
        assert injection(sources, CONFIG, "ns").endpoint == "http://theirs http://evil"


def test_copies_hold_exactly_what_is_referred_to() -> None:
    one, file = secret("one", HF_TOKEN="t", extra="not needed"), secret("two", **{CONFIG.gcs_file: "{}"})
    sources = of(one, file)
    found, data = copied(injection(sources, CONFIG, "ns"), sources.secrets, "copy")
    assert set(data) == {"one.HF_TOKEN", f"two.{CONFIG.gcs_file}"}
    assert found.env[0]["valueFrom"]["secretKeyRef"] == {"name": "copy", "key": "one.HF_TOKEN"}
    assert found.volumes[0]["secret"]["items"] == [{"key": f"two.{CONFIG.gcs_file}", "path": CONFIG.gcs_file}]


def test_settings_take_every_key_old_ones_too_and_ignore_unknown_ones() -> None:
    settings = settings_from(
        {
            "localModel": """{
        "enabled": true, "jobNamespace": "jobs", "defaultJobImage": "img", "fsGroup": 7,
        "jobTTLSecondsAfterFinished": 5, "reconcilationFrequencyInSecs": 9, "disableVolumeManagement": true,
        "localModelAgentImage": "agent", "localModelAgentCpuRequest": "100m",
        "localModelAgentMemoryLimit": "300Mi",
        "somethingNew": 1}"""
        }
    )
    assert (settings.job_namespace, settings.initializer_image, settings.fs_group) == ("jobs", "img", 7)
    assert (settings.job_ttl_s, settings.disable_volume_management, settings.agent_image) == (
        5,
        True,
        "agent",
    )
    assert settings.agent_resources == {"requests": {"cpu": "100m"}, "limits": {"memory": "300Mi"}}
    with pytest.raises(Invalid, match="jobTolerations is a list of tolerations"):
        settings_from({"localModel": '{"jobTolerations": {"operator": "Exists"}}'})
    plain = settings_from({})
    assert plain.enabled and plain.job_namespace == "kserve-localmodel-jobs" and plain.job_ttl_s == 3600
    assert settings_from({"localModel": '{"enabled": false}'}).enabled is False


@pytest.mark.parametrize("text", ["{", "[]", '"x"'])
def test_a_section_that_is_no_object_is_named(text: str) -> None:
    with pytest.raises(Invalid, match="localModel"):
        settings_from({"localModel": text})
