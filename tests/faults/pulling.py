"""What the fault tests of pulls share: quick settings, a pull into a folder, and what may never be
published."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from forebay.errors import Invalid
from forebay.pull import Finished, Hooks, Plan, Report, Settings, fetch
from forebay.sources.http import HttpSource
from forebay.sources.types import Listing, RemoteFile, Request, Source

KIB = 1024
QUICK = Settings(
    timeout_connect_s=2.0,
    timeout_stall_s=1.0,
    attempts_max=4,
    patience_s=0.0,
    backoff_first_s=0.01,
    backoff_most_s=0.05,
    connections_start=3,
    connections_max=3,
    block_bytes=16 * KIB,
    segment_bytes=64 * KIB,
    buffers_bytes_max=4 << 20,
    small_bytes=0,
    journal_every_s=0.02,
    redirects_max=4,
)


def some_bytes(count: int, seed: int = 1) -> bytes:
    """Bytes that look random and are the same each time."""
    return random.Random(seed).randbytes(count)


@dataclass
class Folder:
    """Where a pull publishes to; what is there is what was promised, or nothing."""

    root: Path
    published: list[Finished] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def parts(self) -> Path:
        return self.root / "parts"

    @property
    def damaged(self) -> Path:
        return self.root / "damaged"

    def publish(self, batch: Sequence[Finished]) -> None:
        for item in batch:
            target = self.out / item.file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            item.part.replace(target)
            self.published.append(item)

    def have(self, file: RemoteFile) -> bool:
        return (self.out / file.path).exists()

    def fetch(self, listing: Listing, *origins: Source, settings: Settings = QUICK, **hooks: Any) -> Report:
        plan = Plan(listing, origins, self.parts, self.damaged, self.publish)
        return fetch(plan, settings=settings, hooks=Hooks(have=self.have, **hooks), env={})

    def pull(self, url: str, *, settings: Settings = QUICK, **hooks: Any) -> Report:
        source = HttpSource({})
        return self.fetch(source.resolve(url), source, settings=settings, **hooks)

    def names(self) -> list[str]:
        return sorted(p.relative_to(self.out).as_posix() for p in self.out.rglob("*") if p.is_file())


class Renewing:
    """A source whose passes expire; each `request` gives a fresh address."""

    scheme, name = "https", "renewing"

    def __init__(self, url: str) -> None:
        self.url, self.renewals = url, 0

    def resolve(self, uri: str, *, revision: str = "") -> Listing:
        raise Invalid("not asked for here")

    def request(self, listing: Listing, file: RemoteFile) -> Request:
        self.renewals += 1
        return Request(f"{self.url}/{file.path}?renewed={self.renewals}")


def quick(**changes: Any) -> Settings:
    """QUICK with changes."""
    return replace(QUICK, **changes)


@contextmanager
def answering(talk: Callable[[socket.socket, bool], None]) -> Iterator[str]:
    """A server of its own mind: `talk` gets each connection, and whether it is the first."""
    listener = socket.create_server(("127.0.0.1", 0))

    def one(peer: socket.socket, first: bool) -> None:
        with suppress(OSError), peer:
            talk(peer, first)

    def accept() -> None:
        first = True
        with suppress(OSError):
            while True:
                threading.Thread(target=one, args=(listener.accept()[0], first), daemon=True).start()
                first = False

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
