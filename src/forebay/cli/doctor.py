"""doctor: is this machine fit, in words a person can act on."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from forebay.cli.errors import guarded
from forebay.cli.home import data_option
from forebay.cli.output import PORT, in_colour, show
from forebay.cli.programs import Programs
from forebay.errors import Absent
from forebay.kit import probe

MARKS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


@click.command()
@data_option
@click.option(
    "--api-port", type=PORT, default=6440, show_default=True, help="Port to check for the API server."
)
@click.option(
    "--gateway-port", type=PORT, default=8080, show_default=True, help="Port to check for the gateway."
)
@click.option(
    "-o", "--output", type=click.Choice(["json", "yaml"]), default=None, help="Machine-readable form."
)
@click.pass_obj
@guarded
def doctor(
    programs: Programs, data: Path | None, api_port: int, gateway_port: int, output: str | None
) -> int:
    """Check the machine: disk, free space, direct I/O, ports, clock. Exit 1 if something must be mended."""
    folder = data or programs.default_data()
    findings = [check() for check in probe.all_checks(folder, (api_port, gateway_port))]
    findings.append(_running(programs, folder))

    def human() -> None:
        for finding in findings:
            mark, color = MARKS[finding.state]
            shown = click.style(mark, fg=color) if in_colour(sys.stdout) else mark
            click.echo(f"{shown}  {finding.check + ':':17}{finding.said}")
            if finding.advice:
                click.echo(f"      {'':17}-> {finding.advice}")

    show([asdict(finding) for finding in findings], output, human)
    return int(any(finding.state == "fail" for finding in findings))


def _running(programs: Programs, folder: Path) -> probe.Finding:
    try:
        facts = programs.running(folder)
    except Absent:
        return probe.Finding("home", "ok", "none runs on this data folder; `forebay up` starts one")
    return probe.Finding(
        "home", "ok", f"runs: API {facts['server']}, gateway {facts['gateway']} (its ports are taken)"
    )
