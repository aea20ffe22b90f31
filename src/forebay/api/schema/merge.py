"""JSON merge patch (RFC 7386) and Kubernetes' strategic merge patch.

Source of the strategic rules: Kubernetes' documentation of strategic merge patch (list merge keys, `$patch`,
`$deleteFromPrimitiveList`, `$setElementOrder`, `$retainKeys`), with the keys of the generated tables.
"""

from __future__ import annotations

import copy
from typing import Any

from forebay.api.meta import Json, Resource
from forebay.api.schema.tables import Field, Struct, Type, struct, type_name
from forebay.errors import Invalid

_PATCH, _RETAIN = "$patch", "$retainKeys"
_DELETE, _ORDER = "$deleteFromPrimitiveList/", "$setElementOrder/"


def json_merge(current: Any, patch: Any) -> Any:
    """`current` with `patch` merged in: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    out = dict(current) if isinstance(current, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = json_merge(out.get(key), value)
    return out


def strategic_merge(current: Json, patch: Json, kind: type[Resource]) -> Json:
    """`current` with a strategic merge patch of a built-in kind applied; neither argument changes.

    Raises Invalid (reason BadRequest) for directives that are none, and for list items without their key.
    """
    name = type_name(kind)
    if not name:
        raise Invalid(
            f"strategic merge patch is not defined for {kind.kind}: use a JSON merge patch",
            reason="BadRequest",
        )
    return _objects(copy.deepcopy(current), copy.deepcopy(patch), struct(name))


def _objects(current: Json, patch: Json, shape: Struct | None) -> Json:
    directive = patch.pop(_PATCH, None)
    if directive == "replace":
        return {key: _clean(item) for key, item in patch.items() if item is not None}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise _bad(f"unknown patch type: {directive} in map: {_in_go({_PATCH: directive, **patch})}")
    retain = patch.pop(_RETAIN, None)
    if retain is not None:
        current = _retained(current, retain, patch)
    current = _primitives_deleted(current, patch)
    orders = {key[len(_ORDER) :]: patch.pop(key) for key in list(patch) if key.startswith(_ORDER)}
    for key, value in patch.items():
        field = shape.fields.get(key) if shape is not None else None
        if value is None:
            current.pop(key, None)
        else:
            current[key] = _merged(current, key, value, field, orders.get(key))
    for key, order in orders.items():
        if key not in patch and isinstance(current.get(key), list):
            field = shape.fields.get(key) if shape is not None else None
            current[key] = _ordered(current[key], current[key], order, field.merge_key if field else "")
    return current


def _merged(current: Json, key: str, value: Any, field: Field | None, order: list[Any] | None) -> Any:
    there = current.get(key)
    if isinstance(value, dict):
        if field is not None and "replace" in field.strategies:
            return _clean(value)
        if isinstance(there, dict):
            return _objects(there, value, _shape_below(field))
        return _clean(_without_directives(value))
    if isinstance(value, list):
        if field is None or "merge" not in field.strategies:
            return [_clean(item) for item in value]
        return _lists(there if isinstance(there, list) else [], value, field, order)
    return value


def _shape_below(field: Field | None) -> Struct | None:
    if field is None:
        return None
    kind: Type | None = field.type
    while kind is not None and kind.code == "[":
        kind = kind.item
    return struct(kind.struct) if kind is not None and kind.code == "@" else None


def _retained(current: Json, retain: Any, patch: Json) -> Json:
    """`$retainKeys` lists every key that may stay; the patch may not carry others."""
    if not isinstance(retain, list):
        raise _bad("$retainKeys must be a list")
    extra = [
        key
        for key, value in patch.items()
        if value is not None and key not in retain and not key.startswith("$")
    ]
    if extra:
        raise _bad("$retainKeys list does not match the present keys in the patch: " + ", ".join(extra))
    return {key: value for key, value in current.items() if key in retain}


def _primitives_deleted(current: Json, patch: Json) -> Json:
    for key in [key for key in patch if key.startswith(_DELETE)]:
        gone, name = patch.pop(key), key[len(_DELETE) :]
        if not isinstance(gone, list):
            raise _bad(f"{key} must be a list")
        if isinstance(current.get(name), list):
            current[name] = [item for item in current[name] if item not in gone]
    return current


def _lists(current: list[Any], patch: list[Any], field: Field, order: list[Any] | None) -> list[Any]:
    if not field.merge_key:
        return _primitives(current, patch, order)
    key, shape = field.merge_key, _shape_below(field)
    if any(isinstance(item, dict) and item.get(_PATCH) == "replace" and len(item) == 1 for item in patch):
        return [
            _clean(item) for item in patch if not (isinstance(item, dict) and item.get(_PATCH) == "replace")
        ]
    if not current and all(isinstance(item, dict) and _PATCH not in item for item in patch):
        return [_clean(_without_directives(item)) for item in patch]  # validation says what they lack
    server = list(current)
    for item in patch:
        server = _item_merged(server, item, key, shape)
    touched = order if order is not None else [item for item in patch if _PATCH not in item]
    return _ordered(server, current, touched, key)


def _item_merged(current: list[Any], item: Any, key: str, shape: Struct | None) -> list[Any]:
    if not isinstance(item, dict):
        raise _bad("expected a map in a list that merges by key")
    directive = item.get(_PATCH)
    if key not in item:
        raise _bad(f"map: {_in_go(item)} does not contain declared merge key: {key}")
    if directive == "delete":
        return [one for one in current if not _same(one, item, key)]
    at = next((index for index, one in enumerate(current) if _same(one, item, key)), None)
    if at is None:
        return [*current, _clean(_without_directives(item))]
    merged = _clean({k: v for k, v in item.items() if k != _PATCH}) if directive == "replace" else None
    current[at] = merged if merged is not None else _objects(current[at], item, shape)
    return current


def _same(one: Any, other: Json, key: str) -> bool:
    return isinstance(one, dict) and key in one and one[key] == other[key]


def _primitives(current: list[Any], patch: list[Any], order: list[Any] | None) -> list[Any]:
    server = current + [item for item in patch if item not in current]
    unique = [item for index, item in enumerate(server) if item not in server[:index]]
    return _ordered(unique, current, order if order is not None else patch, "")


def _ordered(items: list[Any], server: list[Any], order: list[Any], key: str) -> list[Any]:
    """Items named in `order` in that order; others keep their place relative to what stood before them.

    Source: the documented rule that the order of the patch wins, and items known to the server alone keep
    theirs.
    """

    def identity(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted = [identity(item) for item in order]
    named = sorted((i for i in items if identity(i) in wanted), key=lambda i: wanted.index(identity(i)))
    alone = [item for item in items if identity(item) not in wanted]
    places = [identity(item) for item in server]

    def place(item: Any) -> int:
        return places.index(identity(item)) if identity(item) in places else -1  # new ones come first

    out: list[Any] = []
    while named and alone:
        # An item of the server's goes first while it stood before the next named one there.
        out.append(alone.pop(0) if place(alone[0]) < place(named[0]) else named.pop(0))
    return out + named + alone


def _without_directives(value: Any) -> Any:
    """A patch for something that is not there yet: its directives have nothing to act on."""
    if isinstance(value, dict):
        return {
            key: _without_directives(item)
            for key, item in value.items()
            if key not in (_PATCH, _RETAIN) and not key.startswith((_DELETE, _ORDER))
        }
    if isinstance(value, list):
        kept = [item for item in value if not (isinstance(item, dict) and item.get(_PATCH) == "delete")]
        return [_without_directives(item) for item in kept]
    return value


def _clean(value: Any) -> Any:
    """Nulls removed from objects, as a patch that replaces means them."""
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items() if item is not None}
    return [_clean(item) for item in value] if isinstance(value, list) else value


def _in_go(value: Any) -> str:
    """A value as Go's %v prints it."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_in_go(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(_in_go, value)) + "]"
    return (
        {None: "<nil>", True: "true", False: "false"}.get(value, str(value))
        if value is None or isinstance(value, bool)
        else str(value)
    )


def _bad(message: str) -> Invalid:
    return Invalid(message, reason="BadRequest")
