"""Seven verbs over Kubernetes objects: the narrow waist of the product.

Promises S1 to S7 (DESIGN.md) hold in both homes; each is a case of tests/conformance/store_suite.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from forebay.api.meta import Key, Resource
from forebay.errors import Clash

T = TypeVar("T", bound=Resource)

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


@dataclass(frozen=True)
class Where:
    """Which objects: all fields narrow, empty means any.

    `labels` is a Kubernetes label selector ("a=b,c in (d,e),!f"); `fields` a field selector
    ("metadata.name=x").
    """

    namespace: str = ""
    name: str = ""
    labels: str = ""
    fields: str = ""


EVERYWHERE = Where()


@dataclass(frozen=True)
class Page(Generic[T]):
    """Objects in key order, the revision at which a watch continues, and a token and a number if there is
    more.
    """

    items: tuple[T, ...]
    revision: str
    more: str = ""
    left: int = 0


@dataclass(frozen=True)
class Event(Generic[T]):
    """One change. A BOOKMARK carries an empty item with nothing but its revision."""

    type: EventType
    item: T

    @property
    def revision(self) -> str:
        return self.item.revision


class Store(Protocol):
    """Two homes: a Kubernetes API server, and one SQLite file.

    Errors: Absent (not there), Clash (old revision, exists already, foreign uid, watch too old), Invalid
    (refused by validation, with causes), Denied (not allowed), Unavailable (the server is away).
    """

    async def get(self, kind: type[T], key: Key) -> T:
        """The object as it is now. Raises Absent."""

    async def list(self, kind: type[T], where: Where = EVERYWHERE) -> Page[T]:
        """All objects that match, and the revision of that view."""

    async def create(self, item: T) -> T:
        """Store a new object; the answer has uid, revision, defaults. Raises Clash (name taken)."""

    async def update(self, item: T) -> T:
        """Replace all but the status. With a revision in the item: Clash if it is old."""

    async def update_status(self, item: T) -> T:
        """Replace the status only."""

    async def delete(
        self,
        kind: type[T],
        key: Key,
        *,
        uid: str | None = None,
        propagation: str = "Background",
        grace_s: int | None = None,
    ) -> object:
        """Remove, or mark for removal while finalizers (or a pod's grace) stand; the answer means nothing.

        Raises Absent, Clash (foreign uid).
        """

    def watch(self, kind: type[T], where: Where = EVERYWHERE, *, since: str) -> AsyncIterator[Event[T]]:
        """Changes after revision `since`, in order, without end. Raises Clash when `since` is too old."""


EDITS_MAX = 5


async def edit(store: Store, kind: type[T], key: Key, change: Callable[[T], None]) -> T:
    """Read, change, write; on Clash again, at most five times. `change` mutates its argument.

    Returns the stored object; writes nothing when `change` changed nothing.
    """
    return await _edit(store, kind, key, change, status=False)


async def edit_status(store: Store, kind: type[T], key: Key, change: Callable[[T], None]) -> T:
    """As edit(), for the status."""
    return await _edit(store, kind, key, change, status=True)


async def _edit(store: Store, kind: type[T], key: Key, change: Callable[[T], None], *, status: bool) -> T:
    for attempt in range(EDITS_MAX):
        before = await store.get(kind, key)
        item = before.copy()
        change(item)
        if item.raw == before.raw:
            return before
        try:
            return await (store.update_status(item) if status else store.update(item))
        except Clash:
            if attempt + 1 == EDITS_MAX:
                raise
    raise AssertionError("unreachable")
