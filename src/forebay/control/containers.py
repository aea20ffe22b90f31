"""Which downloader handles a URI, and whether it is one of ours; pure.

Source of the rules: KServe's ClusterStorageContainer (first in order of name; prefix beats regex within an
entry).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from forebay.api import names
from forebay.api.kinds import ClusterStorageContainer
from forebay.api.meta import Json

DOWNLOAD_JOB = "localModelDownloadJob"
INIT_CONTAINER = "initContainer"
SHARE_CREDENTIALS = "forebay.dev/namespaced-credentials"  # "allow": tenants' caches may use its Secrets

_OURS = re.compile(r"(?:[\w.-]+(?::\d+)?/)*(?:kserve/storage-initializer|forebay/[\w.-]+)(?:[:@].*)?")


def supports(container: ClusterStorageContainer, uri: str) -> bool:
    """Whether one of supportedUriFormats fits the URI; a regex that cannot be read fits nothing."""
    return any(_fits(entry, uri) for entry in container.spec.get("supportedUriFormats") or [])


def workload(container: ClusterStorageContainer) -> str:
    """What it is for: initContainer (default) or localModelDownloadJob."""
    return str(container.spec.get("workloadType") or INIT_CONTAINER)


def chosen(
    containers: Sequence[ClusterStorageContainer], uri: str, workload_type: str
) -> ClusterStorageContainer | None:
    """The first enabled one, by name, for that kind of work that supports the URI."""
    fitting = (
        c for c in sorted(containers, key=lambda c: c.name)
        if not c.raw.get("disabled") and workload(c) == workload_type and supports(c, uri)
    )  # fmt: skip
    return next(fitting, None)


def named(
    containers: Sequence[ClusterStorageContainer], name: str, uri: str
) -> ClusterStorageContainer | str:
    """The one that a predictor asks for by name, or the sentence that says why not."""
    found = next((c for c in containers if c.name == name), None)
    if found is None:
        return f"ClusterStorageContainer {name} does not exist; create it or correct storageContainerName"
    if found.raw.get("disabled"):
        return f"ClusterStorageContainer {name} is disabled; enable it or name another"
    if workload(found) != INIT_CONTAINER:
        return (
            f"ClusterStorageContainer {name} is for {workload(found)}, not for {INIT_CONTAINER}; name another"
        )
    if not supports(found, uri):
        return f"ClusterStorageContainer {name} does not support {uri}; name another or extend its formats"
    return found


def is_ours(image: str) -> bool:
    """Whether the image is our downloader (or one that our table maps to it), which knows the cache."""
    return _OURS.fullmatch(image) is not None


def sourceless(image: str, uri: str) -> str:
    """Why the downloader has no source for the URI, or "". What other people's images can, we do not know."""
    scheme = names.scheme_of(uri)
    if not is_ours(image) or scheme in names.PULLED:
        return ""
    if not scheme:
        return f"{uri!r} has no scheme; write for example hf://owner/model"
    known = ", ".join(f"{name}://" for name in names.PULLED)
    return (
        f"there is no source for {scheme}:// URIs; copy the model to one of {known}, or give a "
        f"ClusterStorageContainer that supports {scheme}:// an image of your own that downloads from there"
    )


def without_secrets(container: Json) -> Json:
    """The container without variables from Secrets: those are an administrator's, not a tenant's."""
    env = [e for e in container.get("env") or [] if "secretKeyRef" not in (e.get("valueFrom") or {})]
    env_from = [e for e in container.get("envFrom") or [] if "secretRef" not in e]
    return {**container, "env": env, "envFrom": env_from}


def secret_names(container: Json) -> list[str]:
    """Names of the Secrets that the container's variables come from."""
    env = [
        ((e.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name") for e in container.get("env") or []
    ]
    whole = [(e.get("secretRef") or {}).get("name") for e in container.get("envFrom") or []]
    return sorted({str(name) for name in (*env, *whole) if name})


def _fits(entry: Json, uri: str) -> bool:
    if entry.get("prefix"):
        return uri.startswith(str(entry["prefix"]))
    try:
        return bool(entry.get("regex")) and re.search(str(entry["regex"]), uri) is not None
    except re.error:
        return False
