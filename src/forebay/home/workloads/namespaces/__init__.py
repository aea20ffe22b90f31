"""Namespace: what each one is born with, and its end."""
