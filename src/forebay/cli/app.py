"""The `forebay` command: a lazy group, so that a command imports only what it needs."""

from __future__ import annotations

import importlib

import click

from forebay.cli.output import WholeHelp
from forebay.cli.programs import Programs

# command -> (module, attribute); the order is that of --help
COMMANDS = {
    "up": ("home", "up"),
    "down": ("home", "down"),
    "demo": ("demo", "demo"),
    "run": ("serving", "run"),
    "chat": ("serving", "chat"),
    "apply": ("applying", "apply"),
    "get": ("getting", "get"),
    "logs": ("objects", "logs"),
    "delete": ("objects", "delete"),
    "explain": ("explaining", "explain"),
    "cache": ("cache_commands", "cache"),
    "doctor": ("doctor", "doctor"),
    "kubeconfig": ("home", "kubeconfig"),
    "version": ("home", "version"),
    "completion": ("completing", "completion"),
    "pull": ("pulling", "pull"),
    "storage-initializer": ("programs_run", "storage_initializer"),
    "node": ("programs_run", "node"),
    "gateway": ("programs_run", "gateway"),
    "llama": ("programs_run", "llama"),
    "hub": ("programs_run", "hub"),
    "blobs": ("programs_run", "blobs"),
}


class LazyGroup(WholeHelp):
    """A group whose commands are imported when they are typed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"forebay.cli.{module}"), attribute)
        command.name = cmd_name
        return command


def build(programs: Programs) -> click.Group:
    """The whole command tree over these programs."""

    settings = {"help_option_names": ["-h", "--help"], "obj": programs}  # completion parses, and runs nothing

    @click.group(cls=LazyGroup, context_settings=settings)
    @click.version_option(package_name="forebay", message="%(prog)s %(version)s", help="Print the version.")
    def forebay() -> None:
        """Forebay serves models and keeps their weights where they will be needed, before they are needed."""

    return forebay
