"""What the decision about one cache may look at; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from forebay.api import names, wishes
from forebay.api.kinds import (
    ClusterStorageContainer,
    InferenceService,
    Job,
    LocalModelNamespaceCache,
    LocalModelNode,
    LocalModelNodeGroup,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    Secret,
)  # fmt: skip
from forebay.api.meta import Json, Resource
from forebay.api.states import NodeState
from forebay.control.config import Settings
from forebay.control.credentials import NO_INJECTION, Injection
from forebay.control.trust import NO_TRUST, Trust
from forebay.control.when import elapsed_s

ATTEMPT_LABEL = "forebay.dev/attempt"
TRY_LABEL = "forebay.dev/try"  # attempts since something was reached or asked anew: waits grow with it
AIM_LABEL = "forebay.dev/aim"  # which revision or which refresh a Job is about
INPUTS_NOTE = "forebay.dev/inputs"  # annotation: digest of the container and the Secrets a Job began with
OWNER_NOTE = "forebay.dev/owner"  # annotation "<namespace>/<name>" on what a cache owns

POD_PENDING = "PodPending"  # reason of a node where the pod of the download cannot start
HELD_S = 5.0  # every pod waits for a moment; one that waits for longer waits for somebody
IN_USE = "Clash"  # reason of a node where pods keep the earlier revision: the class of the pull's error


@dataclass(frozen=True)
class Seen:
    """Everything decide() may look at. Nothing else exists. `now` in seconds since 1970."""

    cache: Resource
    settings: Settings
    now: float
    groups: Mapping[str, LocalModelNodeGroup] = field(default_factory=dict)  # those of the spec that exist
    nodes: tuple[Node, ...] = ()
    model_nodes: tuple[LocalModelNode, ...] = ()
    jobs: tuple[Job, ...] = ()  # this cache's
    stray_jobs: tuple[Job, ...] = ()  # of an earlier job namespace
    pods: tuple[Pod, ...] = ()  # of those Jobs that are not over
    job_namespace_missing: bool = False
    taken: frozenset[str] = frozenset()  # names of all Jobs in the job namespace
    claims: tuple[PersistentVolumeClaim, ...] = ()  # of the job namespace, and this cache's serving claims
    volumes: tuple[PersistentVolume, ...] = ()
    containers: tuple[ClusterStorageContainer, ...] = ()
    services: tuple[InferenceService, ...] = ()  # that use this cache
    credentials: Injection = NO_INJECTION
    secrets: Mapping[str, Secret] = field(default_factory=dict)  # sources of a tenant's credentials
    lent: Mapping[str, Secret] = field(default_factory=dict)  # that a ClusterStorageContainer's env names
    copies: tuple[Secret, ...] = ()  # Secrets made for this cache's Jobs
    trust: Trust = NO_TRUST  # of the download Jobs
    sibling_revision: str = ""  # of another cache with the same storage key
    sibling_refreshed: str = ""  # the request after which that revision was resolved

    @property
    def namespace(self) -> str:
        """Namespace of a namespaced cache, "" of a cluster-wide one."""
        return self.cache.namespace

    @property
    def name(self) -> str:
        return self.cache.name

    @property
    def uri(self) -> str:
        return str(self.cache.spec.get("sourceModelUri") or "")

    @property
    def group_names(self) -> tuple[str, ...]:
        """The groups asked for, in order, each once."""
        return tuple(dict.fromkeys(str(g) for g in self.cache.spec.get("nodeGroups") or ()))

    @property
    def storage_key(self) -> str:
        return names.storage_key(self.uri, self.credentials.endpoint)

    @property
    def status_key(self) -> str:
        return names.status_key(self.namespace, self.name)

    @property
    def finalizer(self) -> str:
        namespaced = isinstance(self.cache, LocalModelNamespaceCache)
        return names.NAMESPACE_CACHE_FINALIZER if namespaced else names.CACHE_FINALIZER

    @property
    def revision(self) -> str:
        """The revision every node shall hold, or "" until it is known."""
        if self.found:
            return self.found[1]
        known = str(self.cache.status.get("revision") or "")
        if wishes.is_newer(self.sibling_refreshed, self.refresh_answered):
            known = self.sibling_revision or known
        return known or self.sibling_revision or self._reported_revision()

    @property
    def refresh_answered(self) -> str:
        """The last request to resolve the name anew that was answered."""
        said = self.cache.status.get("refresh") or {}
        return str(said.get("requested") or "") if said.get("revision") else ""

    @property
    def refresh_wanted(self) -> str:
        """A request to resolve the name anew that nobody has answered yet, or ""."""
        asked = self.cache.annotations.get(wishes.REFRESH, "").strip()
        return asked if wishes.is_newer(asked, self.refresh_answered) else ""

    @property
    def found(self) -> tuple[str, str] | None:
        """The latest request to resolve anew that a node has answered and our status does not say yet, and
        the revision found; another cache of the same content may have asked."""
        best: tuple[str, str] | None = None
        for model_node in sorted(self.model_nodes, key=lambda n: n.name):
            said = self.reported(model_node)
            if said.get("revision") and wishes.is_newer(
                said.get("refreshed"), best[0] if best else self.refresh_answered
            ):
                best = (str(said["refreshed"]), str(said["revision"]))
        return best

    @property
    def resolving(self) -> str:
        """The request to resolve anew that no node has answered yet, or ""."""
        wanted = self.refresh_wanted
        return "" if self.found and not wishes.is_newer(wanted, self.found[0]) else wanted

    def _reported_revision(self) -> str:
        for model_node in sorted(self.model_nodes, key=lambda n: n.name):
            found = self.reported(model_node).get("revision")
            if found and self.entry_of(model_node) is not None:
                return str(found)
        return ""

    def reported(self, model_node: LocalModelNode) -> Json:
        """What the agent says of this model beyond its state; of an earlier cache of this name: nothing."""
        said = dict((model_node.status.get("models") or {}).get(self.status_key) or {})
        return {} if said.get("cacheUid", self.cache.uid) != self.cache.uid else said

    def state_on(self, model_node: LocalModelNode) -> str:
        """The model's state in the agent's words; "" where it speaks of an earlier cache of this name."""
        said = (model_node.status.get("models") or {}).get(self.status_key) or {}
        if said.get("cacheUid", self.cache.uid) != self.cache.uid:
            return ""
        return str((model_node.status.get("modelStatus") or {}).get(self.status_key) or "")

    def entry_of(self, model_node: LocalModelNode) -> Json | None:
        """This cache's entry in the node's list."""
        return next((e for e in entries(model_node) if self.is_mine(e)), None)

    def is_mine(self, entry: Json) -> bool:
        """Whether an entry is this cache's: identity is name and namespace."""
        return entry.get("modelName") == self.name and (entry.get("namespace") or "") == self.namespace

    def owned_labels(self, role: str, group: str = "") -> dict[str, str]:
        """Labels of an object that this cache owns."""
        found = {
            names.UID_LABEL: self.cache.uid,
            names.CACHE_LABEL: names.label_value(self.name),
            names.ROLE_LABEL: role,
        }
        if self.namespace:
            found[names.CACHE_NAMESPACE_LABEL] = self.namespace
        if group:
            found[names.GROUP_LABEL] = names.label_value(group)
        return found

    def owner_note(self) -> dict[str, str]:
        """Annotation that leads back to this cache."""
        return {OWNER_NOTE: f"{self.namespace}/{self.name}"}


@dataclass(frozen=True)
class NodeView:
    """One node of the plan: where the copy belongs and how far it is."""

    node: str
    group: str
    ready: bool
    state: NodeState
    reported: Json = field(default_factory=dict)
    job: Job | None = None  # the newest
    attempts: int = 0

    def is_outdated(self, revision: str) -> bool:
        """Whether it holds a copy, but of another revision than the one wanted."""
        holds = self.reported.get("revision")
        return self.state is NodeState.DOWNLOADED and bool(revision and holds) and holds != revision


def entries(model_node: LocalModelNode) -> list[Json]:
    """spec.localModels."""
    return list(model_node.spec.get("localModels") or [])


def is_held(view: NodeView, now: float) -> bool:
    """Whether nothing moves on a node until somebody makes room or mends what keeps the pod from starting."""
    if view.state is not NodeState.PENDING:
        return False
    reason, began = view.reported.get("reason"), view.job.meta.get("creationTimestamp") if view.job else None
    return reason == "Exhausted" or (reason == POD_PENDING and elapsed_s(began, now) >= HELD_S)


def attempt_of(job: Job) -> int:
    """Which try a download Job is; 1 for one that does not say."""
    text = job.labels.get(ATTEMPT_LABEL, "1")
    return int(text) if text.isdecimal() else 1


def try_of(job: Job) -> int:
    """How many tries in a row this Job is the last of."""
    text = job.labels.get(TRY_LABEL, "")
    return int(text) if text.isdecimal() else attempt_of(job)


def is_of_group(job: Job, group: str) -> bool:
    """Whether a Job downloads into this group's root; one of an earlier release does not say."""
    return job.labels.get(names.GROUP_LABEL, "") in ("", names.label_value(group))


def finished(job: Job) -> str:
    """Complete or Failed once the Job is over, else an empty text."""
    for condition in job.status.get("conditions") or ():
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            return str(condition["type"])
    return ""


def over_since(job: Job) -> object:
    """RFC 3339 time at which the Job was over, or when it was made."""
    for condition in job.status.get("conditions") or ():
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            return condition.get("lastTransitionTime") or job.meta.get("creationTimestamp")
    return job.meta.get("creationTimestamp")
