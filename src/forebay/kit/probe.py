"""What this machine's disk, ports and clock allow: small measurements, each bounded."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import platform
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

BLOCK = 4 << 20
WRITE_BYTES = 256 << 20
SLOW_BYTES_S = 200e6
LITTLE_FREE_BYTES = 10e9


@dataclass(frozen=True)
class Finding:
    """One check: `state` is ok, warn or fail; `advice` is empty when all is well."""

    check: str
    state: str
    said: str
    advice: str = ""


def folder(path: Path) -> Finding:
    """Whether the folder can be made and written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        return Finding(
            "data folder", "fail", f"cannot write {path}: {error.strerror}", "choose another with --data"
        )
    return Finding("data folder", "ok", f"{path} can be written")


def free_space(path: Path) -> Finding:
    """Room on the file system of `path`."""
    usage = shutil.disk_usage(path)
    said = f"{usage.free / 1e9:.1f} GB free of {usage.total / 1e9:.1f} GB"
    if usage.free < LITTLE_FREE_BYTES:
        return Finding(
            "free space",
            "warn",
            said,
            "an 8B model takes about 16 GB: free some, or use --data on another disk",
        )
    return Finding("free space", "ok", said)


def direct_io(path: Path) -> Finding:
    """Whether O_DIRECT writes work there (tmpfs and some network file systems refuse them)."""
    probe = path / f".direct-{os.getpid()}"
    try:
        handle = os.open(probe, os.O_WRONLY | os.O_CREAT | getattr(os, "O_DIRECT", 0), 0o600)
        try:
            with mmap.mmap(-1, 4096) as page:
                os.write(handle, page)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        advice = "pulls go through the page cache there: slower, and the memory is taken from other programs"
        return Finding("direct I/O", "warn", "this file system refuses O_DIRECT", advice)
    finally:
        probe.unlink(missing_ok=True)
    return Finding("direct I/O", "ok", "O_DIRECT writes work")


def links_and_locks(path: Path) -> Finding:
    """Hard links and flock: the cache is made of them."""
    one, two = path / f".link-{os.getpid()}", path / f".link2-{os.getpid()}"
    try:
        one.write_bytes(b"x")
        os.link(one, two)
        with one.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        advice = "the cache needs both: use a local file system such as ext4, xfs or btrfs"
        return Finding("links and locks", "fail", f"hard link or flock refused: {error.strerror}", advice)
    finally:
        one.unlink(missing_ok=True)
        two.unlink(missing_ok=True)
    return Finding("links and locks", "ok", "hard links and flock work")


def disk_speed(path: Path) -> Finding:
    """Speed of writing 256 MiB and making it durable, bytes a second."""
    probe = path / f".speed-{os.getpid()}"
    block = os.urandom(BLOCK)
    try:
        began = time.monotonic()
        with probe.open("wb", buffering=0) as out:
            for _ in range(WRITE_BYTES // BLOCK):
                out.write(block)
            os.fsync(out.fileno())
        rate = WRITE_BYTES / (time.monotonic() - began)
    except OSError as error:
        return Finding("disk speed", "fail", f"cannot write 256 MiB: {error.strerror}", "free some space")
    finally:
        probe.unlink(missing_ok=True)
    said = f"writes {rate / 1e6:.0f} MB/s, durable"
    if rate < SLOW_BYTES_S:
        return Finding(
            "disk speed", "warn", said, "a 16 GB model takes minutes to store: put --data on an SSD"
        )
    return Finding("disk speed", "ok", said)


def port(number: int, what: str, option: str) -> Finding:
    """Whether a port of loopback is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return Finding(
                f"port {number}", "warn", f"the {what}'s port is taken", f"use {option} 0, or end its owner"
            )
    return Finding(f"port {number}", "ok", f"free for the {what}")


def clock() -> Finding:
    """A clock far off makes every certificate and token look wrong."""
    now = datetime.now(UTC)
    built = datetime.fromtimestamp(Path(__file__).stat().st_mtime, UTC)
    if now.timestamp() < built.timestamp() - 86400:
        return Finding(
            "clock",
            "fail",
            f"it says {now:%Y-%m-%d %H:%M} UTC, before this program was installed",
            "set the clock",
        )
    return Finding("clock", "ok", f"{now:%Y-%m-%d %H:%M} UTC")


def machine() -> Finding:
    """Processor, memory and kernel."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    said = f"{os.cpu_count()} CPUs, {pages / 1e9:.0f} GB memory, {system}"
    if platform.system() != "Linux":
        return Finding("machine", "warn", said, "Forebay is tested on Linux only")
    return Finding("machine", "ok", said)


def all_checks(data: Path, ports: tuple[int, int]) -> tuple[Callable[[], Finding], ...]:
    """Every check, in the order in which a person wants to read them."""
    return (
        machine,
        clock,
        lambda: folder(data),
        lambda: free_space(data),
        lambda: links_and_locks(data),
        lambda: direct_io(data),
        lambda: disk_speed(data),
        lambda: port(ports[0], "API server", "--api-port"),
        lambda: port(ports[1], "gateway", "--gateway-port"),
    )
