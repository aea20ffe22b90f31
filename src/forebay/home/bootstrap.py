"""What a home holds from its first second: namespaces, accounts, definitions, the gateway."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial

from forebay.api.crds import all_crds
from forebay.api.kinds import (
    ConfigMap,
    CustomResourceDefinition,
    Deployment,
    Namespace,
    ServiceAccount,
    StorageClass,
)
from forebay.api.meta import Json, Key, Resource
from forebay.errors import Clash
from forebay.store.protocol import Store, edit

SYSTEM, JOBS = "kserve", "kserve-localmodel-jobs"
CONFIG = Key(SYSTEM, "inferenceservice-config")
GATEWAY = Key(SYSTEM, "forebay-gateway")
GATEWAY_LABELS = {"app": "forebay-gateway"}


def own_objects(gateway_port: int) -> tuple[Resource, ...]:
    """Objects that the home makes for itself, in the order in which they must be made."""
    spaces = ("default", "kube-system", "kube-public", "kube-node-lease", SYSTEM, JOBS)
    return (
        *(Namespace.new(name) for name in spaces),
        ServiceAccount.new("forebay-node", SYSTEM),
        ServiceAccount.new("forebay-gateway", SYSTEM),
        StorageClass.new(
            "local-storage",
            provisioner="kubernetes.io/no-provisioner",
            volumeBindingMode="WaitForFirstConsumer",
            reclaimPolicy="Delete",
        ),
        gateway_deployment(gateway_port),
    )


def gateway_deployment(port: int) -> Deployment:
    """The data plane as a pod of this home, on the port that people know."""
    container = {
        "name": "gateway",
        "image": "forebay/gateway:latest",
        "args": ["--host", "127.0.0.1", "--port", "$(PORT)"],
        "ports": [{"name": "http", "containerPort": 8080, "hostPort": port}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 5},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
    }
    spec = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},  # two pods cannot hold one port
        "selector": {"matchLabels": GATEWAY_LABELS},
        "template": {
            "metadata": {"labels": GATEWAY_LABELS},
            "spec": {"serviceAccountName": "forebay-gateway", "containers": [container]},
        },
    }
    return Deployment.new(GATEWAY.name, GATEWAY.namespace, labels=GATEWAY_LABELS, spec=spec)


async def ensure(store: Store, objects: Iterable[Resource]) -> None:
    """Create what is not there; what is there stays as people left it."""
    for item in objects:
        try:
            await store.create(item)
        except Clash:
            continue


async def define(store: Store) -> None:
    """Show the definitions of the kinds that are built in, as an installation on a cluster would.

    Scripts ask for them (`kubectl wait --for=condition=Established crd/...`). They tell what is served, so
    those of an older life, or of somebody's own, are written over.
    """
    for raw in all_crds():
        new = CustomResourceDefinition(raw)
        try:
            await store.create(new)
        except Clash:
            await edit(store, CustomResourceDefinition, new.key, partial(_redefine, new.spec))


def _redefine(spec: Json, item: CustomResourceDefinition) -> None:
    item.raw["spec"] = spec


async def point_to_gateway(store: Store, port: int) -> None:
    """Say in KServe's own `ingress` fields, and in the gateway's pod, which port this life uses."""

    def in_config(config: ConfigMap) -> None:
        data = config.raw.setdefault("data", {})
        ingress: Json = json.loads(data.get("ingress") or "{}")
        ingress |= {
            "urlScheme": "http",
            "ingressDomain": f"127.0.0.1:{port}",
            "pathTemplate": "/serving/{{ .Namespace }}/{{ .Name }}",
        }
        data["ingress"] = json.dumps(ingress, indent=1)

    def in_pod(deployment: Deployment) -> None:
        deployment.spec["template"] = gateway_deployment(port).spec["template"]

    await edit(store, ConfigMap, CONFIG, in_config)
    await edit(store, Deployment, GATEWAY, in_pod)
