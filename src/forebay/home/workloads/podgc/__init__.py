"""Pods that nobody else removes."""
