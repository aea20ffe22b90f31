"""The gateway's bounds and deadlines, in one place."""

from __future__ import annotations

from forebay.kit.http1 import Limits

LIMITS = Limits(
    head_max=32 * 1024,
    headers_max=100,
    body_held_max=32 * 1024 * 1024,
    replay_max=1024 * 1024,
    clients_max=10_000,
    pipelined_max=64,
    idle_per_backend_max=256,
    timeout_connect_s=3.0,
    timeout_head_s=15.0,
    timeout_body_s=60.0,
    timeout_first_byte_s=600.0,
    timeout_between_bytes_s=600.0,
    timeout_idle_client_s=180.0,
    timeout_idle_backend_s=30.0,
    reconnect_s=10.0,
)
LINGER_S = 0.5
DRAIN_S = 25.0  # less than Kubernetes' default grace of 30 s
