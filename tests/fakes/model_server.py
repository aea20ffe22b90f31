"""A small model server over HTTP/1.1 for the gateway's tests: a real process that speaks raw sockets.

`python model_server.py PORT NAME [KNOB=VALUE ...]`; port 0 picks one; the first line printed is the real
port. It answers every path with JSON that repeats what it got; `"stream": true` in the body gives
server-sent events, and a few paths misbehave on purpose. On SIGTERM it
finishes what it has, closes idle connections and ends.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
from collections.abc import Iterator


class Server:
    def __init__(self, name: str, knobs: dict[str, str]) -> None:
        self.name = name
        self.delay_s = float(knobs.get("delay", "0"))
        self.forgets = "forget" in knobs  # closes a kept connection when the next request arrives on it
        self.served = 0
        self.cancelled = 0
        self.busy = 0
        self.used: set[asyncio.StreamWriter] = set()
        self.writers: dict[asyncio.StreamWriter, bool] = {}
        self.stopping = asyncio.Event()

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers[writer] = False
        try:
            while not self.stopping.is_set() and (head := await read_head(reader)) is not None:
                if self.forgets and writer in self.used:
                    break
                self.used.add(writer)
                self.writers[writer] = True
                self.busy += 1
                try:
                    keep = await self.answer(head, await read_body(reader, head), writer)
                finally:
                    self.busy -= 1
                    self.writers[writer] = False
                if not keep:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            self.cancelled += 1
        finally:
            self.writers.pop(writer, None)
            writer.close()

    async def answer(self, head: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> bool:
        path = head[":path"]
        self.served += 1
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if "/die" in path:
            return False
        if "/garbage" in path:
            writer.write(b"not http at all\r\n\r\n")
            return False
        if "/head-half" in path:
            writer.write(b"HTTP/1.1 200 OK\r\nX-One: 1\r\nX-Tw")
            await writer.drain()
            return False
        if "/hop" in path:
            writer.write(
                b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 9\r\n"
                b"X-Request-Id: its own\r\nX-Stays: 1\r\nContent-Length: 2\r\n\r\n{}"
            )
            return True
        if "/half-error" in path:
            writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 1000\r\n\r\nhalf")
            await writer.drain()
            return False
        if "/half" in path:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            await writer.drain()
            return False
        if "/error" in path:
            body = b"" if head[":method"] == "HEAD" else b"wrong"
            status = path.rpartition("=")[2]
            writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 5\r\n\r\n".encode() + body)
            await writer.drain()
            return True
        if "/two" in path:
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
                b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
            )
            await writer.drain()
            return True
        if "/until-close" in path:
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nuntil the end"
            )
            await writer.drain()
            return False
        if "/slow" in path:
            await asyncio.sleep(float(path.rpartition("=")[2] or 1))
        if b'"stream": true' in body or b'"stream":true' in body:
            return await self.stream(writer, body)
        return await self.plain(head, body, writer)

    async def plain(self, head: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> bool:
        if "/echo" in head[":path"]:
            out = body
        else:
            echo = {"server": self.name, "path": head[":path"], "headers": head, "bytes": len(body)}
            echo["model"] = _model(body)
            echo["cancelled"] = self.cancelled
            out = json.dumps(echo).encode()
        lines = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer-Name: {self.name}\r\n"
        writer.write(lines.encode() + b"Content-Length: %d\r\n\r\n" % len(out))
        if head[":method"] != "HEAD":
            writer.write(out)
        await writer.drain()
        return not self.stopping.is_set()

    async def stream(self, writer: asyncio.StreamWriter, body: bytes) -> bool:
        count = int(json.loads(body).get("events", 5))
        gap_s = float(json.loads(body).get("gap_s", 0.002))
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        if think_s := float(json.loads(body).get("think_s", 0)):  # the head is out, the answer is not
            writer.write(b"3\r\n:\n\n\r\n")
            await writer.drain()
            await asyncio.sleep(think_s)
        for event in itertools.chain(stream_events(self.name, count), [b"data: [DONE]\n\n"]):
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(gap_s)
            if writer.transport.is_closing():
                self.cancelled += 1
                return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return not self.stopping.is_set()

    async def stop(self) -> None:
        self.stopping.set()
        for writer, busy in list(self.writers.items()):
            if not busy:
                writer.close()
        while self.busy:
            await asyncio.sleep(0.01)


def stream_events(name: str, count: int) -> Iterator[bytes]:
    """The events of one stream, so that a test can compare byte for byte."""
    for n in range(count):
        yield b"data: " + json.dumps({"server": name, "n": n, "text": "é" * (n % 40)}).encode() + b"\n\n"


def _model(body: bytes) -> object:
    try:
        return json.loads(body).get("model")
    except (ValueError, AttributeError):
        return None


async def read_head(reader: asyncio.StreamReader) -> dict[str, str] | None:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    lines = raw.decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ", 2)
    head = {":method": method, ":path": path}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            head[name.lower()] = value.strip()
    return head


async def read_body(reader: asyncio.StreamReader, head: dict[str, str]) -> bytes:
    if head.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(head.get("content-length", 0)))
    body = b""
    while size := int((await reader.readline()).strip(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readline()
    return body


async def main(port: int, name: str, knobs: dict[str, str]) -> None:
    server = Server(name, knobs)
    listener = await asyncio.start_server(server.connection, "127.0.0.1", port, backlog=512)
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, done.set)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await done.wait()
    if linger_s := float(knobs.get("linger", "0")):
        await asyncio.sleep(linger_s)  # like a pod that waits until the data plane has heard of its end
    listener.close()
    await server.stop()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], dict(arg.split("=", 1) for arg in sys.argv[3:])))
