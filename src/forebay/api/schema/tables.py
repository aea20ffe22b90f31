"""Built-in kinds as tables: reading what tools/gen_builtin.py wrote.

One JSON file per Go package (`core.v1.json`), loaded when first asked for: {module, aliases, enums, structs}.
A struct is a list of fields [json name ("" when its fields are inlined), protobuf number, type, flags,
{more}].
Types are codes: `s` string, `b` bool, `i` int32, `l` int64, `f` float64, `y` bytes, `q` Quantity,
`x` IntOrString, `t` Time, `T` MicroTime, `d` Duration, `r` RawExtension, `F` FieldsV1, `j` any JSON; `[T`
list,
`{T` map, `wT` a list that protobuf wraps in a message, `@package.Name` a struct or a named type.
Flags: `r` required, `p` pointer, `o` omitted when empty. `more`: s patch strategy, k patch merge key,
l list type, m list map keys, a map or struct type, d default.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from forebay.api.meta import Resource

PACKAGE_OF_GROUP = {
    "": "core", "apps": "apps", "batch": "batch", "discovery.k8s.io": "discovery",
    "coordination.k8s.io": "coordination", "storage.k8s.io": "storage", "events.k8s.io": "events",
    "rbac.authorization.k8s.io": "rbac", "autoscaling": "autoscaling", "authorization.k8s.io":
    "authorization", "authentication.k8s.io": "authentication", "policy": "policy", "apiextensions.k8s.io":
    "apiextensions", "meta.k8s.io": "meta", "networking.k8s.io": "networking", "scheduling.k8s.io":
    "scheduling",
}  # fmt: skip
_PACKAGES = {
    "core.v1", "apps.v1", "batch.v1", "discovery.v1", "coordination.v1", "storage.v1", "events.v1", "rbac.v1",
    "autoscaling.v1", "autoscaling.v2", "authorization.v1", "authentication.v1", "policy.v1",
    "apiextensions.v1", "meta.v1", "networking.v1", "scheduling.v1",
}  # fmt: skip
_GO_NAMES = {
    "s": "string", "b": "bool", "i": "int32", "l": "int64", "f": "float64", "y": "[]uint8",
    "q": "resource.Quantity",
    "x": "intstr.IntOrString", "t": "v1.Time", "T": "v1.MicroTime", "d": "v1.Duration", "r":
    "runtime.RawExtension", "F": "v1.FieldsV1", "j": "v1.JSON",
}  # fmt: skip


@dataclass(frozen=True)
class Type:
    """A field's type. `code` is one letter, or "[", "{" (see `item`), or "@" (see `struct`)."""

    code: str
    go: str
    item: Type | None = None
    struct: str = ""
    enum: tuple[str, ...] = ()
    wrapped: bool = False


@dataclass(frozen=True)
class Field:
    """One field; `inline` structs have been flattened into their owner, except for protobuf's numbers."""

    name: str
    number: int
    type: Type
    required: bool
    pointer: bool
    omit_empty: bool
    strategies: tuple[str, ...] = ()
    merge_key: str = ""
    list_type: str = ""
    list_keys: tuple[str, ...] = ()
    map_type: str = ""
    default: Any = None


@dataclass(frozen=True)
class Struct:
    """A Go struct. `fields` by JSON name; `numbers` by protobuf number, where an inlined struct is one
    field ""."""

    name: str
    fields: dict[str, Field]
    numbers: dict[int, Field]

    @property
    def go(self) -> str:
        """`v1.PodSpec`."""
        return _go_name(self.name)


@cache
def _package(name: str) -> dict[str, Any]:
    text = resources.files(__package__).joinpath("tables", f"{name}.json").read_text()
    return json.loads(text)  # type: ignore[no-any-return]


def _split(name: str) -> tuple[str, str]:
    package, _, short = name.rpartition(".")
    return package, short


def _go_name(name: str) -> str:
    package, short = _split(name)
    return f"{package.split('.')[-1]}.{short}"


def has_struct(name: str) -> bool:
    """Whether `core.v1.Pod` is known."""
    package, short = _split(name)
    return package in _PACKAGES and short in _package(package)["structs"]


@cache
def struct(name: str) -> Struct:
    """The struct `core.v1.Pod`. Raises KeyError when unknown."""
    package, short = _split(name)
    fields: dict[str, Field] = {}
    numbers: dict[int, Field] = {}
    for row in _package(package)["structs"][short]:
        one = _field(row)
        if one.name:
            fields[one.name] = one
        else:
            fields.update(struct(one.type.struct).fields)
        if one.number:
            numbers[one.number] = one
    return Struct(name, fields, numbers)


def _field(row: list[Any]) -> Field:
    name, number, code, flags = row[:4]
    more: dict[str, Any] = row[4] if len(row) > 4 else {}
    strategies = tuple(more["s"].split(",")) if "s" in more else ()
    return Field(
        name, number, type_of(code), "r" in flags, "p" in flags, "o" in flags, strategies, more.get("k", ""),
        more.get("l", ""), tuple(more.get("m", ())), more.get("a", ""), more.get("d"),
    )  # fmt: skip


@cache
def type_of(code: str) -> Type:
    """A type from its code."""
    head, rest = code[0], code[1:]
    if head == "w":
        inner = type_of(rest)
        return Type(inner.code, inner.go, inner.item, wrapped=True)
    if head == "[":
        item = type_of(rest)
        return Type("[", "[]" + item.go, item)
    if head == "{":
        item = type_of(rest)
        return Type("{", "map[string]" + item.go, item)
    if head != "@":
        return Type(head, rest[1:] if rest else _GO_NAMES[head])
    package, short = _split(rest)
    table = _package(package)
    if short in table["structs"]:
        return Type("@", _go_name(rest), struct=rest)
    plain = type_of(table["aliases"][short])
    enum = tuple(table["enums"].get(short, ()))
    return Type(plain.code, _go_name(rest), plain.item, plain.struct, enum, plain.wrapped)


def type_name(kind: type[Resource]) -> str:
    """`core.v1.Pod` for a built-in kind, "" for a custom one."""
    return name_of(kind.api_version, kind.kind)


@cache
def name_of(api_version: str, kind: str) -> str:
    """The struct for an apiVersion and kind, with meta/v1's options in any group; "" when there is none."""
    group, _, version = api_version.rpartition("/")
    if group in PACKAGE_OF_GROUP:
        name = f"{PACKAGE_OF_GROUP[group]}.{version}.{kind}"
        if has_struct(name):
            return name
    options = f"meta.v1.{kind}"
    return options if kind.endswith(("Options", "Status")) and has_struct(options) else ""


def is_builtin(kind: type[Resource]) -> bool:
    """Whether Kubernetes itself defines the kind (strategic merge patches work, tables know its shape)."""
    return bool(type_name(kind))
