"""What goes into a pull and what comes out of it: plain data, no behaviour beyond reading the environment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from forebay.errors import Invalid
from forebay.pull.limits import Limits
from forebay.sources.types import Listing, RemoteFile, Source

MIB = 1 << 20


@dataclass(frozen=True)
class Settings:
    """Wishes of the caller. The defaults adapt to what the engine sees; times in seconds, sizes in bytes."""

    timeout_connect_s: float = 15.0
    timeout_stall_s: float = 30.0  # no byte for so long: the connection is given up
    speed_least_bytes_s: int = 1024  # below this for `timeout_stall_s`: the same
    attempts_max: int = 6  # per piece, without progress in between
    patience_s: float = 45.0  # so long the source may be gone: one that restarts is back by then
    backoff_first_s: float = 0.5
    backoff_most_s: float = 8.0
    connections_max: int = 64
    connections_start: int = 0  # 0: one per file, four at most
    hashers: int = 0  # 0: one per core, four at most
    block_bytes: int = 4 * MIB
    segment_bytes: int = 32 * MIB
    buffers_bytes_max: int = 76 * MIB
    small_bytes: int = 1 * MIB  # files up to here are fetched in pipelined batches
    journal_every_s: float = 0.1
    journal_every_bytes: int = 8 * MIB  # or a hundredth of the pull, whichever is more
    redirects_max: int = 8
    direct_io: bool = True

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Knobs for people: FOREBAY_PULL_CONNECTIONS, FOREBAY_PULL_STALL_S, FOREBAY_PULL_DIRECT (0 or 1);
        KServe's S3_CONNECT_TIMEOUT, S3_READ_TIMEOUT and S3_MAX_ATTEMPTS. Raises Invalid."""
        plain = cls()
        return cls(
            # 0 would be a socket that does not wait at all; boto refuses it, too
            timeout_connect_s=_number(env, "S3_CONNECT_TIMEOUT", plain.timeout_connect_s, least=0.001),
            timeout_stall_s=_number(
                env, "FOREBAY_PULL_STALL_S", _number(env, "S3_READ_TIMEOUT", plain.timeout_stall_s)
            ),
            attempts_max=int(_number(env, "S3_MAX_ATTEMPTS", plain.attempts_max)),
            patience_s=0.0 if env.get("S3_MAX_ATTEMPTS") else plain.patience_s,
            connections_max=int(_number(env, "FOREBAY_PULL_CONNECTIONS", plain.connections_max)),
            direct_io=_number(env, "FOREBAY_PULL_DIRECT", 1) != 0,
        )


def _number(env: Mapping[str, str], name: str, default: float, *, least: float = 0) -> float:
    text = env.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError as error:
        raise Invalid(f"{name} must be a number, not {text!r}") from error
    if not least <= value < 1e12:
        raise Invalid(f"{name} must {'be more than 0' if least else 'not be negative'}, not {text!r}")
    return value


@dataclass(frozen=True)
class Finished:
    """A file that is verified and durable under `part`. `observed`: nobody promised a digest."""

    file: RemoteFile
    part: Path
    size: int
    sha256: str
    observed: bool
    origins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """Where a pull is. Bytes count what is on disk of this listing, resumed bytes included."""

    bytes_done: int
    bytes_total: int | None
    files_done: int
    files_total: int
    rate_bytes_s: float  # over the last seconds
    eta_s: float | None
    source: str  # who sends most right now
    phase: str  # resolve, wait, transfer, verify, commit, done
    connections: int = 0


@dataclass
class Report:
    """What a pull did. `seconds`: thread seconds by phase (resolve, wait, network, disk, hash, fsync …);
    `wall`: the same as shares that add up to `wall_s`."""

    files: int = 0
    files_had: int = 0
    bytes_total: int = 0
    bytes_resumed: int = 0
    bytes_by_origin: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    wall: dict[str, float] = field(default_factory=dict)
    wall_s: float = 0.0
    connections_most: int = 0
    cpu_s: float = 0.0
    requests: int = 0
    retries: int = 0
    verification_failures: int = 0
    bytes_read_back: int = 0  # written before their turn, read again for hashing
    # what a person should know: who was avoided, what fell back
    notes: list[str] = field(default_factory=list)

    @property
    def bytes_network(self) -> int:
        """Bytes that came over the wire in this run."""
        return sum(self.bytes_by_origin.values())


def _nothing(_: Progress) -> None:
    """Nobody looks."""


def _unread(_: Report) -> None:
    """Nobody reads it."""


def _none(_: RemoteFile) -> bool:
    return False


@dataclass(frozen=True)
class Plan:
    """What to fetch and where it goes. `origins`: peers first, then the source."""

    listing: Listing
    origins: tuple[Source, ...]
    parts: Path
    damaged: Path
    publish: Callable[[Sequence[Finished]], None]


@dataclass(frozen=True)
class Hooks:
    """What the caller may say and see while a pull runs."""

    have: Callable[[RemoteFile], bool] = _none
    on_progress: Callable[[Progress], None] = _nothing
    stop: threading.Event = field(default_factory=threading.Event)
    limits: Limits = field(default_factory=Limits)
    on_report: Callable[[Report], None] = _unread  # hears of a pull that failed, too
