"""All workload controllers of the embedded home."""

from __future__ import annotations

from forebay.home.workloads.daemonset.controller import DaemonSetController
from forebay.home.workloads.deployment.controller import DeploymentController
from forebay.home.workloads.endpoints.controller import EndpointsController
from forebay.home.workloads.expiry.controller import EventExpiry
from forebay.home.workloads.garbage.controller import GarbageCollector
from forebay.home.workloads.job.controller import JobController
from forebay.home.workloads.namespaces.controller import NamespaceController
from forebay.home.workloads.nodes.controller import NodeLifecycleController
from forebay.home.workloads.podgc.controller import PodCollector
from forebay.home.workloads.replicaset.controller import ReplicaSetController
from forebay.home.workloads.scheduler.controller import SchedulerController
from forebay.home.workloads.volumes.controller import VolumeController
from forebay.kit.clock import Clock
from forebay.store.loop import Controller
from forebay.store.protocol import Store


def controllers(store: Store, *, clock: Clock, ca_pem: str) -> tuple[Controller, ...]:
    """What the home runs below its API; `ca_pem` is the certificate that pods find in kube-root-ca.crt."""
    return (
        SchedulerController(store, clock=clock),
        ReplicaSetController(store, clock=clock),
        DeploymentController(store, clock=clock),
        JobController(store, clock=clock),
        DaemonSetController(store, clock=clock),
        VolumeController(store, clock=clock),
        EndpointsController(store, clock=clock),
        NamespaceController(store, clock=clock, ca_pem=ca_pem),
        GarbageCollector(store, clock=clock),
        NodeLifecycleController(store, clock=clock),
        PodCollector(store, clock=clock),
        EventExpiry(store, clock=clock),
    )
