"""llama.cpp's own OpenAI server, inside this process, on a unix socket that only this process knows."""

from __future__ import annotations

import http.client
import json
import os
import socket as _socket
from pathlib import Path
from typing import Any, Protocol

from forebay.engines.llama.openai import Abilities
from forebay.engines.llama.options import Options
from forebay.errors import Damaged

HTTP_THREADS = 64  # one per open connection of the front, which keeps no more than it needs
PROMPT_CACHE_MIB = 256
ABILITIES_S = 5.0


class Native(Protocol):
    """What is used of xllamacpp's Server."""

    listening_address: str


def default_threads() -> int:
    """Half of the CPUs that this process may use, at least one.

    The threads of one token wait for each other by spinning: with more of them than idle cores a token takes
    up to fifty times as long, and a second thread on the same core brings little. Other pods need cores too.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    usable = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        most, period = quota.read_text().split()
        usable = usable if most == "max" else min(usable, max(1, int(most) // int(period)))
    return max(1, usable // 2)


def start(model: Path, socket: Path, options: Options) -> Native:
    """Load the model and listen. Blocks; raises Damaged when llama.cpp refuses the file."""
    import xllamacpp

    params = _params(xllamacpp, options)
    params.model.path = str(model)
    params.hostnames = [str(socket)]
    try:
        server: Native = xllamacpp.Server(params)
    except RuntimeError as error:
        raise Damaged(
            f"llama.cpp cannot load {model}: {error} The file may be cut, of an architecture it does not "
            f"know, or "
            f"larger than the memory; see the lines above"
        ) from None
    return server


def abilities(socket: Path) -> Abilities:
    """What the loaded model can do, as its server tells it; nothing is refused where it does not."""
    client = http.client.HTTPConnection("localhost", timeout=ABILITIES_S)
    client.sock = connection = _socket.socket(_socket.AF_UNIX)
    try:
        connection.settimeout(ABILITIES_S)
        connection.connect(str(socket))
        client.request("GET", "/props")
        told = json.loads(client.getresponse().read())
        template, modalities = told["chat_template_caps"], told["modalities"]
        return Abilities(tools=bool(template["supports_tools"]), images=bool(modalities["vision"]))
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return Abilities()
    finally:
        client.close()


def _params(xllamacpp: Any, options: Options) -> Any:
    params = xllamacpp.CommonParams()
    params.model_alias = {options.model_name}
    params.n_ctx = options.ctx_size
    params.n_parallel = options.parallel
    params.kv_unified = True  # one context shared by all, instead of a fixed share for each
    params.cpuparams.n_threads = options.threads or default_threads()
    params.n_threads_http = HTTP_THREADS
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.warmup = False
    params.fit_params = False
    params.use_jinja = True
    params.ui = False
    params.endpoint_slots = False  # it would show other people's prompts
    params.endpoint_metrics = True
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.verbosity = 1  # errors only
    return params
