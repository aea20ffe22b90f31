"""The structural schemas of our kinds, as tools/gen_serving.py wrote them down.

They are made from the models in serving.py, isvc.py and pods.py. Making them takes 0.2 s and 12 MB, so
programs read the table; while it does not fit the models' files (someone edits them), they are made anew.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import resources

from forebay.api.kinds import OURS
from forebay.api.meta import Json, Resource

MODELS = ("isvc.py", "pods.py", "serving.py", "states.py", "structural.py")
TABLE = "schema/tables/serving.json"


def digest() -> str:
    """The models' files as one sha256."""
    whole = hashlib.sha256()
    for name in MODELS:
        whole.update((resources.files("forebay.api") / name).read_bytes())
    return whole.hexdigest()


def made() -> Json:
    """The table's content, made from the models."""
    from forebay.api import pods, serving

    return {
        "models": digest(),
        "containerKeys": [field.alias for field in pods.ContainerFields.model_fields.values()],
        "podKeys": [field.alias for field in pods.PodFields.model_fields.values()],
        "schemas": {kind.kind: schema for kind, schema in serving.SCHEMAS.items()},
    }


@cache
def _table() -> Json:
    table: Json = json.loads((resources.files("forebay.api") / TABLE).read_bytes())
    return table if table["models"] == digest() else made()


@cache
def schemas() -> dict[type[Resource], Json]:
    """OpenAPI v3 in structural form, by kind. To be read, not changed."""
    return {kind: _table()["schemas"][kind.kind] for kind in OURS}


def container_keys() -> tuple[str, ...]:
    """Names of a container's fields that KServe's predictors and runtimes know."""
    return tuple(_table()["containerKeys"])


def pod_keys() -> tuple[str, ...]:
    """Names of a pod's fields that predictors and runtimes know."""
    return tuple(_table()["podKeys"])
