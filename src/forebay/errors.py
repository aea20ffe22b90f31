"""Eight errors, sorted by what the caller should do.

Each class is one row: its code, how the control loop waits, its HTTP status, the CLI's exit code and the log
level. Messages say what failed, on what, and the next step; they never carry a secret.
"""

from __future__ import annotations

import enum
import logging
from typing import ClassVar


class Retry(enum.Enum):
    """How the control loop goes on after an error."""

    REST = "rests until the object changes"
    HOURLY = "rests; looks again after an hour"
    AGAIN = "reads again at once; the fifth time in a row it waits"
    BACKOFF = "waits, longer each time, or as long as it was told"
    ROOM = "rests; wakes when room is freed, and looks again after a minute"
    STOP = "leaves the object alone"


class ForebayError(Exception):
    """Base of all errors that Forebay raises on purpose.

    `message` is for a person; `retry_after_s` (seconds) is what a peer asked for; `causes` are field errors
    as (field path, reason, message), in the shape of Kubernetes' StatusCause.
    """

    code: ClassVar[str] = "error"
    retry: ClassVar[Retry] = Retry.BACKOFF
    http: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    level: ClassVar[int] = logging.ERROR

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        causes: tuple[tuple[str, str, str], ...] = (),
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        self.causes = causes
        self.reason = reason or self.code


class Invalid(ForebayError):
    """The input is wrong."""

    code, retry, http, exit_code, level = "invalid", Retry.REST, 422, 2, logging.INFO


class Denied(ForebayError):
    """A credential or a permission is missing."""

    code, retry, http, exit_code, level = "denied", Retry.HOURLY, 403, 3, logging.WARNING


class Absent(ForebayError):
    """It is not there."""

    code, retry, http, exit_code, level = "absent", Retry.HOURLY, 404, 4, logging.INFO


class Clash(ForebayError):
    """Someone else was first."""

    code, retry, http, exit_code, level = "clash", Retry.AGAIN, 409, 5, logging.DEBUG


class Unavailable(ForebayError):
    """A peer is down, slow, or asks us to slow down."""

    code, retry, http, exit_code, level = "unavailable", Retry.BACKOFF, 503, 6, logging.WARNING


class Exhausted(ForebayError):
    """No disk, memory, accelerator or quota."""

    code, retry, http, exit_code, level = "exhausted", Retry.ROOM, 507, 7, logging.WARNING


class Damaged(ForebayError):
    """Bytes failed a check; they were set aside."""

    code, retry, http, exit_code, level = "damaged", Retry.BACKOFF, 502, 8, logging.ERROR


class Bug(ForebayError):
    """We broke a promise to ourselves."""

    code, retry, http, exit_code, level = "bug", Retry.STOP, 500, 70, logging.ERROR


ALL = (Invalid, Denied, Absent, Clash, Unavailable, Exhausted, Damaged, Bug)
