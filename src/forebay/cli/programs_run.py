"""The programs that run in pods or by hand: storage-initializer, node, gateway, llama, hub, blobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from forebay.cli.errors import guarded
from forebay.cli.output import PORT
from forebay.cli.programs import Programs
from forebay.kit.rate import rate


def _passed_on(
    name: str, pick: Callable[[Programs], Callable[[Sequence[str]], int]], help_text: str
) -> click.Command:
    """A command whose arguments belong to the program behind it, --help included."""

    @click.command(
        name, help=help_text, add_help_option=False, context_settings={"ignore_unknown_options": True}
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    @click.pass_obj
    @guarded
    def command(programs: Programs, arguments: tuple[str, ...]) -> int:
        return pick(programs)(arguments)

    return command


storage_initializer = _passed_on(
    "storage-initializer",
    lambda p: p.storage_initializer,
    "KServe's downloader, drop-in: SRC DEST [SRC DEST]…",
)
llama = _passed_on("llama", lambda p: p.llama, "Serve a GGUF or Llama-family model over the OpenAI API.")
hub = _passed_on("hub", lambda p: p.hub, "Serve a folder over the Hugging Face Hub's protocol, on loopback.")


@click.command()
@click.pass_obj
@guarded
def node(programs: Programs) -> int:
    """Run the agent of one node and node group (NODE_NAME, NODE_GROUP)."""
    return programs.node()


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=8080, envvar="PORT", show_default=True, help="Port to listen on.")
@click.pass_obj
@guarded
def gateway(programs: Programs, host: str, port: int) -> int:
    """Run the data plane: OpenAI, V1 and V2 requests to ready pods."""
    return programs.gateway(host, port)


@click.command()
@click.argument("root", type=click.Path(path_type=Path, file_okay=False))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=0, help="Port to listen on; any without it.")
@click.option("--connections", default=64, show_default=True, help="At most so many at once.")
@click.option("--limit-rate", default="", metavar="RATE", help="Bytes a second in all, e.g. 50M.")
@click.pass_obj
@guarded
def blobs(programs: Programs, root: Path, host: str, port: int, connections: int, limit_rate: str) -> int:
    """Serve a cache's content by digest, read-only, for other nodes. ROOT is a node group's folder."""
    limit = rate(limit_rate, "--limit-rate") if limit_rate else 0.0
    words = [
        "--host",
        host,
        "--port",
        str(port),
        "--connections",
        str(connections),
        "--limit-rate",
        str(limit),
    ]
    return programs.blobs([*words, str(root)])
