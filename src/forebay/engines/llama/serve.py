"""The server's life: find the weights, convert if need be, load, serve, drain."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forebay.engines.llama import native
from forebay.engines.llama.find import Found, find_model
from forebay.engines.llama.openai import Abilities
from forebay.engines.llama.options import Options
from forebay.engines.llama.phases import phase
from forebay.engines.llama.prepare import converted
from forebay.engines.llama.site import LlamaSite
from forebay.errors import Absent, Invalid, Unavailable
from forebay.kit.http1 import Group, Limits, ProxyServer

LIMITS = Limits(
    head_max=32 * 1024,
    headers_max=100,
    body_held_max=32 * 1024 * 1024,
    replay_max=0,  # one backend, in this process: sending again would not help
    clients_max=1024,
    pipelined_max=16,
    idle_per_backend_max=8,
    timeout_connect_s=5.0,
    timeout_head_s=15.0,
    timeout_body_s=60.0,
    timeout_first_byte_s=3600.0,
    timeout_between_bytes_s=3600.0,
    timeout_idle_client_s=180.0,
    timeout_idle_backend_s=3.0,  # llama.cpp closes after five
    reconnect_s=5.0,
)


@contextmanager
def _socket_in(folder: Path) -> Iterator[Path]:
    """A path for the private socket in `folder`.

    The system takes at most 107 bytes of one, and a pod's folder may be longer. Where it can, this process
    names the folder by its descriptor, so that nothing has to lie elsewhere.
    """
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        short = Path(f"/proc/self/fd/{opened}")
        yield (short if short.is_dir() else folder) / "llama.sock"
    finally:
        os.close(opened)


def serve(options: Options) -> int:
    """Serve until SIGTERM or SIGINT; 0 when everything under way was finished, 1 when something was cut."""
    with (
        tempfile.TemporaryDirectory(prefix="forebay-llama-") as scratch,
        _socket_in(Path(scratch)) as socket,
    ):
        found = _find(options)
        model = converted(found.path, Path(scratch)) if found.kind == "safetensors" else found.path
        with phase("load") as facts:
            facts["file"], facts["bytes"] = str(model), model.stat().st_size
            server = native.start(model, socket, options)
            can = native.abilities(socket)
        cut = asyncio.run(_serve(options, socket, can))
        del server
    return 1 if cut else 0


def _find(options: Options) -> Found:
    made = os.environ.get("FOREBAY_PREPARED_DIR", "")
    if made and any(Path(made).glob("*.gguf")):
        return find_model(Path(made))
    try:
        return find_model(options.model_dir, wanted=options.gguf)
    except (Absent, Invalid) as error:
        if options.model_id and not options.model_dir.is_dir():
            raise Invalid(
                f"--model_id {options.model_id} would need a download, which this server does not do: "
                f"give the service "
                f"a storageUri (hf://{options.model_id}), or run `forebay pull hf://{options.model_id} "
                f"DIR` and pass "
                f"--model_dir DIR"
            ) from error
        raise


async def _serve(options: Options, socket: Path, can: Abilities) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    group = Group(wait_s=LIMITS.reconnect_s, waiting_max=LIMITS.clients_max)
    group.set_addresses((str(socket),))
    site = LlamaSite(model=options.model_name, native=group, ready=lambda: not stop.is_set(), can=can)
    proxy = ProxyServer(site, LIMITS, proto=b"")
    proxy.groups = [group]
    try:
        host, port = await proxy.start(host=options.host, port=options.port)
    except OSError as error:
        message = f"cannot listen on {options.host}:{options.port}: {error.strerror}; choose another --port"
        raise Unavailable(message) from None
    with phase("listen") as facts:
        facts["host"], facts["port"], facts["model"] = host, port, options.model_name
    await stop.wait()
    with phase("drain") as facts:
        facts["cut"] = cut = await proxy.stop(deadline_s=options.grace_s, linger_s=options.linger_s)
        facts["requests"] = site.requests
    return cut
