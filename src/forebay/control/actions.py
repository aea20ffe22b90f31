"""What a decision may ask for; pure. `carry.py` does it."""

from __future__ import annotations

from dataclasses import dataclass

from forebay.api.meta import Key, Resource


@dataclass(frozen=True)
class Create:
    """A new object; that it exists already is success, because its name is computed."""

    item: Resource


@dataclass(frozen=True)
class Replace:
    """The object as it shall be, with the revision it was read at."""

    item: Resource


@dataclass(frozen=True)
class Delete:
    """Remove the object with that uid; that it is gone already is success."""

    kind: type[Resource]
    key: Key
    uid: str


@dataclass(frozen=True)
class Note:
    """An event for people on the object that is decided about; `warning` for what needs their attention."""

    reason: str
    message: str
    warning: bool = False


Action = Create | Replace | Delete | Note


def delete(item: Resource) -> Delete:
    """Remove exactly this object."""
    return Delete(type(item), item.key, item.uid)
