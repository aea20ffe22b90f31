"""Every kind that both homes serve, with the names a client uses for it."""

from __future__ import annotations

from forebay.api.meta import Resource

SERVING = "serving.kserve.io/v1alpha1"


# ruff: noqa: E501, E701
# fmt: off
class Namespace(Resource, api="v1", namespaced=False, short=("ns",)): __slots__ = ()
class Node(Resource, api="v1", namespaced=False, short=("no",)): __slots__ = ()
class Pod(Resource, api="v1", short=("po",), categories=("all",)): __slots__ = ()
class Service(Resource, api="v1", short=("svc",), categories=("all",)): __slots__ = ()
class Secret(Resource, api="v1", has_status=False): __slots__ = ()
class ConfigMap(Resource, api="v1", has_status=False, short=("cm",)): __slots__ = ()
class PersistentVolume(Resource, api="v1", namespaced=False, short=("pv",)): __slots__ = ()
class PersistentVolumeClaim(Resource, api="v1", short=("pvc",)): __slots__ = ()
class Event(Resource, api="v1", has_status=False, short=("ev",)): __slots__ = ()
class ServiceAccount(Resource, api="v1", has_status=False, short=("sa",)): __slots__ = ()
class Deployment(Resource, api="apps/v1", has_scale=True, short=("deploy",), categories=("all",)): __slots__ = ()
class ReplicaSet(Resource, api="apps/v1", has_scale=True, short=("rs",), categories=("all",)): __slots__ = ()
class DaemonSet(Resource, api="apps/v1", short=("ds",), categories=("all",)): __slots__ = ()
class ControllerRevision(Resource, api="apps/v1", has_status=False): __slots__ = ()
class Job(Resource, api="batch/v1", categories=("all",)): __slots__ = ()
class EndpointSlice(Resource, api="discovery.k8s.io/v1", has_status=False): __slots__ = ()
class Lease(Resource, api="coordination.k8s.io/v1", has_status=False): __slots__ = ()
class StorageClass(Resource, api="storage.k8s.io/v1", plural="storageclasses", namespaced=False, has_status=False, short=("sc",)): __slots__ = ()
class EventV1(Resource, api="events.k8s.io/v1", kind="Event", has_status=False, short=("ev",)): __slots__ = ()
class Role(Resource, api="rbac.authorization.k8s.io/v1", has_status=False): __slots__ = ()
class RoleBinding(Resource, api="rbac.authorization.k8s.io/v1", has_status=False): __slots__ = ()
class ClusterRole(Resource, api="rbac.authorization.k8s.io/v1", namespaced=False, has_status=False): __slots__ = ()
class ClusterRoleBinding(Resource, api="rbac.authorization.k8s.io/v1", namespaced=False, has_status=False): __slots__ = ()
class HorizontalPodAutoscaler(Resource, api="autoscaling/v2", short=("hpa",), categories=("all",)): __slots__ = ()
class Endpoints(Resource, api="v1", plural="endpoints", has_status=False, short=("ep",)): __slots__ = ()
class ResourceQuota(Resource, api="v1", short=("quota",)): __slots__ = ()
class LimitRange(Resource, api="v1", has_status=False, short=("limits",)): __slots__ = ()
class ReplicationController(Resource, api="v1", has_scale=True, short=("rc",), categories=("all",)): __slots__ = ()
class StatefulSet(Resource, api="apps/v1", has_scale=True, short=("sts",), categories=("all",)): __slots__ = ()
class CronJob(Resource, api="batch/v1", short=("cj",), categories=("all",)): __slots__ = ()
class PodDisruptionBudget(Resource, api="policy/v1", short=("pdb",)): __slots__ = ()
class Ingress(Resource, api="networking.k8s.io/v1", plural="ingresses", short=("ing",)): __slots__ = ()
class IngressClass(Resource, api="networking.k8s.io/v1", plural="ingressclasses", namespaced=False, has_status=False): __slots__ = ()
class NetworkPolicy(Resource, api="networking.k8s.io/v1", plural="networkpolicies", has_status=False, short=("netpol",)): __slots__ = ()
class PriorityClass(Resource, api="scheduling.k8s.io/v1", plural="priorityclasses", namespaced=False, has_status=False, short=("pc",)): __slots__ = ()
class HorizontalPodAutoscalerV1(Resource, api="autoscaling/v1", kind="HorizontalPodAutoscaler", short=("hpa",), categories=("all",)): __slots__ = ()
class CustomResourceDefinition(Resource, api="apiextensions.k8s.io/v1", namespaced=False, short=("crd", "crds"), categories=("api-extensions",)): __slots__ = ()
class LocalModelCache(Resource, api=SERVING, namespaced=False): __slots__ = ()
class LocalModelNamespaceCache(Resource, api=SERVING): __slots__ = ()
class LocalModelNode(Resource, api=SERVING, namespaced=False): __slots__ = ()
class LocalModelNodeGroup(Resource, api=SERVING, namespaced=False, has_status=False): __slots__ = ()
class ClusterStorageContainer(Resource, api=SERVING, namespaced=False, has_status=False): __slots__ = ()
class ServingRuntime(Resource, api=SERVING): __slots__ = ()
class ClusterServingRuntime(Resource, api=SERVING, namespaced=False): __slots__ = ()
class InferenceService(Resource, api="serving.kserve.io/v1beta1", short=("isvc",)): __slots__ = ()
# fmt: on

# Stored and served for clients that post them; nothing of the embedded home acts on them.
STORED: tuple[type[Resource], ...] = (
    ReplicationController, ResourceQuota, LimitRange, StatefulSet, CronJob, PodDisruptionBudget, Ingress,
    IngressClass, NetworkPolicy, PriorityClass,
)  # fmt: skip
CORE: tuple[type[Resource], ...] = (
    Namespace, Node, Pod, Service, Secret, ConfigMap, PersistentVolume, PersistentVolumeClaim, Event, ServiceAccount,
    Deployment, ReplicaSet, DaemonSet, ControllerRevision, Job, EndpointSlice, Lease, StorageClass, EventV1, Role,
    RoleBinding, ClusterRole, ClusterRoleBinding, HorizontalPodAutoscaler, CustomResourceDefinition,
    Endpoints, HorizontalPodAutoscalerV1, *STORED,
)  # fmt: skip
OURS: tuple[type[Resource], ...] = (
    LocalModelCache, LocalModelNamespaceCache, LocalModelNode, LocalModelNodeGroup, ClusterStorageContainer,
    ServingRuntime, ClusterServingRuntime, InferenceService,
)  # fmt: skip
ALL = CORE + OURS
