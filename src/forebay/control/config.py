"""Settings of the ConfigMap `inferenceservice-config`, read anew for every decision.

Keys and shipped values are KServe's, legacy ones included (`localModelAgent*`); unknown keys are ignored.
Ours: `jobPriorityClassName` and `jobTolerations` of `localModel`: KServe has no place for them. Other than
there, `localModel.enabled` is true unless the ConfigMap says false: the cache is what Forebay is for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from forebay.api import names
from forebay.api.meta import Json
from forebay.errors import Invalid


@dataclass(frozen=True)
class Credentials:
    """The `credentials` section: which keys of a Secret mean what."""

    storage_secret: str = "storage-config"
    secret_annotation: str = names.STORAGE_SECRET
    s3_access_key: str = "AWS_ACCESS_KEY_ID"
    s3_secret_key: str = "AWS_SECRET_ACCESS_KEY"
    s3_endpoint: str = ""
    s3_use_https: str = ""
    s3_region: str = ""
    s3_verify_ssl: str = ""
    gcs_file: str = "gcloud-application-credentials.json"


@dataclass(frozen=True)
class Settings:
    """Everything the controllers take from the ConfigMap. Times in seconds."""

    enabled: bool = True
    job_namespace: str = names.JOB_NAMESPACE
    fs_group: int | None = 1000
    job_ttl_s: int = 3600
    job_priority_class: str = ""
    job_tolerations: tuple[Json, ...] = ()  # beside that of every NoSchedule
    disable_volume_management: bool = False
    agent_image: str = "kserve/kserve-localmodelnode-agent:latest"
    agent_resources: Json = field(default_factory=dict)
    initializer_image: str = "kserve/storage-initializer:latest"
    initializer_resources: Json = field(default_factory=dict)
    ca_bundle: str = ""
    ca_bundle_mount: str = "/etc/ssl/custom-certs"
    url_scheme: str = "http"
    domain: str = "example.com"
    domain_template: str = "{{ .Name }}-{{ .Namespace }}.{{ .IngressDomain }}"
    path_template: str = ""
    credentials: Credentials = field(default_factory=Credentials)


def settings_from(data: Mapping[str, str]) -> Settings:
    """Settings of the ConfigMap's data; every missing key has its default. Raises Invalid naming the bad
    section."""
    local, storage = _section(data, "localModel"), _section(data, "storageInitializer")
    ingress, plain = _section(data, "ingress"), Settings()
    return Settings(
        enabled=local.get("enabled", True) is not False,
        job_namespace=str(local.get("jobNamespace") or plain.job_namespace),
        fs_group=local.get("fsGroup", plain.fs_group),
        job_ttl_s=_seconds(local, "jobTTLSecondsAfterFinished", plain.job_ttl_s),
        job_priority_class=str(local.get("jobPriorityClassName") or ""),
        job_tolerations=_tolerations(local.get("jobTolerations")),
        disable_volume_management=bool(local.get("disableVolumeManagement", False)),
        agent_image=str(local.get("localModelAgentImage") or plain.agent_image),
        agent_resources=_resources(local, "localModelAgentC", "localModelAgentM"),
        initializer_image=str(
            storage.get("image") or local.get("defaultJobImage") or plain.initializer_image
        ),
        initializer_resources=_resources(storage, "c", "m"),
        ca_bundle=str(storage.get("caBundleConfigMapName") or ""),
        ca_bundle_mount=str(storage.get("caBundleVolumeMountPath") or plain.ca_bundle_mount),
        url_scheme=str(ingress.get("urlScheme") or plain.url_scheme),
        domain=str(ingress.get("ingressDomain") or plain.domain),
        domain_template=str(ingress.get("domainTemplate") or plain.domain_template),
        path_template=str(ingress.get("pathTemplate") or ""),
        credentials=_credentials(_section(data, "credentials")),
    )


def _section(data: Mapping[str, str], key: str) -> Json:
    try:
        found = json.loads(data.get(key) or "{}")
    except ValueError as error:
        raise Invalid(f"ConfigMap {names.CONFIG_MAP}, key {key}: not JSON ({error}); correct it") from error
    if not isinstance(found, dict):
        raise Invalid(
            f"ConfigMap {names.CONFIG_MAP}, key {key}: an object is wanted, not {type(found).__name__}"
        )
    return found


def _seconds(local: Json, key: str, usual: int) -> int:
    found = local.get(key)
    if found is None:
        return usual
    if not isinstance(found, bool) and str(found).isdecimal():
        return int(found)
    raise Invalid(
        f"ConfigMap {names.CONFIG_MAP}, key localModel: {key} is a whole number of seconds; correct it"
    )


def _tolerations(found: Any) -> tuple[Json, ...]:
    if not found:
        return ()
    if isinstance(found, list) and all(isinstance(one, dict) for one in found):
        return tuple(found)
    raise Invalid(
        f"ConfigMap {names.CONFIG_MAP}, key localModel: jobTolerations is a list of tolerations; correct it"
    )


def _resources(section: Mapping[str, Any], cpu: str, memory: str) -> Json:
    """`cpuRequest`, `cpuLimit`, `memoryRequest`, `memoryLimit` (with any prefix) as container resources."""
    found: Json = {}
    for side, word in (("requests", "Request"), ("limits", "Limit")):
        amounts = {"cpu": section.get(f"{cpu}pu{word}"), "memory": section.get(f"{memory}emory{word}")}
        amounts = {name: str(amount) for name, amount in amounts.items() if amount}
        if amounts:
            found[side] = amounts
    return found


def _credentials(section: Mapping[str, Any]) -> Credentials:
    plain, s3, gcs = Credentials(), section.get("s3") or {}, section.get("gcs") or {}
    return Credentials(
        storage_secret=str(section.get("storageSpecSecretName") or plain.storage_secret),
        secret_annotation=str(section.get("storageSecretNameAnnotation") or plain.secret_annotation),
        s3_access_key=str(s3.get("s3AccessKeyIDName") or plain.s3_access_key),
        s3_secret_key=str(s3.get("s3SecretAccessKeyName") or plain.s3_secret_key),
        s3_endpoint=str(s3.get("s3Endpoint") or ""),
        s3_use_https=str(s3.get("s3UseHttps") or ""),
        s3_region=str(s3.get("s3Region") or ""),
        s3_verify_ssl=str(s3.get("s3VerifySSL") or ""),
        gcs_file=str(gcs.get("gcsCredentialFileName") or plain.gcs_file),
    )
