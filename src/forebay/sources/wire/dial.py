"""A TCP connection to a name with several addresses, of which some may lead nowhere (RFC 8305).

One after the other would cost a whole timeout for each connection: a cluster that hands out IPv6 addresses
without a route is enough. So the next address is tried a moment after the one before, and the first that
answers is taken. Who was waited for in vain, or refused, comes last for a while.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Any

HEAD_START_S = 0.25
SHUN_S = 300.0
_SHUNNED_MAX = 256

Address = tuple[socket.AddressFamily, Any]


class Shunned:
    """Addresses that led nowhere, for a while. Thread-safe."""

    def __init__(self) -> None:
        self._until: dict[Address, float] = {}
        self._lock = threading.Lock()

    def add(self, address: Address, now: float) -> None:
        """It led nowhere."""
        with self._lock:
            if len(self._until) >= _SHUNNED_MAX:
                self._until.clear()
            self._until[address] = now + SHUN_S

    def drop(self, address: Address) -> None:
        """It answers."""
        with self._lock:
            self._until.pop(address, None)

    def last(self, addresses: list[Address], now: float) -> list[Address]:
        """`addresses` with those at the end."""
        with self._lock:
            return sorted(addresses, key=lambda a: self._until.get(a, 0.0) > now)


_shunned = Shunned()


def dial(host: str, port: int, within_s: float, *, shunned: Shunned = _shunned) -> socket.socket:
    """A connected, blocking socket. Raises OSError: what the last address said, or that none did in time."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = by_turns(list(dict.fromkeys((family, at) for family, _, _, _, at in found)))
    return _Race(shunned.last(addresses, time.monotonic()), shunned).won(within_s)


def by_turns(addresses: list[Address]) -> list[Address]:
    """The families one after the other, in the system's order otherwise."""
    first = [a for a in addresses if a[0] == addresses[0][0]]
    rest = [a for a in addresses if a[0] != addresses[0][0]]
    return [a for a in chain.from_iterable(zip_longest(first, rest)) if a is not None]


@dataclass
class _Race:
    """Attempts to connect, each a little later than the one before."""

    waiting: list[Address]
    shunned: Shunned
    error: OSError = field(default_factory=lambda: TimeoutError("timed out"))
    under_way: dict[int, tuple[socket.socket, Address, float]] = field(default_factory=dict)

    def won(self, within_s: float) -> socket.socket:
        """The first that is connected; the others are closed."""
        now = time.monotonic()
        end, poll = now + within_s, select.poll()
        next_at = now
        try:
            while (self.waiting or self.under_way) and (now := time.monotonic()) < end:
                if self.waiting and (now >= next_at or not self.under_way):
                    self._start(poll, now)
                    next_at = now + HEAD_START_S
                until = min(end, next_at) if self.waiting else end
                for number, _ in poll.poll(max(0.0, until - now) * 1000):
                    if (sock := self._ended(poll, number)) is not None:
                        return sock
            raise TimeoutError("timed out") if self.under_way else self.error
        finally:
            for sock, address, since in self.under_way.values():
                sock.close()
                if time.monotonic() - since >= HEAD_START_S:
                    self.shunned.add(address, time.monotonic())

    def _start(self, poll: select.poll, now: float) -> None:
        address = self.waiting.pop(0)
        try:
            sock = socket.socket(address[0], socket.SOCK_STREAM)
        except OSError as error:  # no such family here
            self._failed(address, error)
            return
        sock.setblocking(False)
        code = sock.connect_ex(address[1])
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            self._failed(address, OSError(code, os.strerror(code)))
            return
        self.under_way[sock.fileno()] = sock, address, now
        poll.register(sock, select.POLLOUT)

    def _ended(self, poll: select.poll, number: int) -> socket.socket | None:
        sock, address, _ = self.under_way.pop(number)
        poll.unregister(number)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0:
            self.shunned.drop(address)
            sock.setblocking(True)
            return sock
        sock.close()
        self._failed(address, OSError(code, os.strerror(code)))
        return None

    def _failed(self, address: Address, error: OSError) -> None:
        self.error = error
        self.shunned.add(address, time.monotonic())


def set_up(sock: socket.socket, *, tick_s: float, send_s: float) -> None:
    """Make it blocking with a receive timer: a socket timeout of Python's would make it non-blocking and
    MSG_WAITALL void."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.settimeout(None)
    tick = struct.pack("ll", int(tick_s), int((tick_s - int(tick_s)) * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, tick)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(send_s) or 1, 0))
