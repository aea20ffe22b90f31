"""Fixtures that several files here share."""

from tests.service.kubectl import apiserver, ns

__all__ = ["apiserver", "ns"]
