"""Real ports for container ports: all pods share this machine's loopback address."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Mapping
from contextlib import suppress
from itertools import chain

from forebay.api.meta import Json
from forebay.errors import Exhausted

ANNOTATION = "forebay.dev/ports"
DEFAULT_PORT = "8080"
FIRST, LAST = 20000, 29999  # below the range from which Linux takes ports for outgoing connections


class PortBook:
    """Which ports are promised to pods; shared by the nodes of one home."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def take(self, wanted: int | None = None) -> int:
        """A free port, `wanted` if it is free. Raises Exhausted."""
        offset = random.randrange(LAST - FIRST + 1)
        rest = (FIRST + (offset + step) % (LAST - FIRST + 1) for step in range(LAST - FIRST + 1))
        for port in chain([wanted] if wanted else [], rest):
            if port not in self._taken and _free(port):
                self._taken.add(port)
                return port
        raise Exhausted(f"no free port between {FIRST} and {LAST} on 127.0.0.1: stop some pods")

    def give_back(self, ports: Mapping[str, int]) -> None:
        """These ports may be taken again."""
        self._taken -= set(ports.values())


SHARED = PortBook()


def assign(pod: Json, book: PortBook) -> dict[str, int]:
    """containerPort -> real port for every declared port (a chosen one for 8080 if none is).

    A hostPort is the real port; what an earlier life of the pod had is kept where it is still free.
    """
    spec, before = pod.get("spec") or {}, read(pod)
    ports: dict[str, int] = {}
    for item in declared(spec):
        key = str(item["containerPort"])
        fixed = item.get("hostPort") or (item["containerPort"] if spec.get("hostNetwork") else None)
        if key not in ports:
            ports[key] = int(fixed) if fixed else book.take(before.get(key))
    return ports or {DEFAULT_PORT: book.take(before.get(DEFAULT_PORT))}


def declared(spec: Json) -> list[Json]:
    """The ports of all containers, in order."""
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    return [port for container in containers for port in container.get("ports") or []]


def read(pod: Json) -> dict[str, int]:
    """The annotation; {} if there is none or it is not ours."""
    text = (pod["metadata"].get("annotations") or {}).get(ANNOTATION, "")
    with suppress(ValueError, AttributeError):
        return {str(key): int(port) for key, port in json.loads(text).items()}
    return {}


def environment(container: Json, ports: Mapping[str, int]) -> dict[str, str]:
    """PORT (the container's first port, else the pod's), PORT_<containerPort> for each port of the pod."""
    own = [str(item["containerPort"]) for item in container.get("ports") or []]
    first = own[0] if own else next(iter(ports))
    return {"PORT": str(ports[first])} | {f"PORT_{key}": str(port) for key, port in ports.items()}


def real_port(container: Json, port: int | str, ports: Mapping[str, int]) -> int | None:
    """The real port behind a probe's port (a number or a port's name); None if the name is unknown."""
    for item in container.get("ports") or []:
        if port in (item.get("name"), item["containerPort"], str(item["containerPort"])):
            return ports.get(str(item["containerPort"]))
    if str(port) in ports:
        return ports[str(port)]
    return int(port) if str(port).isdecimal() else None


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def text(ports: Mapping[str, int]) -> str:
    """The annotation's value."""
    return json.dumps(dict(ports))
