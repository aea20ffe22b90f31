"""Fields of Kubernetes' PodSpec and Container that our kinds inline.

Names and simple types only (facts of core/v1); what is inside them is kept as it is and checked where the
pod is created.
"""

from __future__ import annotations

from pydantic import Field

from forebay.api.structural import Fields, Free, FreeList, Int32, Int64, Strings


class ContainerFields(Fields):
    """All fields of a core/v1 Container except its name."""

    args: list[str] | None = None
    command: list[str] | None = None
    env: FreeList | None = None
    env_from: FreeList | None = None
    image: str | None = None
    image_pull_policy: str | None = None
    lifecycle: Free | None = None
    liveness_probe: Free | None = None
    ports: FreeList | None = None
    readiness_probe: Free | None = None
    resize_policy: FreeList | None = None
    resources: Free | None = None
    restart_policy: str | None = None
    restart_policy_rules: FreeList | None = None
    security_context: Free | None = None
    startup_probe: Free | None = None
    stdin: bool | None = None
    stdin_once: bool | None = None
    termination_message_path: str | None = None
    termination_message_policy: str | None = None
    tty: bool | None = None
    volume_devices: FreeList | None = None
    volume_mounts: FreeList | None = None
    working_dir: str | None = None


class Container(ContainerFields):
    """A core/v1 Container. Kubernetes asks for the name."""

    name: str


class PodFields(Fields):
    """All fields of a core/v1 PodSpec except its containers."""

    active_deadline_seconds: Int64 | None = None
    affinity: Free | None = None
    automount_service_account_token: bool | None = None
    dns_config: Free | None = None
    dns_policy: str | None = None
    enable_service_links: bool | None = None
    host_aliases: FreeList | None = None
    host_ipc: bool | None = Field(None, alias="hostIPC")
    host_network: bool | None = None
    host_pid: bool | None = Field(None, alias="hostPID")
    host_users: bool | None = None
    hostname: str | None = None
    hostname_override: str | None = None
    image_pull_secrets: FreeList | None = None
    init_containers: FreeList | None = None
    node_name: str | None = None
    node_selector: Strings | None = None
    os: Free | None = None
    overhead: Free | None = None
    preemption_policy: str | None = None
    priority: Int32 | None = None
    priority_class_name: str | None = None
    readiness_gates: FreeList | None = None
    resource_claims: FreeList | None = None
    resources: Free | None = None
    restart_policy: str | None = None
    runtime_class_name: str | None = None
    scheduler_name: str | None = None
    scheduling_gates: FreeList | None = None
    security_context: Free | None = None
    service_account: str | None = None
    service_account_name: str | None = None
    set_hostname_as_fqdn: bool | None = Field(None, alias="setHostnameAsFQDN")
    share_process_namespace: bool | None = None
    subdomain: str | None = None
    termination_grace_period_seconds: Int64 | None = None
    tolerations: FreeList | None = None
    topology_spread_constraints: FreeList | None = None
    volumes: FreeList | None = None
