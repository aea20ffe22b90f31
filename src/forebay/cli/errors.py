"""Errors as people read them: what happened, on what, what to do next; and the exit code of the error's
class.
"""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import click

from forebay.errors import Bug, ForebayError


def say(error: ForebayError) -> None:
    """Print one line to standard error, and the causes below it unless it names the only one."""
    click.secho(f"Error: {error.message}", fg="red", err=True)
    alone = len(error.causes) == 1 and error.causes[0][2] in error.message
    for path, _, message in () if alone else error.causes:
        click.echo(f"  {path}: {message}", err=True)


def guarded(command: Callable[..., int | None]) -> Callable[..., None]:
    """Turn errors into a message and an exit code; the third of the three places that catch everything."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            code = command(*args, **kwargs)
        except ForebayError as error:
            say(error)
            sys.exit(error.exit_code)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except KeyboardInterrupt:
            sys.exit(130)
        except BrokenPipeError:
            sys.stderr.close()
            sys.exit(0)
        except Exception as error:  # noqa: BLE001 - CLI's main: a person never sees a trace unless asked for
            if os.environ.get("FOREBAY_TRACE"):
                traceback.print_exc()
            say(Bug(f"{type(error).__name__}: {error}; FOREBAY_TRACE=1 shows where; please report it"))
            sys.exit(Bug.exit_code)
        sys.exit(code or 0)

    return run
