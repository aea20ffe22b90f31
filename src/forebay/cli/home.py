"""up, down, kubeconfig, version: the home itself."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from importlib.metadata import version as package_version
from pathlib import Path

import click

from forebay.cli.errors import guarded
from forebay.cli.output import PORT
from forebay.cli.programs import Programs, UpOptions
from forebay.errors import Absent, Invalid, Unavailable

STOP_S = 60.0
data_option = click.option(
    "--data",
    "data",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Data folder (default: $FOREBAY_DATA, else ~/.local/share/forebay).",
)


@click.command()
@data_option
@click.option(
    "--api-port",
    type=PORT,
    default=6440,
    show_default=True,
    help="Port of the API server; 0 picks a free one.",
)
@click.option(
    "--gateway-port",
    type=PORT,
    default=8080,
    show_default=True,
    help="Port of the gateway; 0 picks a free one.",
)
@click.option("--nodes", default=1, show_default=True, help="Number of virtual nodes on this machine.")
@click.option(
    "--node-name", default="forebay", show_default=True, help="Name of the node; further ones are numbered."
)
@click.option(
    "--node-label", "labels", multiple=True, metavar="KEY=VALUE", help="Label of every node; repeatable."
)
@click.option(
    "--node-capacity",
    "capacity",
    multiple=True,
    metavar="RES=QUANTITY,…",
    help="Capacity of every node in place of the machine's own, e.g. cpu=8,memory=32Gi,nvidia.com/gpu=1.",
)
@click.option("-d", "--detach", is_flag=True, help="Return once the API answers; stop with `forebay down`.")
@click.pass_obj
@guarded
def up(
    programs: Programs,
    data: Path | None,
    api_port: int,
    gateway_port: int,
    nodes: int,
    node_name: str,
    labels: tuple[str, ...],
    capacity: tuple[str, ...],
    detach: bool,
) -> int:
    """Start the embedded home: API server, controllers, node and gateway, on loopback."""
    folder = data or programs.default_data()
    options = UpOptions(folder, api_port, gateway_port, nodes, node_name, labels, capacity, detach)
    return programs.up(options)


@click.command()
@data_option
@click.pass_obj
@guarded
def down(programs: Programs, data: Path | None) -> None:
    """Stop the embedded home: the gateway drains, pods end, nothing confirmed is lost."""
    folder = data or programs.default_data()
    pid = int(programs.running(folder)["pid"])
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline:
        if _has_ended(programs, folder, pid):
            click.echo(f"Forebay on {folder} is down.")
            return
        time.sleep(0.05)
    raise Unavailable(
        f"pid {pid} did not stop within {STOP_S:g} s; look at {folder}/up.log, then `kill -9 {pid}`"
    )


def _has_ended(programs: Programs, folder: Path, pid: int) -> bool:
    """Whether the home has let its folder go and its process is gone; a zombie is its parent's to clear."""
    try:
        programs.running(folder)
        return False
    except Absent:
        pass
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, PermissionError):
        return True
    except OSError:  # no /proc here, or gone between the two looks
        return False


@click.command()
@click.option(
    "--user",
    default=None,
    help="Make one for this person, who owns the namespaces given, instead of the admin.",
)
@click.option("-n", "--namespace", "namespaces", multiple=True, help="Namespace of --user; repeatable.")
@data_option
@click.pass_obj
@guarded
def kubeconfig(programs: Programs, user: str | None, namespaces: tuple[str, ...], data: Path | None) -> None:
    """Print the path of the kubeconfig: export KUBECONFIG=$(forebay kubeconfig)."""
    folder = data or programs.default_data()
    if user is None and namespaces:
        raise Invalid("--namespace says which namespaces are a person's own: give --user, too")
    if user is not None:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9.@]*[a-z0-9])?", user):
            raise Invalid(f"--user {user!r}: small letters, digits, '-', '.' and '@' only")
        click.echo(str(programs.user_kubeconfig(folder, user, namespaces)))
        return
    path = folder / "kubeconfig"
    if not path.exists():
        raise Absent(f"there is no {path}; start a home with `forebay up`")
    click.echo(str(path))


@click.command()
@click.option(
    "-o", "--output", type=click.Choice(["json", "yaml"]), default=None, help="Machine-readable form."
)
@guarded
def version(output: str | None) -> None:
    """Print the version."""
    from forebay.cli.output import show

    facts = {"forebay": package_version("forebay"), "python": sys.version.split()[0], "kubernetes": "v1.34"}
    show(facts, output, lambda: click.echo(f"forebay {facts['forebay']}"))
