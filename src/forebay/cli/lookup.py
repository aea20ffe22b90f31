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
    if not low:
        raise Invalid("name a kind, e.g. isvc, localmodelcaches, pods")
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


def kinds_named(word: str) -> list[type[Resource]]:
    """`pods`, `pods,isvc`, or a category such as `all`. Raises Invalid."""
    found: list[type[Resource]] = []
    for one in word.split(","):
        members = [kind for kind in kinds.ALL if one.lower() in kind.categories]
        found += members or [kind_named(one)]
    return list(dict.fromkeys(found))


def targets(words: tuple[str, ...]) -> list[tuple[type[Resource], tuple[str, ...]]]:
    """Kinds, each with the names asked for (none: all), from the words as kubectl takes them: `KIND[,KIND]
    [NAME…]` or `KIND/NAME…`. Raises Invalid.
    """
    if not words:
        raise Invalid("name a kind, e.g. isvc, localmodelcaches, pods")
    slashed = [word for word in words if "/" in word]
    if not slashed:
        return [(kind, words[1:]) for kind in kinds_named(words[0])]
    if len(slashed) < len(words):
        raise Invalid(f"{' '.join(words)}: give either KIND NAME… or KIND/NAME…")
    found: dict[type[Resource], list[str]] = {}
    for word in words:
        kind, _, name = word.partition("/")
        if not kind or not name or "/" in name:
            raise Invalid(f"{word}: write KIND/NAME, e.g. isvc/llama")
        found.setdefault(kind_named(kind), []).append(name)
    return [(kind, tuple(names)) for kind, names in found.items()]


def split(words: tuple[str, ...]) -> tuple[type[Resource], tuple[str, ...]]:
    """As `targets`, where one kind is wanted. Raises Invalid."""
    found = targets(words)
    if len(found) > 1:
        raise Invalid(f"{' '.join(words)}: one kind at a time here")
    return found[0]


def key_of(kind: type[Resource], name: str, namespace: str) -> Key:
    """The key; cluster-scoped kinds ignore the namespace."""
    return Key(namespace if kind.namespaced else "", name)
