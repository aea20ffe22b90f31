"""Objects that several tests of the schemas start from."""

from __future__ import annotations

from typing import Any


def pod(**spec: Any) -> dict[str, Any]:
    """A pod with one container; `spec` is added."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default", "uid": "u"},
        "spec": {"containers": [{"name": "c", "image": "app:1"}], **spec},
    }


def deployment(**spec: Any) -> dict[str, Any]:
    """A deployment whose selector matches its template; `spec` is added."""
    template = {
        "metadata": {"labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "image": "app:1"}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "default", "uid": "u"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template, **spec},
    }


def job(**spec: Any) -> dict[str, Any]:
    """A job as `kubectl create job` posts it; `spec` is added."""
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "app:1"}]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j", "namespace": "default", "uid": "0-1"},
        "spec": {"template": template, **spec},
    }


def crd(schema: dict[str, Any], **version: Any) -> dict[str, Any]:
    """A definition of `Toy` in group example.com whose spec has this schema."""
    whole = {"type": "object", "properties": {"spec": schema, "status": {"type": "object"}}}
    one = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": whole}, **version}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "toys.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "toys", "kind": "Toy", "shortNames": ["ty"]},
            "versions": [one],
        },
    }


def toy(spec: Any) -> dict[str, Any]:
    """An object of crd()'s kind."""
    return {
        "apiVersion": "example.com/v1",
        "kind": "Toy",
        "metadata": {"name": "t", "namespace": "default"},
        "spec": spec,
    }
