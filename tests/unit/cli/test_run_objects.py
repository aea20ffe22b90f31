"""What `forebay run` applies: objects that the home accepts, beside those of examples/."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from forebay.api import quantity
from forebay.cli import models
from forebay.cli.manifests import read

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


def test_what_kubectl_apply_takes_from_the_examples_sends_no_token_to_a_public_hub() -> None:
    """A hub may refuse a wrong token even for public models; the demo's own lies in a folder of its own."""
    plain, gated = read([str(EXAMPLES)]), read([str(EXAMPLES / "gated")])
    assert [item.kind for item in gated] == ["Secret"]
    assert "Secret" not in [item.kind for item in plain]
    container = next(item for item in plain if item.kind == "ClusterStorageContainer").spec["container"]
    wanted = container["env"][0]["valueFrom"]["secretKeyRef"]
    assert (wanted["name"], wanted["optional"]) == (gated[0].name, True)
    assert wanted["key"] in gated[0].raw["stringData"]


def test_the_token_file_of_the_hubs_own_tools_is_as_good_as_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The guide says so, and `forebay pull` did it; `forebay run` asked for HF_TOKEN all the same."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert models.credentials() == []
    (tmp_path / "token").write_text("from-a-file\n")
    secret, container = models.credentials()
    assert secret.raw["stringData"] == {"HF_TOKEN": "from-a-file"}
    assert [entry["name"] for entry in container.spec["container"]["env"]] == ["HF_TOKEN"]
    monkeypatch.setenv("HF_TOKEN", "from-the-shell")
    assert models.credentials()[0].raw["stringData"] == {"HF_TOKEN": "from-the-shell"}
