"""Every kind that both homes serve, with the names a client uses for it."""

from __future__ import annotations

from forebay.api.meta import Resource

SERVING = "serving.kserve.io/v1alpha1"


# fmt: off
class Namespace(Resource, api="v1", namespaced=False, short=("ns",)): __slots__ = ()  # noqa: E701
class Node(Resource, api="v1", namespaced=False, short=("no",)): __slots__ = ()  # noqa: E701
class Pod(Resource, api="v1", short=("po",), categories=("all",)): __slots__ = ()  # noqa: E701
class Service(Resource, api="v1", short=("svc",), categories=("all",)): __slots__ = ()  # noqa: E701
class Secret(Resource, api="v1", has_status=False): __slots__ = ()  # noqa: E701
class ConfigMap(Resource, api="v1", has_status=False, short=("cm",)): __slots__ = ()  # noqa: E701
class PersistentVolume(Resource, api="v1", namespaced=False, short=("pv",)): __slots__ = ()  # noqa: E701
class PersistentVolumeClaim(Resource, api="v1", short=("pvc",)): __slots__ = ()  # noqa: E701
class Event(Resource, api="v1", has_status=False, short=("ev",)): __slots__ = ()  # noqa: E701
class ServiceAccount(Resource, api="v1", has_status=False, short=("sa",)): __slots__ = ()  # noqa: E701
class Deployment(Resource, api="apps/v1", has_scale=True, short=("deploy",), categories=("all",)): __slots__ = ()  # noqa: E701
class ReplicaSet(Resource, api="apps/v1", has_scale=True, short=("rs",), categories=("all",)): __slots__ = ()  # noqa: E701
class DaemonSet(Resource, api="apps/v1", short=("ds",), categories=("all",)): __slots__ = ()  # noqa: E701
class ControllerRevision(Resource, api="apps/v1", has_status=False): __slots__ = ()  # noqa: E701
class Job(Resource, api="batch/v1", categories=("all",)): __slots__ = ()  # noqa: E701
class EndpointSlice(Resource, api="discovery.k8s.io/v1", has_status=False): __slots__ = ()  # noqa: E701
class Lease(Resource, api="coordination.k8s.io/v1", has_status=False): __slots__ = ()  # noqa: E701
class StorageClass(Resource, api="storage.k8s.io/v1", plural="storageclasses", namespaced=False, has_status=False, short=("sc",)): __slots__ = ()  # noqa: E701,E501
class EventV1(Resource, api="events.k8s.io/v1", kind="Event", has_status=False, short=("ev",)): __slots__ = ()  # noqa: E701
class Role(Resource, api="rbac.authorization.k8s.io/v1", has_status=False): __slots__ = ()  # noqa: E701
class RoleBinding(Resource, api="rbac.authorization.k8s.io/v1", has_status=False): __slots__ = ()  # noqa: E701
class ClusterRole(Resource, api="rbac.authorization.k8s.io/v1", namespaced=False, has_status=False): __slots__ = ()  # noqa: E701
class ClusterRoleBinding(Resource, api="rbac.authorization.k8s.io/v1", namespaced=False, has_status=False): __slots__ = ()  # noqa: E701
class HorizontalPodAutoscaler(Resource, api="autoscaling/v2", short=("hpa",), categories=("all",)): __slots__ = ()  # noqa: E701
class CustomResourceDefinition(Resource, api="apiextensions.k8s.io/v1", namespaced=False, short=("crd", "crds"), categories=("api-extensions",)): __slots__ = ()  # noqa: E701,E501
class LocalModelCache(Resource, api=SERVING, namespaced=False): __slots__ = ()  # noqa: E701
class LocalModelNamespaceCache(Resource, api=SERVING): __slots__ = ()  # noqa: E701
class LocalModelNode(Resource, api=SERVING, namespaced=False): __slots__ = ()  # noqa: E701
class LocalModelNodeGroup(Resource, api=SERVING, namespaced=False, has_status=False): __slots__ = ()  # noqa: E701
class ClusterStorageContainer(Resource, api=SERVING, namespaced=False, has_status=False): __slots__ = ()  # noqa: E701
class ServingRuntime(Resource, api=SERVING): __slots__ = ()  # noqa: E701
class ClusterServingRuntime(Resource, api=SERVING, namespaced=False): __slots__ = ()  # noqa: E701
class InferenceService(Resource, api="serving.kserve.io/v1beta1", short=("isvc",)): __slots__ = ()  # noqa: E701
# fmt: on

CORE: tuple[type[Resource], ...] = (
    Namespace, Node, Pod, Service, Secret, ConfigMap, PersistentVolume, PersistentVolumeClaim, Event, ServiceAccount,
    Deployment, ReplicaSet, DaemonSet, ControllerRevision, Job, EndpointSlice, Lease, StorageClass, EventV1, Role,
    RoleBinding, ClusterRole, ClusterRoleBinding, HorizontalPodAutoscaler, CustomResourceDefinition,
)  # fmt: skip
OURS: tuple[type[Resource], ...] = (
    LocalModelCache, LocalModelNamespaceCache, LocalModelNode, LocalModelNodeGroup, ClusterStorageContainer,
    ServingRuntime, ClusterServingRuntime, InferenceService,
)  # fmt: skip
ALL = CORE + OURS
