"""One thread's requests: kept connections, redirects, expired addresses, and what each verdict means."""

from __future__ import annotations

import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn, Protocol
from urllib.parse import unquote

from forebay.errors import Absent, Clash, Damaged, Denied, ForebayError, Unavailable
from forebay.pull.answers import Asked, Judged, Verdict, judge, version
from forebay.pull.board import Board
from forebay.pull.parts import disk_errors
from forebay.pull.state import Claim, Origin, Route, Transfer
from forebay.sources import tokens
from forebay.sources.file import version_of
from forebay.sources.types import Listing, RemoteFile
from forebay.sources.wire.client import AGENT
from forebay.sources.wire.conn import Conn, Deadlines, Dropped, Trust
from forebay.sources.wire.heads import Head, Where, WireError, follow, headers_after, where
from forebay.sources.wire.proxy import proxy_for

PEER_REST_S = 10.0
REFUSED_MAX = 2  # of one piece, by who has let us in before
KEPT_MOST = 2  # connections to one host: that of the piece at hand, and that of the next one


class GiveBack(Exception):
    """The piece goes back to the board; nothing is wrong."""


class Retry(Exception):
    """Ask again, after `wait_s` if the peer said so."""

    def __init__(self, why: str, *, wait_s: float | None = None, busy: bool = False) -> None:
        super().__init__(why)
        self.wait_s, self.busy = wait_s, busy


class Body(Protocol):
    """Bytes that follow one another."""

    seekable: bool

    def read_into(self, view: memoryview, moved: Callable[[int], None]) -> int:
        """Fill `view`; fewer bytes only at the end."""

    def rest(self) -> None:
        """The reader was slow, not the peer."""


class HttpBody:
    """The body of an answer."""

    seekable = False

    def __init__(self, conn: Conn) -> None:
        self.conn = conn
        self.read_into = conn.read_into
        self.rest = conn.rest


class LocalBody:
    """A file of this machine, from an offset on."""

    seekable = True

    def __init__(self, path: Path, start: int, version: str) -> None:
        """`version` is the one that was listed, "" if any will do."""
        with disk_errors(f"read {path}"):
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._path, self._at, self._version = path, start, version

    def read_into(self, view: memoryview, moved: Callable[[int], None]) -> int:
        """Fill `view` from the file."""
        got = 0
        while got < len(view):
            with disk_errors(f"read {self._path}"):
                count = os.preadv(self._descriptor, [view[got:]], self._at)
            if not count:
                break
            moved(count)
            got, self._at = got + count, self._at + count
        # Afterwards: who writes to it meanwhile has changed its time before its bytes.
        if self._version and version_of(os.fstat(self._descriptor)) != self._version:
            raise Clash(f"{self._path} was changed since it was listed: pull again when it is at rest")
        return got

    def rest(self) -> None:
        """Disks do not mind."""

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)


class Asker:
    """See the module. Not for two threads, except `abort`."""

    def __init__(self, board: Board, listing: Listing, env: Mapping[str, str]) -> None:
        self._board = board
        self._listing = listing
        self._env = env
        self._kept: defaultdict[tuple[str, str, int], list[Conn]] = defaultdict(list)
        self._live: set[Conn] = set()
        self._asked: tuple[Where, dict[str, str], Conn] | None = None  # sent, and its answer not read yet
        self.requests = 0

    def open(self, claim: Claim, origin: Origin, start: int) -> Body:  # noqa: RET503  (the end raises)
        """A body that begins at `start` (at 0 for a single stream).

        Raises Retry and WireError (try again), GiveBack, and our errors when trying again will not help.
        """
        route = claim.transfer.routes.get(origin.index) or self.route(origin, claim.transfer.file)
        for _ in range(self._board.settings.redirects_max + 1):
            if isinstance(route.at, Path):
                return self._local(claim, route.at, start)
            try:
                conn, head, judged = self._exchange(claim, origin, route, start)
            except WireError as error:
                if self._rest(origin, PEER_REST_S, str(error)):
                    raise Retry(str(error), wait_s=0.0) from error
                raise
            if judged.verdict is Verdict.TAKE:
                self._same_as_listed(claim, origin, head)
                self._accept(claim, origin, route, head)
                return HttpBody(conn)
            self.drop(conn)
            if judged.verdict in (Verdict.CHANGED, Verdict.WRONG):
                self._same_as_listed(claim, origin, head)
            if judged.verdict is not Verdict.REDIRECT:
                self._refuse(claim, origin, judged)
            to = follow(route.at, head.get("location"))
            route = Route(to, headers_after(route.headers, route.at, to), route.trust)
        what = f"{claim.transfer.file.path} from {origin.name}"
        self._give_up(claim, origin, f"{what} is redirected in a circle: check the address", Unavailable)

    def _local(self, claim: Claim, path: Path, start: int) -> LocalBody:
        file = claim.transfer.file
        listed = "" if claim.transfer.digests.promised else file.etag
        if listed:
            with self._board.changed:
                claim.transfer.etags["file"] = listed
        return LocalBody(path, start, listed)

    def route(self, origin: Origin, file: RemoteFile) -> Route:
        """Where the source says that a file is."""
        request = origin.source.request(self._listing, file)
        if request.url.startswith("file://"):
            return Route(Path(unquote(request.url[7:])), {})
        trust = Trust(request.ca_file, request.client_cert, request.verify)
        headers = {"User-Agent": AGENT, "Accept": "*/*", "Accept-Encoding": "identity", **request.headers}
        return Route(where(request.url), headers, trust)

    def _exchange(self, claim: Claim, origin: Origin, route: Route, start: int) -> tuple[Conn, Head, Judged]:
        assert isinstance(route.at, Where)
        transfer = claim.transfer
        if transfer.size is None and start:
            claim.single = True
        ranged, headers = _wanted(claim, route, start)
        conn, head = self.ask(route, headers)
        known, at = transfer.etags, f"{origin.index} {route.at.host}"
        with self._board.changed:  # of two first answers the second one hears of the first
            joins = not transfer.digests.promised and (ranged or start > 0)
            asked = Asked(start if ranged else 0, claim.end, transfer.size, ranged, known.get(at, ""),
                          known.get(f"{at} modified", ""), joins, frozenset(known.values()))  # fmt: skip
            judged = judge(asked, head)
            if judged.verdict is Verdict.TAKE and self._board.current(claim):
                _note_version(transfer, at, head)
        return conn, head, judged

    def ahead(self, claim: Claim, origin: Origin) -> None:
        """Send what `open` will ask for a claim that has not begun, on a connection of its own.

        Whatever goes wrong is left to `open`.
        """
        route = claim.transfer.routes.get(origin.index)
        if self._asked is not None or route is None or isinstance(route.at, Path):
            return
        headers = _wanted(claim, route, claim.start)[1]
        with contextlib.suppress(WireError):
            conn, _ = self.connection(route)
            self.requests += 1
            self._asked = route.at, headers, conn  # before it is sent: `open` drops one that fails
            conn.send("GET", route.at, headers)

    def _asked_before(self, at: Where, headers: Mapping[str, str]) -> tuple[Conn, Head] | None:
        """The answer to a request that `ahead` has sent, None if it was another one or has failed."""
        if self._asked is None:
            return None
        (to, sent, conn), self._asked = self._asked, None
        with contextlib.suppress(WireError):
            if (to, sent) == (at, headers):
                conn.rest()
                return conn, conn.answer()
        self.drop(conn)
        return None

    def ask(self, route: Route, headers: Mapping[str, str]) -> tuple[Conn, Head]:
        """Send one GET and read the head of its answer; a kept connection that has died meanwhile is
        replaced."""
        assert isinstance(route.at, Where)
        if (answered := self._asked_before(route.at, headers)) is not None:
            return answered
        while True:
            conn, kept = self.connection(route)
            try:
                self.requests += 1
                asked = time.monotonic()
                conn.send("GET", route.at, headers)
                head = conn.answer()
                self._board.answered(time.monotonic() - asked)
                return conn, head
            except Dropped:
                self.drop(conn)
                if not kept or self._board.over:
                    raise
            except BaseException:
                self.drop(conn)
                raise

    def connection(self, route: Route) -> tuple[Conn, bool]:
        """A connection to the route's host, and whether it was kept from before."""
        assert isinstance(route.at, Where)
        kept = self._kept[route.at.origin]
        while kept:
            conn = kept.pop()
            if not conn.stale():
                return conn, True
            self.drop(conn)
        settings = self._board.settings
        deadlines = Deadlines(
            settings.timeout_connect_s, settings.timeout_stall_s, settings.speed_least_bytes_s
        )
        conn = Conn(route.at, deadlines=deadlines, trust=route.trust, proxy=proxy_for(route.at, self._env))
        self._live.add(conn)
        return conn, False

    def put_back(self, body: Body) -> None:
        """Keep the body's connection for the next request if that is possible."""
        if isinstance(body, LocalBody):
            body.close()
        elif isinstance(body, HttpBody):
            self.keep(body.conn)

    def keep(self, conn: Conn) -> None:
        """Keep a connection whose answers are all read, or close it."""
        kept = self._kept[conn.origin]
        if conn.reusable and not self._board.over and len(kept) < KEPT_MOST:
            kept.append(conn)
        else:
            self.drop(conn)

    def drop(self, conn: Conn) -> None:
        """Close a connection."""
        self._live.discard(conn)
        conn.close()

    def abort(self) -> None:
        """End waiting reads, from another thread."""
        for conn in list(self._live):
            conn.abort()

    def close(self) -> None:
        """Close all connections."""
        for conn in list(self._live):
            conn.close()
        self._live.clear()
        self._kept.clear()

    def _same_as_listed(self, claim: Claim, origin: Origin, head: Head) -> None:
        """Raises Clash if the source's own ETag is another one than listed. Peers and mirrors have ETags of
        their own, and a sha256 decides by itself."""
        file = claim.transfer.file
        own = self._board.origins.is_last(origin) and not file.sha256
        if own and file.etag and head.etag and head.etag != file.etag:
            raise Clash(f"{file.path} from {origin.name} was changed since it was listed: pull again")

    def _accept(self, claim: Claim, origin: Origin, route: Route, head: Head) -> None:
        transfer = claim.transfer
        claim.refused = 0
        self._board.origins.welcoming.add(origin.index)
        if is_keyed(head):
            transfer.digests.md5_void = True
        transfer.routes[origin.index] = route
        if transfer.size is None and head.content_length is not None:
            self._board.learned_size(claim, head.content_length)

    def _refuse(self, claim: Claim, origin: Origin, judged: Judged) -> NoReturn:
        """Raise what a verdict other than TAKE and REDIRECT means."""
        transfer, board, what = claim.transfer, self._board, f"{claim.transfer.file.path} from {origin.name}"
        match judged.verdict:
            case Verdict.WHOLE:
                board.notes.append(f"{what}: {judged.why}, going on as one stream")
                if board.one_stream(claim):
                    raise Retry(judged.why, wait_s=0.0)
                raise GiveBack
            case Verdict.AGAIN:
                if self._rest(origin, judged.wait_s or PEER_REST_S, f"it answered {judged.why}"):
                    raise Retry(f"it answered {judged.why}", wait_s=0.0)
                board.asked_slower = board.asked_slower or judged.why in ("429", "503")
                raise Retry(f"it answered {judged.why}", wait_s=judged.wait_s, busy=True)
            case Verdict.EXPIRED:
                self._renew(claim, origin, judged.why)
                text = f"{what} was refused ({judged.why}): check the credentials and their rights"
                self._give_up(claim, origin, text, Denied)
            case Verdict.ALONE:
                board.notes.append(f"{what}: {judged.why}; it comes in one stream, from its start each time")
                if board.alone(claim):
                    raise Retry(judged.why, wait_s=0.0)
                raise GiveBack
            case Verdict.CHANGED if not board.origins.is_last(origin):
                self._give_up(claim, origin, f"{what}: {judged.why}", Damaged)
            case Verdict.CHANGED:
                board.start_over(transfer, claim.epoch, f"at {origin.name} {judged.why}")
                raise GiveBack
            case Verdict.ABSENT:
                or_signed = " (or get a fresh address, if it was signed)" if judged.why == "410" else ""
                text = f"{what} is not there ({judged.why}) although it was listed: pull again to list anew"
                text += or_signed  # how nginx says that a secure link has expired
                self._give_up(claim, origin, text, Absent)
            case Verdict.WRONG if not claim.single and transfer.size is not None:
                # Perhaps only its ranges are bad: the whole file in one stream is the plainest request
                # there is.
                board.notes.append(f"{what}: {judged.why}; trying one stream")
                if board.one_stream(claim):
                    raise Retry(judged.why, wait_s=0.0)
                raise GiveBack
            case Verdict.WRONG:
                text = f"{what}: {judged.why}; check the server and any proxy before it, then pull again"
                self._give_up(claim, origin, text, Damaged)
            case _:
                text = f"{what} answered {judged.why}: check the address and any proxy before it"
                self._give_up(claim, origin, text, Unavailable)

    def _renew(self, claim: Claim, origin: Origin, why: str) -> None:
        """Raises Retry while a new address or a new token may help: only where we were let in before, and not
        for ever. Others may be refused at the same moment, so each asks anew; the second time only when a
        source takes that for a refusal of its token."""
        claim.transfer.routes.pop(origin.index, None)
        claim.refused += 1
        if origin.index in self._board.origins.welcoming and claim.refused <= REFUSED_MAX:
            wait_s = 0.0 if claim.refused == 1 else tokens.ASKED_AGAIN_S
            raise Retry(f"the address has expired ({why})", wait_s=wait_s)

    def _rest(self, origin: Origin, seconds: float, why: str) -> bool:
        """Turn to others for a while, if this is a peer."""
        with self._board.changed:
            return self._board.origins.rest(origin, seconds, why)

    def _give_up(self, claim: Claim, origin: Origin, why: str, error: type[ForebayError]) -> NoReturn:
        """Go on with the next origin, or raise `error` if there is none."""
        if not self._board.avoid(claim.transfer, origin, why):
            raise error(why)
        raise Retry(why, wait_s=0.0)


def is_keyed(head: Head) -> bool:
    """Whether S3 keeps the object under a key of its own: then its ETag is no MD5. Under Amazon's own key
    (AES256, which every object has) it is one."""
    return head.get("x-amz-server-side-encryption").startswith("aws:kms")


def _note_version(transfer: Transfer, at: str, head: Head) -> None:
    """What further answers of the same host must carry too."""
    if transfer.digests.promised:  # several servers may date one file differently
        transfer.etags |= {at: head.etag} if head.etag else {}
    elif told := version(head):
        transfer.etags[at if head.etag else f"{at} modified"] = told
    else:
        transfer.blind = True


def _wanted(claim: Claim, route: Route, start: int) -> tuple[bool, dict[str, str]]:
    """Whether only a range is asked for, and the request's headers."""
    size = claim.transfer.size
    whole = start == 0 and claim.end is not None and claim.end == size
    ranged = not (claim.single or whole or size is None)
    wanted = {"Range": f"bytes={start}-{'' if claim.end is None else claim.end - 1}"} if ranged else {}
    return ranged, {**route.headers, **wanted}
