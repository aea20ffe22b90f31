"""Many small files over one connection: requests go out together, answers come back in their order (RFC 9112,
9.3.2)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from forebay.pull.answers import Asked, Verdict, judge
from forebay.pull.asking import Asker, is_keyed
from forebay.pull.board import Board
from forebay.pull.clockwork import Watch
from forebay.pull.digests import Digests
from forebay.pull.model import Finished
from forebay.pull.parts import disk_errors, write_all
from forebay.pull.state import Batch, Origin, Route, Transfer
from forebay.sources.wire.conn import Conn
from forebay.sources.wire.heads import Where, WireError


class SmallFiles:
    """Fetches batches for one worker. What does not go smoothly is left for the long way, which knows every
    trick."""

    def __init__(
        self,
        board: Board,
        asker: Asker,
        *,
        watch: Watch,
        folder: Path,
        wait: Callable[[str, int], tuple[int, bool]],
    ) -> None:
        """`wait` keeps a limit: of (origin, bytes wanted) it tells, when it is time, how many may come, and
        whether it has waited."""
        self._board = board
        self._wait = wait
        self._asker = asker
        self._watch = watch
        self._folder = folder
        self._written = 0

    def fetch(self, batch: Batch, count: Callable[[Origin, int], None]) -> None:
        """Fetch a batch; `count` hears of bytes from the network."""
        left = list(batch.transfers)
        try:
            with disk_errors(f"make {self._folder}"):
                self._folder.mkdir(exist_ok=True)
            origin = self._board.origin(left[0])
            if origin is not None:
                self._fetch(left, origin, count)
        finally:
            self._board.small_over(batch, left)

    def _fetch(self, left: list[Transfer], origin: Origin, count: Callable[[Origin, int], None]) -> None:
        routes = [self._asker.route(origin, t.file) for t in left]
        first = routes[0].at
        if not isinstance(first, Where) or any(
            not isinstance(r.at, Where) or r.at.origin != first.origin for r in routes
        ):
            return
        try:
            conn, _ = self._asker.connection(routes[0])
            conn.make_room()
            try:
                self._pipeline(conn, left, routes, origin, count)
            finally:
                self._asker.keep(conn)
        except WireError as error:
            note = f"small files from {origin.name}: {error}; fetched one by one"
            if note not in self._board.notes:  # a server that does so once does it each time
                self._board.notes.append(note)

    def _pipeline(
        self, conn: Conn, left: list[Transfer], routes: Sequence[Route], origin: Origin,
        count: Callable[[Origin, int], None],
    ) -> None:  # fmt: skip
        heads = b"".join(conn.head_of("GET", r.at, r.headers) for r in routes if isinstance(r.at, Where))
        self._asker.requests += len(routes)
        with self._watch.phase("wait"):
            conn.send_raw(heads, len(routes))
        buffer = self._board.buffers.take(self._board.settings.block_bytes)
        if buffer is None:
            return
        undone: list[Transfer] = []
        try:
            while left and not self._board.over:
                body = self._body(conn, left[0], memoryview(buffer), lambda n: count(origin, n), origin)
                transfer = left.pop(0)
                if body is None or not self._finish(transfer, body, origin):
                    undone.append(transfer)
                if not conn.between:
                    break  # closed, or the rest of a body is still in the way
        finally:
            left.extend(undone)
            self._board.buffers.give(buffer)

    def _body(
        self, conn: Conn, transfer: Transfer, view: memoryview, count: Callable[[int], None], origin: Origin
    ) -> memoryview | None:
        """The whole body of the next answer, or None if it is not simply the file. Only the source's own ETag
        is the listing's."""
        with self._watch.phase("network"):
            head, own = conn.answer(), self._board.origins.is_last(origin)
        judged = judge(Asked(0, transfer.size, transfer.size, ranged=False, etag=""), head)
        stale = own and transfer.file.etag and head.etag and head.etag != transfer.file.etag
        if judged.verdict is not Verdict.TAKE or stale or is_keyed(head):
            conn.skip(256 * 1024)
            return None
        assert transfer.size is not None
        self._board.origins.welcoming.add(origin.index)
        got = self._read(conn, view[: transfer.size], count, origin)
        if got == transfer.size and not conn.between:
            conn.skip(1)  # the end of a chunked body
        return view[:got] if got == transfer.size else None

    def _read(self, conn: Conn, view: memoryview, count: Callable[[int], None], origin: Origin) -> int:
        got = 0
        while got < len(view) and not self._board.over:
            most, waited = self._wait(origin.name, len(view) - got)
            if waited:
                conn.rest()
            with self._watch.phase("network"):
                came = conn.read_into(view[got : got + most], count)
            got += came
            if came < most:
                break
        return got

    def _finish(self, transfer: Transfer, body: memoryview, origin: Origin) -> bool:
        digests = Digests(transfer.file, len(body))
        with self._watch.phase("hash"):
            digests.update(body)
            if digests.difference():
                return False  # the long way fetches it again, and keeps the evidence
        self._written += 1
        path = f"{self._folder}/{self._written}"  # not by content: two files may have the same
        with self._watch.phase("disk"), disk_errors(f"write {path}"):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            try:
                write_all(descriptor, 0, body)
            finally:
                os.close(descriptor)
        observed = not digests.promised
        self._board.good(
            Finished(transfer.file, Path(path), len(body), digests.sha256, observed, (origin.name,))
        )
        return True
