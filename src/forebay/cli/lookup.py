"""From words to kinds and names: `isvc/llama`, `pods`, `LocalModelCache m`."""

from __future__ import annotations

from forebay.api import kinds
from forebay.api.meta import Key, Resource
from forebay.errors import Invalid

ALIASES = {"lmc": kinds.LocalModelCache, "lmnc": kinds.LocalModelNamespaceCache, "lmn": kinds.LocalModelNode,
           "lmng": kinds.LocalModelNodeGroup, "csc": kinds.ClusterStorageContainer}  # fmt: skip


def kind_named(word: str) -> type[Resource]:
    """A kind by plural, singular, short name or Kind, with or without its group. Raises Invalid."""
    low = word.lower()
    if low in ALIASES:
        return ALIASES[low]
    for kind in kinds.ALL:
        if low in (kind.plural, kind.singular, *kind.short, f"{kind.plural}.{kind.group}"):
            return kind
    raise Invalid(f"the server has no resource type {word!r} that this command knows; kubectl knows them all")


def kind_of(api_version: str, kind_name: str) -> type[Resource]:
    """A kind by apiVersion and kind. Raises Invalid."""
    for kind in kinds.ALL:
        if (kind.api_version, kind.kind) == (api_version, kind_name):
            return kind
    raise Invalid(f"{api_version} {kind_name} is not known here; apply it with kubectl")


def split(words: tuple[str, ...]) -> tuple[type[Resource], tuple[str, ...]]:
    """`("isvc/a",)` or `("isvc", "a", "b")` as kind and names. Raises Invalid."""
    if not words:
        raise Invalid("name a kind, e.g. isvc, localmodelcaches, pods")
    first, slash, name = words[0].partition("/")
    kind = kind_named(first)
    if not slash:
        return kind, words[1:]
    if len(words) > 1:
        raise Invalid(f"{' '.join(words)}: give either KIND/NAME or KIND NAME…")
    return kind, (name,)


def key_of(kind: type[Resource], name: str, namespace: str) -> Key:
    """The key; cluster-scoped kinds ignore the namespace."""
    return Key(namespace if kind.namespaced else "", name)
