"""What knows the shape of objects: pure functions over JSON, the same for built-in, our own and posted kinds.

A kind is a `type[Resource]`. Where its shape comes from:

- built-in kinds: compact tables generated from the published Go module k8s.io/api (`tools/gen_builtin.py`);
- our own kinds: OpenAPI v3 structural schemas of `forebay.api.serving.SCHEMAS`;
- posted kinds: `kind_of_crd(crd, version)` makes a kind that carries `openapi`, `columns` and `scale`.

What is here, by use. `Json` is a dict; a cause is (field path, reason, message) as in `ForebayError.causes`;
everything is pure, and refuses with Invalid (reason BadRequest).

Reading a request body
    `parse_json(body)` gives (raw, sentences about duplicate fields); `decode_protobuf(body)`, if
    `is_protobuf(body)`, gives raw.
    `check_types(raw, kind)` refuses a value of the wrong type of a built-in kind in Go's words.
    `unknown_fields(raw, kind)` gives sentences, `unknown field "spec.foo"`, ready for a Warning header;
    `strict_error(kind, sentences)` is what fieldValidation=Strict answers.
    For bodies that are no kind of ours (DeleteOptions, reviews, Eviction, Scale) pass a type name:
    `check_types(raw, "meta.v1.DeleteOptions")`; `type_name(kind)` gives "core.v1.Pod" for a built-in kind.
Patching
    `strategic_merge(current, patch, kind)` for kinds where `is_builtin(kind)`; `json_merge(current, patch)`.
Preparing what is stored (`forebay.api.admission.Rules` does it for the store)
    `pruned(raw, kind)`, `defaulted(raw, kind)`, `validate(raw, old, kind)` -> causes.
Describing
    `openapi_v3(group, version, kinds)` is the document of /openapi/v3/apis/<group>/<version>.
    `openapi_v2.openapi_v2(documents)` makes the old one of them.
"""

from forebay.api.schema.crd import kind_of_crd
from forebay.api.schema.decode import check_types, parse_json, strict_error, unknown_fields
from forebay.api.schema.forms import defaulted, pruned
from forebay.api.schema.merge import json_merge, strategic_merge
from forebay.api.schema.openapi import openapi_v3
from forebay.api.schema.protobuf import decode_protobuf, is_protobuf
from forebay.api.schema.tables import is_builtin, type_name
from forebay.api.schema.validation import validate

__all__ = [
    "check_types", "decode_protobuf", "defaulted", "is_builtin", "is_protobuf", "json_merge", "kind_of_crd",
    "openapi_v3", "parse_json", "pruned", "strategic_merge", "strict_error", "type_name", "unknown_fields",
    "validate",
]  # fmt: skip
