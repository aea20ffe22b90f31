"""The lies that every source is told, and what a pull owes for each: a pure function of the lie and of what
the source promises of its files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.fakes.fronts import Front
from tests.faults.lying_server import Lie
from tests.faults.pulling import KIB

from forebay.errors import Absent, Clash, Damaged, Denied, ForebayError, Unavailable

SIZE = 300 * KIB + 123


@dataclass(frozen=True)
class Owed:
    """How a pull ends: with `error`, or with the file. `right`: its bytes are those that were listed, and not
    those that nobody could know to be others."""

    error: type[ForebayError] | None = None
    right: bool = True


@dataclass(frozen=True)
class Told:
    """A lie, what is owed for it, and whether what is owed depends on the source's promises (then every kind
    of promise is tried, else one of each protocol)."""

    lie: Callable[[], Lie]
    owed: Callable[[type[Front]], Owed]
    by_promise: bool = False
    keeps: bool = False  # bytes came before it ended, and the next pull does not move them again


def _whole(_: type[Front]) -> Owed:
    return Owed()


def _ends(error: type[ForebayError]) -> Callable[[type[Front]], Owed]:
    return lambda _: Owed(error)


def _unseen(front: type[Front]) -> Owed:
    """Other bytes, and nothing beside them says so: the digest does, if there is one."""
    return Owed(Damaged) if front.digest else Owed(right=False)


def _replaced(front: type[Front]) -> Owed:
    """Another version, and its ETag says so. A sha256 decides by itself: mirrors have ETags of their own."""
    return Owed(Clash) if front.etag and front.digest != "sha256" else _unseen(front)


def _resized(front: type[Front]) -> Owed:
    """Of another size, and its ETag says that it is another version."""
    return Owed(Clash) if front.etag and front.digest != "sha256" else Owed(Damaged)


def _renewed(front: type[Front]) -> Owed:
    return Owed() if front.renews else Owed(Denied)


def _bearable(**lie: object) -> Told:
    return Told(lambda: Lie(**lie), _whole)  # type: ignore[arg-type]


def _fatal(error: type[ForebayError], *, keeps: bool = False, **lie: object) -> Told:
    return Told(lambda: Lie(**lie), _ends(error), keeps=keeps)  # type: ignore[arg-type]


def _busy(status: int, times: int, **headers: str) -> list[tuple[int, dict[str, str]]]:
    return [(status, {name.replace("_", "-"): value for name, value in headers.items()})] * times


LIES: dict[str, Told] = {
    # What costs time, and no byte.
    "honest": replace(_bearable(), by_promise=True),
    "ignores-range": _bearable(ignore_range="200"),
    "trap-200-with-content-range": _bearable(ignore_range="trap"),
    "another-range-than-asked": _bearable(wrong_start=True),
    "another-range-once": _bearable(wrong_start=True, times=1),
    "206-without-content-range": _bearable(ranges="bare"),
    "206-of-more-than-asked": _bearable(ranges="more"),
    "206-in-parts": _bearable(ranges="multipart"),
    "206-without-total": _bearable(ranges="no-total"),
    "resets-at-every-tenth": _bearable(reset_at=tuple(SIZE * n // 10 for n in range(1, 10))),
    "closes-after-each-answer": _bearable(close_each=True),
    "chunked": _bearable(chunked="good"),
    "stalls-once": _bearable(stall_at=50 * KIB, times=1),
    "stalls-once-without-keep-alive": _bearable(stall_at=50 * KIB, times=1, close_each=True),
    "429-with-time": Told(lambda: Lie(statuses=_busy(429, 2, Retry_After="0")), _whole),
    "429-without-time": Told(lambda: Lie(statuses=_busy(429, 2)), _whole),
    "503-with-time": Told(lambda: Lie(statuses=_busy(503, 2, Retry_After="0")), _whole),
    "503-without-time": Told(lambda: Lie(statuses=_busy(503, 2)), _whole),
    "500": Told(lambda: Lie(statuses=_busy(500, 2)), _whole),
    # Other bytes than those that were listed.
    "flipped-byte": Told(lambda: Lie(flip_at=SIZE // 2), _unseen, by_promise=True),
    "changes-and-hides-it": Told(lambda: Lie(change_after=3, change_hides=True), _unseen, by_promise=True),
    "changes-between-ranges": Told(lambda: Lie(change_after=3), _replaced, by_promise=True),
    "one-byte-more": _fatal(Damaged, length_delta=1),
    "one-byte-less": _fatal(Damaged, length_delta=-1),
    "a-page-more": _fatal(Damaged, length_delta=4096),
    "grows": Told(lambda: Lie(resize=(3, 100)), _resized, by_promise=True),
    "shrinks": Told(lambda: Lie(resize=(3, -100)), _resized, by_promise=True),
    "grows-and-hides-it": _fatal(Damaged, resize=(3, 100), resize_hides=True),
    # Answers that are none.
    "gzip": _fatal(Damaged, gzip=True),
    "chunk-sizes-that-are-none": _fatal(Unavailable, chunked="bad-size"),
    "wrong-trailer": _fatal(Unavailable, chunked="bad-trailer"),
    "chunks-cut": _fatal(Unavailable, chunked="cut"),
    "no-http": _fatal(Unavailable, bad_head=b"SSH-2.0-OpenSSH\r\n\r\n"),
    "endless-head": _fatal(Unavailable, bad_head=b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20000),
    "redirect-to-a-loop": _fatal(Unavailable, redirect="loop"),
    # Silence.
    "stalls-always": _fatal(Unavailable, stall_at=10 * KIB, keeps=True),
    "stalls-always-without-keep-alive": _fatal(Unavailable, stall_at=10 * KIB, close_each=True, keeps=True),
    "stalls-before-the-first-byte": _fatal(Unavailable, stall_at=0),
    "one-byte-a-second": _fatal(Unavailable, drip=True),
    # Refusals.
    "429-always": Told(lambda: Lie(statuses=_busy(429, 99)), _ends(Unavailable)),
    "503-always-with-time": Told(lambda: Lie(statuses=_busy(503, 99, Retry_After="0")), _ends(Unavailable)),
    "403-always": Told(lambda: Lie(statuses=_busy(403, 99)), _ends(Denied)),
    "404-always": Told(lambda: Lie(statuses=_busy(404, 99)), _ends(Absent)),
    "418-always": Told(lambda: Lie(statuses=_busy(418, 99)), _ends(Unavailable)),
    "401-after-expiry": Told(lambda: Lie(expire_after=3), _renewed, by_promise=True),
}  # fmt: skip
