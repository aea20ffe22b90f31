"""Small models with every way in which a pull writes, for watching its disk operations."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from tests.faults.lying_server import LyingServer, Seen, until
from tests.faults.pulling import KIB, quick, some_bytes

from forebay.engines.hub import Hub, HubSettings
from forebay.pull import Settings, journal, pull_to

SETTINGS = quick(
    connections_start=1, connections_max=1, hashers=1, block_bytes=16 * KIB, segment_bytes=32 * KIB,
    small_bytes=4 * KIB, journal_every_s=0.0, journal_every_bytes=1,
)  # fmt: skip
THREE = replace(SETTINGS, connections_start=3, connections_max=3, buffers_bytes_max=8 * 16 * KIB)
BIG = some_bytes(5 * 16 * KIB + 77)
TREE = {
    "big.safetensors": BIG,
    "config.json": b"{}",
    "alone/deep/tok.json": b"[1, 2]",
    "sub/odd.bin": BIG[: 20 * KIB],
}


@dataclass
class Story:
    """`pull(dest)` brings `tree` into a folder; what lies there before it may be `before`, file by file."""

    pull: Callable[[Path], None]
    tree: dict[str, bytes]
    before: dict[str, bytes]
    prepare: Callable[[Path], None] | None = None


def published(dest: Path) -> dict[str, bytes]:
    """What has a final name."""
    found = (p for p in dest.rglob("*") if p.is_file() and ".forebay-parts" not in p.parts)
    return {p.relative_to(dest).as_posix(): p.read_bytes() for p in found}


@contextmanager
def a_hub(tmp: Path) -> Iterator[Story]:
    """Digests are promised; small files come in a batch, in folders of their own."""
    repo = tmp / "hub" / "acme" / "tiny"
    for name, body in TREE.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_bytes(body)
    with Hub(HubSettings(tmp / "hub")) as hub:
        env = {"HF_ENDPOINT": hub.url}
        yield Story(lambda dest: _pull("hf://acme/tiny", dest, env), TREE, {})


@contextmanager
def a_new_revision(tmp: Path) -> Iterator[Story]:
    """Files of the revision before it lie there and are replaced."""
    with a_hub(tmp) as story:
        old = {name: b"old" + body[3:] for name, body in TREE.items()}

        def prepare(dest: Path) -> None:
            for name, body in old.items():
                (dest / name).parent.mkdir(parents=True, exist_ok=True)
                (dest / name).write_bytes(body)

        yield Story(story.pull, TREE, old, prepare)


@contextmanager
def no_digest(tmp: Path) -> Iterator[Story]:
    """Nobody promises anything: what the disk lost has to be found out without a digest."""
    with LyingServer(BIG, promise=False) as server:
        yield Story(lambda dest: _pull(server.url, dest, {}), {"model.bin": BIG}, {})


@contextmanager
def an_archive_of(tree: dict[str, bytes]) -> Iterator[str]:
    """Where a tar of these files is."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as pack:
        for name, body in tree.items():
            item = tarfile.TarInfo(name)
            item.size = len(body)
            pack.addfile(item, io.BytesIO(body))
    with LyingServer(out.getvalue()) as server:
        yield server.url.replace("model.bin", "model.tar")


@contextmanager
def an_archive(tmp: Path) -> Iterator[Story]:
    """An archive that is unpacked and not kept."""
    with an_archive_of(TREE) as url:
        yield Story(lambda dest: _pull(url, dest, {}), TREE, {})


class LateFirst(LyingServer):
    """Once it is told to, the first two pieces of the body come after others that follow them, the second one
    after the first; each after a journal below `dest` has said so (or after a second)."""

    late: frozenset[str] = frozenset()
    dest: Path | None = None

    def _send(self, peer: socket.socket, seen: Seen, piece: bytes, start: int) -> bool:
        which = {0: "first", len(piece): "second"}.get(start, "")  # pieces are of one size at the beginning
        if which in self.late:
            self.late -= {which}
            until(lambda: len(self.gets) >= 4)  # three connections: one came back for more
            if self.dest is not None:
                with suppress(AssertionError):
                    until(lambda: self._has_hole(two=which == "second"), seconds=1.0)
        return super()._send(peer, seen, piece, start)

    def _has_hole(self, *, two: bool) -> bool:
        """Whether a journal lacks the beginning, or (`two`) something between two ranges."""
        found = () if self.dest is None else self.dest.rglob("*.journal")
        entries = [journal.last(path.read_bytes()) for path in found]
        ranges = [list(entry.done) for entry in entries if entry is not None]
        return any(len(done) > 1 if two else done and done[0][0] > 0 for done in ranges)


@contextmanager
def three_connections(tmp: Path) -> Iterator[Story]:
    """Pieces out of order, some kept in memory for their turn, some not: journals with holes, no digest."""
    body = some_bytes(14 * 16 * KIB + 99)
    with LateFirst(body, promise=False) as server:

        def prepare(dest: Path) -> None:
            server.seen.clear()
            server.late, server.dest = frozenset({"first", "second"}), dest

        yield Story(lambda dest: _pull(server.url, dest, {}, THREE), {"model.bin": body}, {}, prepare)


def _pull(uri: str, dest: Path, env: dict[str, str], settings: Settings = SETTINGS) -> None:
    pull_to(uri, dest, env=env, settings=settings)


STORIES = {
    "hub": a_hub, "new-revision": a_new_revision, "no-digest": no_digest, "archive": an_archive,
    "three-connections": three_connections,
}  # fmt: skip


def chosen(count: int, most: int, seed: str) -> list[int]:
    """Which of `count` operations a test looks at: `most`, always the same ones; all if EVERY_OPERATION=1."""
    if count <= most or os.environ.get("EVERY_OPERATION") == "1":
        return list(range(count))
    return sorted(Random(seed).sample(range(count), most))


def sha256(body: bytes) -> str:
    """In hex."""
    return hashlib.sha256(body).hexdigest()
