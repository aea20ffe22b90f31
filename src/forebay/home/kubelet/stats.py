"""Memory and CPU of processes, from /proc."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Usage:
    """Resident memory in bytes, CPU time in seconds since start, number of processes."""

    rss_bytes: int = 0
    cpu_s: float = 0.0
    processes: int = 0


@dataclass(frozen=True)
class Process:
    """One line of /proc/PID/stat."""

    parent: int
    session: int
    usage: Usage


def processes(proc: Path = Path("/proc")) -> dict[int, Process]:
    """Every process of the machine; {} where there is no /proc."""
    found = {}
    for entry in proc.iterdir() if proc.is_dir() else ():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        cpu_s = (int(fields[11]) + int(fields[12])) / _TICK
        usage = Usage(int(fields[21]) * _PAGE, cpu_s, 1)
        found[int(entry.name)] = Process(int(fields[1]), int(fields[3]), usage)
    return found


def usage(pid: int, table: Mapping[int, Process]) -> Usage:
    """What a container uses: its first process, its session, and their descendants."""
    members = {other for other, process in table.items() if other == pid or process.session == pid}
    grown = True
    while grown:
        more = {other for other, process in table.items() if process.parent in members} - members
        members |= more
        grown = bool(more)
    found = [table[member].usage for member in members]
    return Usage(sum(u.rss_bytes for u in found), sum(u.cpu_s for u in found), len(found))
