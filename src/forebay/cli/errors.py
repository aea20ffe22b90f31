"""Errors as people read them: what happened, on what, what to do next; and the exit code of the error's
class.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import click

from forebay.cli.output import in_colour, plain
from forebay.errors import Absent, Bug, Denied, Exhausted, ForebayError, Unavailable


def say(error: ForebayError) -> None:
    """Print one line to standard error, and the causes below it unless it names the only one."""
    line = plain(f"Error: {error.message}")
    click.echo(click.style(line, fg="red") if in_colour(sys.stderr) else line, err=True)
    alone = len(error.causes) == 1 and error.causes[0][2] in error.message
    for path, _, message in () if alone else error.causes:
        click.echo(plain(f"  {path}: {message}"), err=True)


def of_the_system(error: OSError) -> tuple[type[ForebayError], str]:
    """What an error of the operating system means to a person."""
    where = f" ({error.filename})" if error.filename else ""
    text = f"{error.strerror or error}{where}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Exhausted, f"no room to write: {text}; make room and run this again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Denied, f"not permitted: {text}; look at the owner and the mode"
    if error.errno == errno.ENOENT:
        return Absent, f"it is not there: {text}"
    return Unavailable, f"the system refused: {text}"


def _give_up_output() -> None:
    """Nobody takes standard output any more: what is left in it must not be tried again at the end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def guarded(command: Callable[..., int | None]) -> Callable[..., None]:
    """Turn errors into a message and an exit code; the third of the three places that catch everything."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            code = command(*args, **kwargs)
            if sys.stdout is not None:  # `>&-`
                sys.stdout.flush()  # here, where a full disk can still be told; not at the interpreter's end
        except ForebayError as error:
            say(error)
            sys.exit(error.exit_code)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except KeyboardInterrupt:
            sys.exit(130)
        except BrokenPipeError:  # `| head` has seen enough
            _give_up_output()
            sys.exit(0)
        except OSError as error:
            _give_up_output()
            family, message = of_the_system(error)
            say(family(message))
            sys.exit(family.exit_code)
        except Exception as error:  # noqa: BLE001 - CLI's main: a person never sees a trace unless asked for
            if os.environ.get("FOREBAY_TRACE"):
                traceback.print_exc()
            say(Bug(f"{type(error).__name__}: {error}; FOREBAY_TRACE=1 shows where; please report it"))
            sys.exit(Bug.exit_code)
        sys.exit(code or 0)

    return run
