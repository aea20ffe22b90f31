"""What `forebay run` applies: objects that the home accepts, beside those of examples/."""

from __future__ import annotations

from pathlib import Path

import yaml

from forebay.api import quantity
from forebay.cli import models

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_the_cache_asks_for_no_volume_of_nothing() -> None:
    """A size of 0 made a claim that the home refuses, and the model was never fetched."""
    size = models.cache("hf://org/name", "name").spec.get("modelSize")
    assert size is None or quantity.parse(size) > 0


def test_its_node_group_has_a_folder_of_its_own() -> None:
    """Agents of two groups over one folder each remove what the other holds."""
    texts = (EXAMPLES / "2-node-group.yaml").read_text()
    example = next(d for d in yaml.safe_load_all(texts) if d["kind"] == "LocalModelNodeGroup")
    path = example["spec"]["persistentVolumeSpec"]["local"]["path"]
    own = models.node_group().spec["persistentVolumeSpec"]["local"]["path"]
    assert not own.startswith(path + "/") and own != path
