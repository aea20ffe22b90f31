"""The command line of forebay-llama: its own options, and those that KServe's Hugging Face server would
take.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from forebay.engines.llama.options import Options, split_known
from forebay.errors import ForebayError


def main(argv: Sequence[str]) -> int:
    """Serve (or `convert SRC DST`, `prepare SRC DST`).

    The exit code: 0, 2 for what is not supported, else by class of error.
    """
    arguments, warnings = split_known(list(argv))
    for warning in warnings:
        print(warning, file=sys.stderr, flush=True)
    commands = {"convert": _convert, "prepare": _prepare}
    command = commands.get(arguments[0], _serve) if arguments else _serve
    arguments = arguments if command is _serve else arguments[1:]
    try:
        result = command.main(arguments, prog_name="forebay-llama", standalone_mode=False,
                              help_option_names=["-h", "--help"])  # fmt: skip
        return int(result or 0)
    except ForebayError as error:
        print(f"error: {error.message}", file=sys.stderr, flush=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130


@click.command(
    epilog="`forebay-llama convert SRC DST` turns a Hugging Face folder into a GGUF. "
    "Flags of KServe's Hugging Face server that mean nothing here are accepted and named in a warning."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    "--http_port",
    "port",
    type=click.IntRange(0, 65535),
    envvar="PORT",
    default=8080,
    show_default=True,
    help="Port to listen on; 0 picks one.",
)
@click.option(
    "--model_name",
    "--model-name",
    "model_name",
    default="model",
    show_default=True,
    help="Name that requests and /v1/models use.",
)
@click.option(
    "--model_dir",
    "--model-dir",
    "model_dir",
    type=click.Path(path_type=Path),
    default=Path("/mnt/models"),
    show_default=True,
    help="Folder with the weights, or a GGUF file.",
)
@click.option(
    "--model_id", "--model-id", "model_id", default="", help="Hub id; used only when a folder of it is there."
)
@click.option(
    "--ctx-size",
    "--max-model-len",
    "--max_model_len",
    "--max_length",
    "ctx_size",
    type=click.IntRange(min=0),
    default=8192,
    show_default=True,
    help="Context in tokens, shared by parallel requests; 0 takes the model's own.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    help="CPU threads; 0 takes half of the CPUs that this process may use.",
)
@click.option(
    "--parallel",
    "--max-num-seqs",
    "parallel",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Requests decoded at once.",
)
@click.option(
    "--gguf", envvar="FOREBAY_GGUF", default="", help="File to take when the folder has several models."
)
@click.option(
    "--linger-s",
    type=click.FloatRange(0, 60),
    envvar="FOREBAY_LINGER_S",
    default=1.0,
    show_default=True,
    help="After SIGTERM, seconds in which new requests are still taken.",
)
@click.option(
    "--grace-s",
    type=click.FloatRange(0, 3600),
    envvar="FOREBAY_GRACE_S",
    default=25.0,
    show_default=True,
    help="After SIGTERM, seconds until running requests are cut.",
)
def _serve(**given: object) -> int:
    """Serve a GGUF, or a Llama-family folder in safetensors, over the OpenAI API."""
    from forebay.engines.llama.serve import serve

    return serve(Options(**given))  # type: ignore[arg-type]


@click.command()
@click.argument("src", type=click.Path(path_type=Path))
@click.argument("dst", type=click.Path(path_type=Path))
@click.option(
    "--outtype",
    type=click.Choice(["keep", "f32", "f16", "bf16", "q8_0"]),
    default="keep",
    show_default=True,
    help="Type of the matrices; `keep` stores what the folder has.",
)
def _convert(src: Path, dst: Path, outtype: str) -> int:
    """Convert the Hugging Face folder SRC (Llama family, safetensors) to a GGUF file in the folder DST."""
    from forebay.engines.llama.convert import convert
    from forebay.engines.llama.phases import phase

    with phase("convert") as facts:
        made = convert(src, dst, outtype=outtype)
        facts["file"], facts["bytes"] = str(made), os.path.getsize(made)  # noqa: PTH202
    return 0


@click.command()
@click.argument("src", type=click.Path(path_type=Path))
@click.argument("dst", type=click.Path(path_type=Path))
def _prepare(src: Path, dst: Path) -> int:
    """As an init container: convert SRC into DST if the server needs it; nothing for a GGUF."""
    from forebay.engines.llama.prepare import prepare

    prepare(src, dst)
    return 0
