"""Where a predictor's model comes from, and how its pods see it; pure."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace

from forebay.api import names
from forebay.api.affinity import ready as node_ready
from forebay.api.kinds import ClusterStorageContainer
from forebay.api.meta import Json, Resource
from forebay.api.states import NodeState
from forebay.control import containers, trust
from forebay.control.credentials import Injection, decoded, injection, merged_env
from forebay.control.inferenceservice.model import Plan, Seen
from forebay.control.inferenceservice.predictor import Predictor
from forebay.control.inferenceservice.template import main_container, merged_container

PULL_VOLUME = "kserve-provision-location"
INITIALIZER = "storage-initializer"
SHARERS = ("transformer-container", "worker-container")
_SOURCE = "/mnt/source"
_FORWARDED = ("HF_", "AWS_", "S3_", "STORAGE_")


@dataclass(frozen=True)
class Source:
    """A predictor's model: its URI, the folder it shall appear in, and what is wrong."""

    uri: str = ""
    mount: str = names.MODEL_MOUNT
    problem: str = ""


def source_of(seen: Seen, predictor: Predictor) -> Source:
    """The URI of the model, from whichever field names it."""
    model, raw = predictor.model or {}, predictor.raw
    if model.get("storageUri"):
        return Source(str(model["storageUri"]))
    if raw.get("storageUris"):
        first = raw["storageUris"][0]
        return Source(str(first.get("uri") or ""), str(first.get("mountPath") or names.MODEL_MOUNT))
    if model.get("storage"):
        return _object_store(seen, model["storage"])
    if predictor.model is None:
        for entry in main_container(raw).get("env") or []:
            if entry.get("name") == "STORAGE_URI":
                return Source(str(entry.get("value") or ""))
    return Source()


def _object_store(seen: Seen, storage: Json) -> Source:
    """`storage.key` and `storage.path`: the entry of the storage secret says which bucket."""
    secret = seen.sources.secrets.get(seen.settings.credentials.storage_secret)
    key = str(storage.get("key") or "default")
    name = f"Secret {seen.service.namespace}/{seen.settings.credentials.storage_secret}"
    where, text = f"{name}, entry {key!r}", decoded(secret, key) if secret else None
    if text is None and not (storage.get("parameters") or {}).get("type"):
        lack = (
            f"has no entry {key!r}; add it" if secret else f"does not exist; create it with an entry {key!r}"
        )
        return Source(problem=f"{name} {lack}, or use model.storageUri")
    try:
        entry = json.loads(text or "{}")
    except ValueError:
        entry = None
    if not isinstance(entry, dict):
        return Source(problem=f"{where}: not a JSON object; correct it")
    told = {**entry, **(storage.get("parameters") or {})}
    kind, bucket = told.get("type"), told.get("bucket")
    if not kind or (kind == "s3" and not bucket):
        return Source(problem=f"{where}: type and bucket are wanted; add them or use model.storageUri")
    path = str(storage.get("path") or "").strip("/")
    return Source("://".join((str(kind), "/".join(p for p in (str(bucket or ""), path) if p))))


def plan_for(seen: Seen, source: Source) -> Plan:
    """The plan that a rollout of this moment would use."""
    if not source.uri:
        return Plan()
    base = Plan(uri=source.uri, mount=source.mount)
    if names.scheme_of(source.uri) == "pvc":
        claim, _, path = source.uri.partition("://")[2].partition("/")
        return replace(base, mode="claim", claim=claim, path=path.strip("/"))
    cached = matching(seen, base)
    if cached is not None and (waits(seen) or nodes_with_copy(seen, cached)):
        return cached
    return replace(base, mode="pull")


def waits(seen: Seen) -> bool:
    """Whether the service's pods wait for a cache's first copy instead of downloading."""
    return seen.service.annotations.get(names.WHEN_UNCACHED, "wait") != "pull"


def matching(seen: Seen, base: Plan, *, any_group: bool = False) -> Plan | None:
    """The plan with the best matching cache: the namespace's own first, then ready ones, then the closest
    match; a service that does not wait takes any ready one first. `any_group` overlooks the annotation."""
    if not seen.settings.enabled or opted_out(seen.service):
        return None
    wanted_group = "" if any_group else seen.service.annotations.get(names.NODEGROUP, "")
    candidates = []
    for cache in seen.caches:
        uri = str(cache.spec.get("sourceModelUri") or "")
        groups = [str(g) for g in cache.spec.get("nodeGroups") or ()]
        if cache.deleting or not names.match_storage_uri(uri, base.uri) or not groups:
            continue
        if wanted_group and wanted_group not in groups:
            continue
        plan = _with_group(seen, base, cache, [wanted_group] if wanted_group else groups)
        empty = not nodes_with_copy(seen, plan)
        order = (not cache.namespace, empty) if waits(seen) else (empty, not cache.namespace)
        candidates.append(((*order, -len(uri.removesuffix("/")), cache.name), plan))
    return min(candidates, key=lambda c: c[0])[1] if candidates else None


def _with_group(seen: Seen, base: Plan, cache: Resource, groups: list[str]) -> Plan:
    uri = str(cache.spec["sourceModelUri"])
    plan = replace(
        base,
        mode="cache",
        cache=f"{cache.namespace}/{cache.name}",
        cache_uid=cache.uid,
        source=uri,
        key=_key_of(cache),
        path=names.path_within(uri, base.uri),
    )
    plans = [replace(plan, group=group) for group in groups]
    return next((p for p in plans if nodes_with_copy(seen, p)), plans[0])


def cache_of(seen: Seen, plan: Plan) -> Resource | None:
    """The cache object a plan uses, if it is still the same one."""
    return next((c for c in seen.caches if c.uid == plan.cache_uid and not c.deleting), None)


def nodes_with_copy(seen: Seen, plan: Plan) -> tuple[str, ...]:
    """Ready nodes that hold the plan's copy and say so by label."""
    cache = cache_of(seen, plan)
    states = (cache.status.get("nodeStatus") or {}) if cache is not None else {}
    label, group = names.node_label(plan.key), names.label_value(plan.group)
    return tuple(
        sorted(
            n.name
            for n in seen.nodes
            if states.get(n.name) == NodeState.DOWNLOADED and n.labels.get(label) == group and node_ready(n)
        )
    )


def may_read(seen: Seen, plan: Plan) -> bool:
    """Whether the plan's cache has shown its right to the copy that the plan names: some node downloaded it.

    Another cache of the same URI may have filled that folder with credentials of its own. And a plan that was
    kept on a Deployment is what anybody wrote who may write there.
    """
    cache = cache_of(seen, plan)
    if cache is None or plan.group not in (cache.spec.get("nodeGroups") or ()):
        return False
    if plan.key != _key_of(cache):
        return False
    return NodeState.DOWNLOADED in (cache.status.get("nodeStatus") or {}).values()


def _key_of(cache: Resource) -> str:
    return str(
        cache.status.get("storageKey") or names.storage_key(str(cache.spec.get("sourceModelUri") or ""))
    )


def suffixes_of(seen: Seen, plan: Plan) -> frozenset[str] | None:
    """Suffixes of all files of the plan's copy, as its nodes tell them; None where somebody does not know."""
    if plan.uri.lower().endswith(".gguf"):
        return frozenset({".gguf"})
    cache, nodes = cache_of(seen, plan), nodes_with_copy(seen, plan)
    if plan.mode != "cache" or cache is None or not nodes:
        return None
    model = names.status_key(cache.namespace, cache.name)
    told = {n.name: (n.status.get("models") or {}).get(model) or {} for n in seen.model_nodes}
    each: list[list[str]] = [told.get(node, {}).get("suffixes") or [] for node in nodes]
    return frozenset(s for one in each for s in one) if all(each) else None


def opted_out(service: Resource) -> bool:
    """Whether the user wants no cache. KServe ignores the value; here "false" means what it says."""
    value = service.annotations.get(names.DISABLE_LOCALMODEL)
    return value is not None and value.lower() != "false"


def with_model(seen: Seen, predictor: Predictor, plan: Plan, template: Json) -> Json:
    """The template with the model's volume, mounts, affinity or init container."""
    found = copy.deepcopy(template)
    spec = found["spec"]
    if plan.mode == "none":
        return found
    read_only = seen.service.annotations.get(names.READONLY, "true").lower() != "false"
    if plan.mode == "pull":
        _pull(seen, predictor, plan, spec, read_only=read_only)
    else:
        _mount_claim(seen, plan, spec, read_only=read_only)
    if plan.mode == "cache":
        _require_copy(spec, plan)
    _say_where(predictor, plan, main_container(spec))
    return found


def _say_where(predictor: Predictor, plan: Plan, container: Json) -> None:
    """The model's folder as a variable too: an engine whose default is not in its args still finds it."""
    env = merged_env(container.get("env") or [], [{"name": "FOREBAY_MODEL_DIR", "value": plan.mount}])
    if predictor.model is None:
        env = [{**e, "value": plan.mount} if e.get("name") == "STORAGE_URI" else e for e in env]
    container["env"] = env


def _mount_claim(seen: Seen, plan: Plan, spec: Json, *, read_only: bool) -> None:
    volume: Json = {"name": names.MODEL_VOLUME, "persistentVolumeClaim": {"claimName": plan.claim}}
    private = not read_only and plan.mode == "cache"
    if read_only or private:
        volume["persistentVolumeClaim"]["readOnly"] = True
    spec.setdefault("volumes", []).append(volume)
    mount: Json = {"name": names.MODEL_VOLUME, "mountPath": plan.mount, "readOnly": read_only or private}
    if plan.path:
        mount["subPath"] = plan.path
    if private:  # nobody writes into a shared copy: who must write gets one of their own
        spec["volumes"].append({"name": PULL_VOLUME, "emptyDir": {}})
        spec["initContainers"] = [_copier(seen, mount), *(spec.get("initContainers") or [])]
        mount = {"name": PULL_VOLUME, "mountPath": plan.mount}
    _mount_everywhere(spec, mount)


def _copier(seen: Seen, mount: Json) -> Json:
    return {
        "name": "copy-model",
        "image": seen.settings.initializer_image,
        "command": [
            "sh",
            "-c",
            f"cp -rL {_SOURCE}/. {names.MODEL_MOUNT}/ && chmod -R u+w {names.MODEL_MOUNT}",
        ],
        "volumeMounts": [
            {**mount, "mountPath": _SOURCE},
            {"name": PULL_VOLUME, "mountPath": names.MODEL_MOUNT},
        ],
    }


def _mount_everywhere(spec: Json, mount: Json) -> None:
    main = main_container(spec)
    for container in spec["containers"]:
        if container is main or container.get("name") in SHARERS:
            mounts = container.setdefault("volumeMounts", [])
            if all(m.get("mountPath") != mount["mountPath"] for m in mounts):
                mounts.append(dict(mount))


def _require_copy(spec: Json, plan: Plan) -> None:
    """Pods go where the copy is, and wait where it is not yet."""
    held: Json = {
        "key": names.node_label(plan.key),
        "operator": "In",
        "values": [names.label_value(plan.group)],
    }
    affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    required = affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = required.get("nodeSelectorTerms") or [{}]
    required["nodeSelectorTerms"] = [
        {**t, "matchExpressions": [*(t.get("matchExpressions") or []), held]} for t in terms
    ]


def _pull(seen: Seen, predictor: Predictor, plan: Plan, spec: Json, *, read_only: bool) -> None:
    found = pull_credentials(seen)
    main = main_container(spec)
    forwarded = [e for e in main.get("env") or [] if str(e.get("name")).startswith(_FORWARDED)]
    container: Json = {
        "name": INITIALIZER,
        "image": seen.settings.initializer_image,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if seen.settings.initializer_resources:
        container["resources"] = copy.deepcopy(seen.settings.initializer_resources)
    custom = initializer(seen, predictor, plan)
    if custom is not None and not isinstance(custom, str):
        container = merged_container(container, custom.spec.get("container") or {})
    container["args"] = [plan.uri, plan.mount]
    container["env"] = merged_env(container.get("env") or [], forwarded, found.env)
    container["volumeMounts"] = [
        *(container.get("volumeMounts") or []),
        {"name": PULL_VOLUME, "mountPath": plan.mount},
        *found.mounts,
    ]
    volumes = spec.setdefault("volumes", [])
    volumes += [{"name": PULL_VOLUME, "emptyDir": {}}, *found.volumes]
    trust.mount(seen.trust, seen.settings, container, volumes)
    spec["initContainers"] = [container, *(spec.get("initContainers") or [])]
    _mount_everywhere(spec, {"name": PULL_VOLUME, "mountPath": plan.mount, "readOnly": read_only})


def pull_credentials(seen: Seen) -> Injection:
    """What the service's own namespace gives to its init container."""
    return injection(seen.sources, seen.settings.credentials, seen.service.namespace)


def initializer(seen: Seen, predictor: Predictor, plan: Plan) -> ClusterStorageContainer | str | None:
    """The ClusterStorageContainer of the init container: the named one (or why not), the first that fits, or
    None."""
    name = predictor.raw.get("storageContainerName")
    if name:
        return containers.named(seen.containers, str(name), plan.uri)
    return containers.chosen(seen.containers, plan.uri, containers.INIT_CONTAINER)
