"""What knows the shape of objects: pure functions over JSON, the same for built-in, our own and posted kinds.

A kind is a `type[Resource]`. Where its shape comes from:

- built-in kinds: compact tables generated from the published Go module k8s.io/api (`tools/gen_builtin.py`);
- our own kinds: OpenAPI v3 structural schemas of `forebay.api.serving.SCHEMAS`;
- posted kinds: `kind_of_crd(crd, version)` makes a kind that carries its schema, print columns and subresources.

What is here, by use (all pure; `Json` is a dict, a `Cause` is (field path, reason, message) as in `ForebayError.causes`):

Reading a request body
    `parse_json(body) -> (raw, ["duplicate field \"spec.replicas\"", ...])`        raises Invalid (reason BadRequest)
    `is_protobuf(body) -> bool`, `decode_protobuf(body) -> raw`                    raises Invalid (reason BadRequest)
    `check_types(raw, kind)`  built-in kinds: Go's decoding sentence for a wrong type; raises Invalid (BadRequest)
    `unknown_fields(raw, kind) -> ["unknown field \"spec.foo\"", ...]`             sentences, ready for a Warning header
    `strict_error(kind, sentences) -> Invalid`                                     what fieldValidation=Strict answers
    For bodies that are no kind of ours (DeleteOptions, reviews, Eviction, Scale, TokenRequest) pass a type name:
    `check_types(raw, "meta.v1.DeleteOptions")`; `type_name(kind)` gives "core.v1.Pod" for a built-in kind.

Patching
    `strategic_merge(current, patch, kind) -> raw`   raises Invalid (BadRequest); for custom kinds see `is_builtin(kind)`
    `json_merge(current, patch) -> raw`
    (JSON patches: library jsonpatch.)

Preparing what is stored (used by `forebay.api.admission.Rules`, which the store calls)
    `pruned(raw, kind) -> raw`      unknown fields dropped (built-in and custom kinds)
    `defaulted(raw, kind) -> raw`   as kube-apiserver defaults them
    `validate(raw, old, kind) -> [Cause, ...]`

Describing
    `openapi_v3(group, version, kinds) -> document` for /openapi/v3/apis/<group>/<version>
    `kind_of_crd(crd, version) -> type[Resource]`, `crd_trouble(crd) -> [Cause, ...]`
    `openapi_schema(kind) -> Json | None`  structural schema of a custom kind
"""
