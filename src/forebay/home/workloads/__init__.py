"""The small controllers that Kubernetes brings along and the embedded home lacks: one folder per concern."""

from __future__ import annotations

from forebay.home.workloads.wiring import controllers

__all__ = ["controllers"]
