"""The download Job of one node, and the Secret with a tenant's credentials; pure."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass

from forebay.api import names, quantity
from forebay.api.kinds import Job, LocalModelNamespaceCache, Secret
from forebay.api.meta import Json
from forebay.control import containers, trust
from forebay.control.credentials import copied, merged_env
from forebay.control.modelcache.model import AIM_LABEL, ATTEMPT_LABEL, INPUTS_NOTE, TRY_LABEL, Seen
from forebay.errors import Absent, Clash, Denied, Invalid

STAGING = ".forebay/staging"
DOWNLOAD_PODS = f"{names.ROLE_LABEL}=download"  # selects the pods of download Jobs
TRIES_PER_JOB = 2  # pod restarts within one Job; longer waits and reasons are ours, between Jobs


@dataclass(frozen=True)
class Aim:
    """What a download is about: a revision ("" while nobody knows one), or a request to resolve anew."""

    revision: str = ""
    refresh: str = ""

    @property
    def label(self) -> str:
        """As a label value, so that a later look tells Jobs about this from Jobs about something else."""
        if self.refresh:
            return names.label_value("refresh-" + self.refresh.replace(":", "."))
        return names.label_value(self.revision)


@dataclass(frozen=True)
class Launch:
    """One try on one node: the `attempt`-th there, and the `tries`-th in a row at the same aim."""

    node: str
    group: str
    claim: str
    attempt: int
    name: str
    aim: Aim = Aim()
    tries: int = 1


def download(seen: Seen, launch: Launch) -> tuple[Job, Secret | None]:
    """The Job, and the Secret it needs if the cache is namespaced and has credentials."""
    found, secret = seen.credentials, None
    if seen.namespace and seen.secrets:
        name = credentials_name(launch.name)
        found, data = copied(found, seen.secrets, name)
        secret = Secret.new(
            name, seen.settings.job_namespace, labels=seen.owned_labels("credentials"),
            annotations=seen.owner_note(), type="Opaque", data=data,
        )  # fmt: skip
    container = _base(seen)
    container["args"] = [seen.uri, names.MODEL_MOUNT]
    container["env"] = merged_env(container.get("env") or [], found.env, _ours(seen, launch.aim))
    container["volumeMounts"] = [_mount(seen, container), *found.mounts]
    volumes = list(found.volumes)
    trust.mount(seen.trust, seen.settings, container, volumes, own=not seen.namespace)
    return _job(seen, launch, container, volumes), secret


def sourceless(seen: Seen) -> str:
    """Why no download of this cache could ever succeed, or ""."""
    return containers.sourceless(str(_base(seen).get("image") or ""), seen.uri)


def inputs(seen: Seen) -> str:
    """Digest of what a download would start with now: its container and the versions of the Secrets it reads.

    A Job that failed with other inputs says nothing about these, so nobody waits before trying them.
    """
    read = sorted((s.namespace, s.name, s.revision) for s in (*seen.secrets.values(), *seen.lent.values()))
    bundle = seen.trust.source.revision if seen.trust.source else ""
    return names.digest(json.dumps([_base(seen), seen.credentials.env, read, bundle], sort_keys=True), 16)


def credentials_name(job: str) -> str:
    """Name of the Secret that a Job owns."""
    return names.fitting(f"{job}-credentials", job, {})


def _base(seen: Seen) -> Json:
    chosen = containers.chosen(seen.containers, seen.uri, containers.DOWNLOAD_JOB)
    if chosen is None:
        container: Json = {
            "name": "kserve-localmodel-download",
            "image": seen.settings.initializer_image,
            "terminationMessagePolicy": "FallbackToLogsOnError",
        }
        if seen.settings.initializer_resources:
            container["resources"] = copy.deepcopy(seen.settings.initializer_resources)
        return container
    container = copy.deepcopy(chosen.spec.get("container") or {})
    container.setdefault("image", seen.settings.initializer_image)
    granted = chosen.annotations.get(containers.SHARE_CREDENTIALS) == "allow"
    tenant = isinstance(seen.cache, LocalModelNamespaceCache) and not granted
    return containers.without_secrets(container) if tenant else container


def _ours(seen: Seen, aim: Aim) -> list[Json]:
    plain = {
        "FOREBAY_CACHE_ROOT": names.MODEL_MOUNT,
        "FOREBAY_STORAGE_KEY": seen.storage_key,
        "FOREBAY_MODEL": seen.status_key,
        "FOREBAY_REVISION": aim.revision,
        "FOREBAY_MODEL_SIZE": _bytes(seen.cache.spec.get("modelSize")),
        "FOREBAY_CACHE_UID": seen.cache.uid,
    }
    if aim.refresh:
        plain |= {"FOREBAY_REFRESH": "1", "FOREBAY_REFRESH_FOR": aim.refresh}
    env: list[Json] = [{"name": name, "value": value} for name, value in plain.items()]
    return [*env, {"name": "FOREBAY_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}]


def _bytes(size: object) -> str:
    if size in (None, ""):
        return ""
    try:
        return str(quantity.value(str(size)))
    except Invalid:
        return ""


def _mount(seen: Seen, container: Json) -> Json:
    mount: Json = {"name": names.MODEL_VOLUME, "mountPath": names.MODEL_MOUNT}
    if not containers.is_ours(str(container.get("image") or "")):
        # A downloader that knows nothing of the cache writes aside; the agent adopts what it wrote.
        mount["subPath"] = f"{STAGING}/{seen.storage_key}"
    return mount


def _hopeless(container: Json) -> Json:
    """What our downloader cannot get by trying once more ends the Job at once, so that the reason is told."""
    if not containers.is_ours(str(container.get("image") or "")):
        return {}
    codes = sorted(error.exit_code for error in (Invalid, Denied, Absent, Clash))
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": codes}}
    return {"podFailurePolicy": {"rules": [rule]}}


def _numbers(launch: Launch) -> dict[str, str]:
    found = {ATTEMPT_LABEL: str(launch.attempt), TRY_LABEL: str(launch.tries)}
    return {**found, AIM_LABEL: launch.aim.label} if launch.aim.label else found


def _job(seen: Seen, launch: Launch, container: Json, volumes: list[Json]) -> Job:
    labels = {"model": names.label_value(seen.name), "node": names.label_value(launch.node)}
    if seen.namespace:
        labels["modelNamespace"] = seen.namespace
    pod: Json = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "nodeSelector": {"kubernetes.io/hostname": launch.node},
        "tolerations": [
            {"operator": "Exists", "effect": "NoSchedule"},
            *copy.deepcopy(seen.settings.job_tolerations),
        ],
        "containers": [container],
        "volumes": [
            {"name": names.MODEL_VOLUME, "persistentVolumeClaim": {"claimName": launch.claim}},
            *volumes,
        ],
    }
    if seen.settings.job_priority_class:
        pod["priorityClassName"] = seen.settings.job_priority_class
    if seen.settings.fs_group is not None:
        pod["securityContext"] = {"fsGroup": seen.settings.fs_group}
    account = seen.cache.spec.get("serviceAccountName")
    if account and not seen.namespace:
        pod["serviceAccountName"] = account  # identities by token (IRSA, workload identity) work too
    told: Json = {"labels": {**labels, names.ROLE_LABEL: "download"}, "annotations": seen.owner_note()}
    job = Job.new(
        launch.name, seen.settings.job_namespace,
        labels={**labels, **seen.owned_labels("download", launch.group), **_numbers(launch)},
        annotations={**seen.owner_note(), INPUTS_NOTE: inputs(seen)},
        spec={
            "backoffLimit": TRIES_PER_JOB,
            **_hopeless(container),
            "ttlSecondsAfterFinished": seen.settings.job_ttl_s,
            "template": {"metadata": told, "spec": pod},
        },
    )  # fmt: skip
    if not seen.namespace:
        job.meta["ownerReferences"] = [seen.cache.owner_reference()]
    return job
