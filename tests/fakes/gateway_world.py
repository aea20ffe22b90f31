"""A gateway over a store in memory, with model servers that are real processes, for service tests."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from forebay.api.kinds import EndpointSlice, InferenceService, Service
from forebay.gateway.routes import SERVICE_LABEL
from forebay.gateway.serve import Gateway
from forebay.gateway.settings import LIMITS
from tests.fakes.object_store import ObjectStore

SERVER = Path(__file__).with_name("model_server.py")
Addresses = tuple[tuple[str, int], ...]


def objects(name: str, namespace: str = "ns", *, ports: tuple[int, ...] = (), **isvc: Any) -> list[Any]:
    """The InferenceService, its Service and its EndpointSlices as the controllers write them."""
    spec = {"predictor": isvc.pop("predictor", {"model": {"modelFormat": {"name": "gguf"}}})}
    made = InferenceService.new(name, namespace, annotations=isvc.pop("annotations", None), spec=spec, **isvc)
    service = Service.new(f"{name}-predictor", namespace, spec={"ports": [{"port": 80, "name": "http"}]})
    slices = [
        EndpointSlice.new(
            f"{name}-predictor-{slot}", namespace, labels={SERVICE_LABEL: f"{name}-predictor"},
             addressType="IPv4",
            ports=[{"name": "http", "port": port or 1, "protocol": "TCP"}],
            endpoints=[{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}] if port else [],
        )
        for slot, port in enumerate((*ports, *(0,) * (4 - len(ports))))
    ]  # fmt: skip
    return [made, service, *slices]


@dataclass
class Answer:
    """One response as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes
    chunks: list[bytes] = field(default_factory=list)

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """A raw HTTP/1.1 connection, so that a test decides every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def post(self, path: str, body: bytes, **headers: str) -> Answer:
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"POST {path} HTTP/1.1\r\nHost: gateway\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
        await self.send(head.encode() + body)
        return await self.answer()

    async def get(self, path: str, host: str = "gateway", method: str = "GET") -> Answer:
        await self.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return await self.answer(bodyless=method == "HEAD")

    async def answer(self, *, bodyless: bool = False) -> Answer:
        raw = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.split(": ", 1) for line in raw[1:] if line)
        headers = {name.lower(): value for name, value in pairs}
        answer = Answer(int(raw[0].split(" ")[1]), headers, b"")
        if bodyless or answer.status in (100, 204, 304):
            return answer
        if headers.get("transfer-encoding") == "chunked":
            while size := int((await self.reader.readline()).strip(), 16):
                answer.chunks.append(await self.reader.readexactly(size))
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
            answer.body = b"".join(answer.chunks)
        elif "content-length" in headers:
            answer.body = await self.reader.readexactly(int(headers["content-length"]))
        else:
            answer.body = await self.reader.read()
        return answer

    async def closed(self) -> bool:
        """Whether the other side has closed (waits for it)."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True


class World:
    """The gateway, its store, and everything started for a test."""

    def __init__(self, **limits: Any) -> None:
        self.store = ObjectStore()
        self.log = io.StringIO()
        self.gateway = Gateway(self.store, limits=replace(LIMITS, **limits), log=self.log)  # type: ignore[arg-type]
        self.processes: list[asyncio.subprocess.Process] = []
        self._clients: list[Client] = []

    async def backend(self, name: str, **knobs: object) -> int:
        """Start a model server; returns its port."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(SERVER), "0", name, *(f"{key}={value}" for key, value in knobs.items()),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.processes.append(process)
        assert process.stdout is not None
        return int(await asyncio.wait_for(process.stdout.readline(), 10))

    async def serve(self, name: str, *ports: int, namespace: str = "ns", **isvc: Any) -> None:
        """Put the objects, and return when the gateway's table has them."""
        await self.store.put(*objects(name, namespace, ports=ports, **isvc))
        wanted = tuple(sorted(("127.0.0.1", port) for port in ports))
        await self.until(lambda: self._endpoints(name, namespace) == wanted)

    def _endpoints(self, name: str, namespace: str) -> Addresses | None:
        routes = {str(key): route.endpoints for key, route in self.gateway.site.table.routes.items()}
        return routes.get(f"{namespace}/{name}")

    async def until(self, condition: Any) -> None:
        """Poll a condition of this process, for five seconds at most."""
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection(*self.gateway.address))
        self._clients.append(client)
        return client

    def lines(self) -> list[dict[str, Any]]:
        """The access log so far."""
        self.gateway.observer.flush()
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    async def close(self) -> None:
        for client in self._clients:
            client.writer.close()
        await self.gateway.stop(deadline_s=2.0)
        for process in self.processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


@asynccontextmanager
async def world(**limits: Any) -> AsyncIterator[World]:
    """A running gateway; `limits` override its settings."""
    made = World(**limits)
    await made.gateway.start(host="127.0.0.1", port=0)
    try:
        yield made
    finally:
        await made.close()
