"""Computed names, keys and labels of everything that a cache or a service owns.

Labels decide what belongs to whom; names are for people. A name over 63 characters, or one that another owner
holds already, ends in a hash of the owner's identity instead. Source of the patterns: KServe and its guide.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

NAME_MAX = 63
PULLED = ("hf", "s3", "gs", "http", "https", "file", "oci", "oci+fetch", "oci+native", "az", "azure")
"""URI schemes that our downloader has a source for."""
SCHEMES = (*PULLED, "hdfs", "webhdfs", "modelscope")
"""URI schemes that KServe knows; further ones come with a ClusterStorageContainer."""

SYSTEM_NAMESPACE = "kserve"
JOB_NAMESPACE = "kserve-localmodel-jobs"
CONFIG_MAP = "inferenceservice-config"
MODEL_MOUNT = "/mnt/models"
AGENT_PORT = 9102  # of an agent's /metrics and /healthz, where the home gives no other
MODEL_VOLUME = "kserve-pvc-source"
MODEL_CONTAINER = "kserve-container"

NODE_LABEL_PREFIX = "localmodel.forebay.dev/"  # on Nodes: <prefix><storage key> = <node group>
CACHE_LABEL = "forebay.dev/cache"  # on what a cache owns: label value of the cache's name
CACHE_NAMESPACE_LABEL = "forebay.dev/cache-namespace"
GROUP_LABEL = "forebay.dev/node-group"
ROLE_LABEL = "forebay.dev/role"  # download, serving, credentials, agent
UID_LABEL = "forebay.dev/cache-uid"
TIMELINE = "forebay.dev/timeline"  # on a ready pod: seconds from binding to each step, as JSON

CACHE_FINALIZER = "localmodel.kserve.io/finalizer"
NAMESPACE_CACHE_FINALIZER = "localmodelnamespacecache.kserve.io/finalizer"

DISABLE_LOCALMODEL = "serving.kserve.io/disable-localmodel"
NODEGROUP = "serving.kserve.io/nodegroup"
STOP = "serving.kserve.io/stop"
AUTOSCALER_CLASS = "serving.kserve.io/autoscalerClass"
DEPLOYMENT_MODE = "serving.kserve.io/deploymentMode"
READONLY = "storage.kserve.io/readonly"
STORAGE_SECRET = "serving.kserve.io/storageSecretName"
WHEN_UNCACHED = "forebay.dev/when-uncached"
PREPARE = "forebay.dev/prepare"  # of a runtime: its image brings the weights into its own form first
ISVC_LABEL = "serving.kserve.io/inferenceservice"
LOCALMODEL = "internal.serving.kserve.io/localmodel"
LOCALMODEL_NAMESPACE = "internal.serving.kserve.io/localmodel-namespace"
LOCALMODEL_SOURCE = "internal.serving.kserve.io/localmodel-sourceuri"
LOCALMODEL_PVC = "internal.serving.kserve.io/localmodel-pvc-name"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")


def digest(text: str, length: int) -> str:
    """The first `length` hexadecimal digits of sha256 over the text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def storage_key(uri: str, endpoint: str = "") -> str:
    """Folder name of a model on a node: 16 hex digits of sha256 over the exact URI, as KServe's
    GetStorageKey.

    `endpoint` is the identity of a server that is not the scheme's own; it adds `-<8 hex>`, so that content
    from elsewhere never stands under the key of the original.
    """
    key = digest(uri, 16)
    return f"{key}-{digest(endpoint, 8)}" if endpoint else key


def status_key(namespace: str, name: str) -> str:
    """Key of a model in LocalModelNode.status.modelStatus: `name`, or `namespace/name` for a namespaced
    cache."""
    return f"{namespace}/{name}" if namespace else name


def scheme_of(uri: str) -> str:
    """The scheme in lower case, or "" where there is none."""
    found = _SCHEME.match(uri)
    return found[1].lower() if found else ""


def match_storage_uri(cached: str, wanted: str) -> bool:
    """Whether a cache of `cached` holds `wanted`: the same, or a path below it. One trailing slash is
    nothing.

    `hf://org/name` does not hold `hf://org/name:rev`. Source: KServe's MatchStorageURI.
    """
    cached, wanted = cached.removesuffix("/"), wanted.removesuffix("/")
    return wanted == cached or wanted.startswith(cached + "/")


def path_within(cached: str, wanted: str) -> str:
    """What of `wanted` lies below `cached`, without slashes at its ends; "" if they are the same."""
    return wanted.removesuffix("/")[len(cached.removesuffix("/")) :].strip("/")


def label_value(text: str) -> str:
    """`text` if it may stand in a label, else its beginning and a hash (labels hold 63 characters)."""
    if not text or (len(text) <= NAME_MAX and _LABEL_VALUE.fullmatch(text)):
        return text
    return hashed(re.sub(r"[^-A-Za-z0-9_.]", "-", text), text)


def hashed(name: str, identity: str) -> str:
    """A name of at most 63 characters that ends in 8 hex digits of `identity`."""
    head = name[: NAME_MAX - 9].rstrip("-._") or "x"
    return f"{head}-{digest(identity, 8)}"


def fitting(name: str, identity: str, holders: Mapping[str, str]) -> str:
    """`name`, unless it is too long or held by another identity; then its hashed form.

    `holders` maps existing names to the identity of their owner.
    """
    if len(name) <= NAME_MAX and holders.get(name, identity) == identity:
        return name
    return hashed(name, identity)


def node_label(key: str) -> str:
    """The Node label that says that a copy of storage key `key` is ready there."""
    return NODE_LABEL_PREFIX + key


def download_pvc(cache: str, namespace: str, group: str, *, first: bool) -> str:
    """PVC of the download Jobs, in the job namespace: the guide's name for the first group, KServe's for
    others."""
    if namespace:
        return f"{cache}-{group}-{namespace}-download"
    return cache if first else f"{cache}-{group}"


def download_pv(cache: str, namespace: str, group: str, *, first: bool) -> str:
    """PV of the download Jobs."""
    if namespace:
        return f"{cache}-{group}-{namespace}-download"
    return f"{cache}-download" if first else f"{cache}-{group}-download"


def serving_pvc(cache: str, group: str) -> str:
    """PVC through which the services of one namespace read a copy."""
    return f"{cache}-{group}"


def serving_pv(cache: str, group: str, service_namespace: str) -> str:
    """PV of serving_pvc()."""
    return f"{cache}-{group}-{service_namespace}"


def download_job(cache: str, node: str, attempt: int) -> str:
    """`<cache>-<node>`; attempts from the second on add `-2`, `-3`, ..."""
    return f"{cache}-{node}" if attempt <= 1 else f"{cache}-{node}-{attempt}"


def agent_daemonset(group: str) -> str:
    """DaemonSet of a node group's agents, in the system namespace."""
    return fitting(f"{group}-agent", group, {})


def predictor(service: str, variant: str = "") -> str:
    """Deployment and Service of an InferenceService."""
    return f"{service}-{variant}-predictor" if variant else f"{service}-predictor"


def node_group_of(entry: Mapping[str, object]) -> str:
    """The group of an entry of LocalModelNode.spec.localModels."""
    return str(entry.get("nodeGroup") or "")


def entry_key(entry: Mapping[str, object]) -> str:
    """The storage key of an entry of LocalModelNode.spec.localModels."""
    return str(entry.get("storageKey") or storage_key(str(entry.get("sourceModelUri") or "")))
