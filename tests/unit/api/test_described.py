"""Every field of our kinds is explained, in one short sentence, and only to those who ask."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from forebay.api import ours
from forebay.api.crds import crd
from forebay.api.described import described, key_of, words
from forebay.api.kinds import OURS, InferenceService
from forebay.api.meta import Json
from forebay.api.schema.openapi import openapi_v3

LONGEST = 120


def fields(node: Json, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Paths of all fields below a node of a schema."""
    for name, field in (node.get("properties") or {}).items():
        yield (*path, name)
        yield from fields(field, (*path, name))
    for nested in ("items", "additionalProperties"):
        if isinstance(node.get(nested), dict):
            yield from fields(node[nested], path)


ALL = [path for kind, schema in ours.schemas().items() for path in fields(schema, (kind.kind,))]


def test_every_kind_and_field_has_its_sentence() -> None:
    assert len(ALL) > 1000
    assert {path[1] for path in ALL if not key_of(path)} == {"metadata"}, "of which nothing must be said"
    assert [kind.kind for kind in OURS if kind.kind not in words()] == []


def test_every_sentence_is_used_short_and_a_sentence() -> None:
    used = {key_of(path) for path in ALL} | {kind.kind for kind in OURS}
    assert sorted(set(words()) - used) == []
    odd = [k for k, text in words().items() if len(text) > LONGEST or not text.endswith(".") or "\n" in text]
    assert odd == []


def test_the_api_and_the_definitions_explain_and_schemas_stay_as_they_were() -> None:
    document = openapi_v3("serving.kserve.io", "v1beta1", [InferenceService])
    [schema] = [
        s for name, s in document["components"]["schemas"].items() if name.endswith("InferenceService")
    ]
    spec = schema["properties"]["spec"]
    assert spec["description"] == words()["spec"]
    uri = spec["properties"]["predictor"]["properties"]["model"]["properties"]["storageUri"]
    assert uri["description"] == words()["storageUri"]
    [version] = crd(InferenceService)["spec"]["versions"]
    assert version["schema"]["openAPIV3Schema"]["description"] == words()["InferenceService"]
    assert "description" not in ours.schemas()[InferenceService]
    plain = ours.schemas()[InferenceService]
    assert without_descriptions(described(InferenceService, plain)) == plain


def without_descriptions(node: Json) -> Json:
    found = {k: v for k, v in node.items() if k != "description"}
    if "properties" in found:
        found["properties"] = {k: without_descriptions(v) for k, v in found["properties"].items()}
    for nested in ("items", "additionalProperties"):
        if isinstance(found.get(nested), dict):
            found[nested] = without_descriptions(found[nested])
    return found


def test_programs_that_show_nothing_do_not_load_the_sentences() -> None:
    code = (
        "import sys; from forebay.api import ours, admission, rules_serving; ours.schemas(); "
        "sys.exit('tomllib' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
