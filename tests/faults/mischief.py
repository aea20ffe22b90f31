"""A hub whose large bodies pass through a proxy that can be slow, stall, lie, and counts what it sends."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from forebay.engines.hub import Hub, HubSettings
from forebay.engines.hubfiles import Entry

PIECE = 128 * 1024


@dataclass
class Mischief:
    """What to do to bodies from now on; may be changed at any time."""

    rate_bytes_s: float = 0.0  # 0: as fast as it goes
    flip_at: int = -1  # offset in the file whose lowest bit is turned
    ignore_range: bool = False
    stall: threading.Event = field(default_factory=threading.Event)  # while set, no further byte is sent
    sent: int = 0


class SlyHub(Hub):
    """The Hub's protocol as it is, large files by way of `mischief`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(HubSettings(folder))
        self.mischief = Mischief()
        self._front = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._lives = True
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._lives = False
        self.mischief.stall.clear()
        with contextlib.suppress(OSError):
            self._front.shutdown(socket.SHUT_RDWR)
        self._front.close()

    def _address(self, name: str, entry: Entry) -> str:
        ours = self._front.getsockname()[1]
        return super()._address(name, entry).replace(f":{self.server.port}/", f":{ours}/", 1)

    def _accept(self) -> None:
        while self._lives:
            try:
                peer, _ = self._front.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        """One request a connection. Little waits in the kernel, so that what counts as sent was received."""
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)
        with peer, contextlib.suppress(OSError):
            head = read_head(peer)
            if not head:
                return
            if self.mischief.ignore_range:
                head = re.sub(rb"(?i)\r\nrange:[^\r]*", b"", head)
            head = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head)
            with socket.create_connection(("127.0.0.1", self.server.port)) as origin:
                origin.sendall(head[:-4] + b"\r\nConnection: close\r\n\r\n")
                self._pass_on(peer, origin)

    def _pass_on(self, peer: socket.socket, origin: socket.socket) -> None:
        head = read_head(origin)
        peer.sendall(head[:-4] + b"\r\nConnection: close\r\n\r\n")
        told = re.search(rb"(?i)content-range: bytes (\d+)-", head)
        at = int(told[1]) if told else 0
        while piece := origin.recv(PIECE):
            while self.mischief.stall.is_set():
                time.sleep(0.02)
            flip = self.mischief.flip_at - at
            if 0 <= flip < len(piece):
                piece = piece[:flip] + bytes([piece[flip] ^ 1]) + piece[flip + 1 :]
            peer.sendall(piece)
            at += len(piece)
            self.mischief.sent += len(piece)
            if self.mischief.rate_bytes_s:
                time.sleep(len(piece) / self.mischief.rate_bytes_s)


def read_head(sock: socket.socket) -> bytes:
    """A message's head, byte by byte, so that nothing of its body is taken."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        got = sock.recv(1)
        if not got:
            return b""
        head += got
    return head


@contextmanager
def sly_hub(folder: Path) -> Iterator[SlyHub]:
    """A running one over FOLDER/ORG/NAME/…"""
    hub = SlyHub(folder)
    with hub:
        try:
            yield hub
        finally:
            hub.close()
