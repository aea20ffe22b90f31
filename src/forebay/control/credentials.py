"""From a user's Secrets to what a download container needs; pure.

Shapes of Secrets and names of variables are KServe's (service account secrets, first shape that fits wins).
What is wrong is returned as a sentence for a condition: a download never starts silently without its
credentials.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from forebay.api.kinds import Secret, ServiceAccount
from forebay.api.meta import Json
from forebay.control.config import Credentials

_S3_ANNOTATIONS = {
    "serving.kserve.io/s3-region": "AWS_DEFAULT_REGION",
    "serving.kserve.io/s3-verifyssl": "S3_VERIFY_SSL",
    "serving.kserve.io/s3-usehttps": "S3_USE_HTTPS",
    "serving.kserve.io/s3-usevirtualbucket": "S3_USER_VIRTUAL_BUCKET",
    "serving.kserve.io/s3-useaccelerate": "S3_USE_ACCELERATE",
    "serving.kserve.io/s3-useanoncredential": "awsAnonymousCredential",
    "serving.kserve.io/s3-cabundle-configmap": "AWS_CA_BUNDLE_CONFIGMAP",
    "serving.kserve.io/s3-cabundle": "AWS_CA_BUNDLE",
}
_ENDPOINT = "serving.kserve.io/s3-endpoint"
_AZURE = {
    "AZ_CLIENT_ID": ("AZ_SUBSCRIPTION_ID", "AZ_TENANT_ID", "AZ_CLIENT_ID", "AZ_CLIENT_SECRET"),
    "AZURE_CLIENT_ID": (
        "AZURE_SUBSCRIPTION_ID",
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
    ),
    "AZURE_ACCESS_TOKEN": ("AZURE_ACCESS_TOKEN",),
    "AZURE_STORAGE_ACCESS_KEY": ("AZURE_STORAGE_ACCESS_KEY",),
}
_TOKENS = ("HF_TOKEN", "MODELSCOPE_API_TOKEN")


@dataclass(frozen=True)
class Sources:
    """Where credentials are looked for: all of one namespace."""

    account: str = ""  # name of the ServiceAccount that was asked for
    found_account: ServiceAccount | None = None
    # those the account names, and the storage secret
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    storage_key: str | None = None  # spec.storage.key
    parameters: Mapping[str, str] = field(default_factory=dict)  # spec.storage.parameters
    secret_name: str = ""  # one Secret that the user named outright (annotation)


@dataclass(frozen=True)
class Injection:
    """What to add to the container and its pod; `problem` says why it must not start."""

    env: tuple[Json, ...] = ()
    volumes: tuple[Json, ...] = ()
    mounts: tuple[Json, ...] = ()
    endpoint: str = ""  # a server other than the scheme's own; of several all, as nobody knows which is asked
    problem: str = ""

    def __add__(self, other: Injection) -> Injection:
        return Injection(
            self.env + other.env,
            self.volumes + other.volumes,
            self.mounts + other.mounts,
            _together(self.endpoint, other.endpoint),
            self.problem or other.problem,
        )


def _together(*endpoints: str) -> str:
    return " ".join(dict.fromkeys(filter(None, endpoints)))


NO_SOURCES = Sources()
NO_INJECTION = Injection()


def injection(sources: Sources, config: Credentials, namespace: str) -> Injection:
    """What the sources give: the storage entry if a key is given, else the account's Secrets."""
    if sources.storage_key is not None:
        return _storage_entry(sources, config, namespace)
    if sources.secret_name:
        secret = sources.secrets.get(sources.secret_name)
        if secret is None:
            return Injection(problem=f"Secret {namespace}/{sources.secret_name} does not exist; create it")
        return _of_secret(secret, config)
    if sources.account and sources.account != "default" and sources.found_account is None:
        return Injection(
            problem=f"ServiceAccount {namespace}/{sources.account} does not exist; create it, or "
            "take serviceAccountName out of the spec"
        )
    found = Injection()
    for name in account_secrets(sources.found_account):
        one = _of_secret(sources.secrets[name], config) if name in sources.secrets else NO_INJECTION
        if not {v["name"] for v in one.volumes} & {v["name"] for v in found.volumes}:  # the first file counts
            found += one
    return found + _overrides(sources.parameters)


def account_secrets(account: ServiceAccount | None) -> list[str]:
    """Names of the Secrets that a ServiceAccount lists, then of those that its images are pulled with."""
    raw = account.raw if account else {}
    listed = [*(raw.get("secrets") or []), *(raw.get("imagePullSecrets") or [])]
    return list(dict.fromkeys(str(s.get("name")) for s in listed if s.get("name")))


def copied(found: Injection, secrets: Mapping[str, Secret], name: str) -> tuple[Injection, Json]:
    """The same injection, reading from one Secret `name`, and that Secret's data (base64, as stored)."""
    data: Json = {}

    def moved(reference: Json) -> Json:
        key = f"{reference['name']}.{reference['key']}"
        source = secrets.get(reference["name"])
        if source is not None and reference["key"] in (source.raw.get("data") or {}):
            data[key] = source.raw["data"][reference["key"]]
        return {**reference, "name": name, "key": key}

    env = []
    for entry in found.env:
        reference = (entry.get("valueFrom") or {}).get("secretKeyRef")
        env.append({**entry, "valueFrom": {"secretKeyRef": moved(reference)}} if reference else entry)
    volumes = tuple(_moved_volume(volume, secrets, name, data) for volume in found.volumes)
    return replace(found, env=tuple(env), volumes=volumes), data


def _moved_volume(volume: Json, secrets: Mapping[str, Secret], name: str, data: Json) -> Json:
    source = secrets.get((volume.get("secret") or {}).get("secretName", ""))
    if source is None:
        return volume
    items = []
    for key, value in sorted((source.raw.get("data") or {}).items()):
        data[f"{source.name}.{key}"] = value
        items.append({"key": f"{source.name}.{key}", "path": key})
    return {**volume, "secret": {"secretName": name, "items": items}}


def _storage_entry(sources: Sources, config: Credentials, namespace: str) -> Injection:
    secret = sources.secrets.get(config.storage_secret)
    key = sources.storage_key or _default_entry(secret, sources.parameters)
    where = f"{namespace}/{config.storage_secret}"
    if secret is None and (sources.storage_key or "type" not in sources.parameters):
        return Injection(
            problem=f"Secret {where} does not exist; create it with an entry {key or 'default'!r}"
        )
    text = decoded(secret, key) if secret is not None else None
    if text is None and (sources.storage_key or "type" not in sources.parameters):
        return Injection(problem=f"Secret {where} has no entry {key!r}; add it, or correct spec.storage.key")
    env: tuple[Json, ...] = ()
    endpoint = ""
    if text is not None:
        try:
            entry = json.loads(text)
            endpoint = str(entry.get("endpoint_url") or "")
        except (ValueError, AttributeError):
            return Injection(problem=f"Secret {where}, entry {key!r}: not a JSON object; correct it")
        env = (_from_secret("STORAGE_CONFIG", config.storage_secret, key),)
    return Injection(env=env, endpoint=endpoint) + _overrides(sources.parameters)


def _default_entry(secret: Secret | None, parameters: Mapping[str, str]) -> str:
    """KServe's fallback for an empty key: default_<type>, then default."""
    kind = f"default_{parameters.get('type', '')}"
    return kind if secret is not None and kind in (secret.raw.get("data") or {}) else "default"


def _overrides(parameters: Mapping[str, str]) -> Injection:
    if not parameters:
        return Injection()
    value = json.dumps(dict(sorted(parameters.items())))
    endpoint = _together(parameters.get("endpoint_url", ""), parameters.get("endpoint", ""))
    return Injection(env=({"name": "STORAGE_OVERRIDE_CONFIG", "value": value},), endpoint=endpoint)


def _of_secret(secret: Secret, config: Credentials) -> Injection:
    data = secret.raw.get("data") or {}
    if config.s3_secret_key in data or "awsSecretAccessKey" in data:
        return _s3(secret, config)
    if config.gcs_file in data:
        return _file(secret, "gcs", "/var/secrets", "GOOGLE_APPLICATION_CREDENTIALS", config.gcs_file)
    for marker, keys in _AZURE.items():
        if marker in data:
            return Injection(env=tuple(_from_secret(k, secret.name, k) for k in keys if k in data))
    if "https-host" in data:
        host = decoded(secret, "https-host") or ""
        return Injection(env=(_from_secret(f"{host}-headers", secret.name, "headers"),))
    for login in (".dockerconfigjson", ".dockercfg"):  # what kubelet pulls images with, oci:// needs too
        if login in data:
            return _file(secret, "oci", "/var/secrets/kserve-oci", "KSERVE_OCI_DOCKER_CONFIG", login)
    if "HDFS_NAMENODE" in data:
        return _file(secret, "hdfs", "/var/secrets/kserve-hdfscreds", "", "")
    return Injection(env=tuple(_from_secret(k, secret.name, k) for k in _TOKENS if k in data))


def _s3(secret: Secret, config: Credentials) -> Injection:
    data, notes = secret.raw.get("data") or {}, secret.annotations
    access = config.s3_access_key if config.s3_access_key in data else "awsAccessKeyID"
    hidden = config.s3_secret_key if config.s3_secret_key in data else "awsSecretAccessKey"
    env = [
        _from_secret("AWS_ACCESS_KEY_ID", secret.name, access),
        _from_secret("AWS_SECRET_ACCESS_KEY", secret.name, hidden),
    ]
    plain = {name: str(notes[key]) for key, name in _S3_ANNOTATIONS.items() if notes.get(key)}
    plain = {**_s3_defaults(config), **plain}
    endpoint = str(notes.get(_ENDPOINT) or config.s3_endpoint)
    if endpoint:
        scheme = "http" if plain.get("S3_USE_HTTPS") == "0" else "https"
        plain["S3_ENDPOINT"] = endpoint
        plain["AWS_ENDPOINT_URL"] = endpoint if "://" in endpoint else f"{scheme}://{endpoint}"
    env += [{"name": name, "value": value} for name, value in sorted(plain.items())]
    own = plain.get("AWS_ENDPOINT_URL", "") if notes.get(_ENDPOINT) else ""
    return Injection(env=tuple(env), endpoint=own)


def _s3_defaults(config: Credentials) -> dict[str, str]:
    found = {
        "S3_USE_HTTPS": config.s3_use_https,
        "AWS_DEFAULT_REGION": config.s3_region,
        "S3_VERIFY_SSL": config.s3_verify_ssl,
    }
    return {name: value for name, value in found.items() if value}


def _file(secret: Secret, short: str, folder: str, variable: str, file: str) -> Injection:
    volume: Json = {"name": f"credentials-{short}", "secret": {"secretName": secret.name}}
    mount: Json = {"name": volume["name"], "mountPath": folder, "readOnly": True}
    env: tuple[Json, ...] = ({"name": variable, "value": f"{folder}/{file}"},) if variable else ()
    return Injection(env=env, volumes=(volume,), mounts=(mount,))


def _from_secret(variable: str, secret: str, key: str) -> Json:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def decoded(secret: Secret, key: str) -> str | None:
    """The text of one entry of a Secret, or None where there is none that can be read."""
    value = (secret.raw.get("data") or {}).get(key)
    if value is None:
        return None
    try:
        return base64.b64decode(value).decode()
    except ValueError:
        return None


def merged_env(*lists: Sequence[Json]) -> list[Json]:
    """Environment variables by name: a later list wins, the first place is kept."""
    found: dict[str, Json] = {}
    for entries in lists:
        for entry in entries:
            found[str(entry.get("name"))] = entry
    return list(found.values())
