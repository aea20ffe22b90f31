"""The bodies of `forebay pull URI DIR` and `storage-initializer URI DIR [URI DIR ...]`; they end with an exit
code."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from forebay.errors import Bug, ForebayError, Invalid, Unavailable
from forebay.kit.disk_errors import as_known
from forebay.kit.redact import redacted
from forebay.pull import metrics
from forebay.pull.folder import Watching, pull_to
from forebay.pull.limits import limits_from
from forebay.pull.model import Progress, Report, Settings
from forebay.pull.show import explanation, progress_on, report_fields, report_json, summary, to_stderr
from forebay.pull.stopping import Stop
from forebay.pull.yielding import RateFile
from forebay.sources.file import is_there

INTERRUPTED = 130  # as a shell counts a Ctrl-C
Puller = Callable[[str, Path, Watching], Report]


@dataclass(frozen=True)
class PullOptions:
    """What `forebay pull` was asked for. `rate_bytes_s` 0: no limit; `as_json`: JSON even on a terminal."""

    uri: str
    dest: Path
    revision: str = ""
    explain: bool = False
    as_json: bool = False
    rate_bytes_s: float = 0.0


def pull_command(options: PullOptions, env: Mapping[str, str], *, puller: Puller | None = None) -> int:
    """Pull once; 0, or the exit code of the error's class. Progress and words go to stderr, the report to
    stdout.

    `puller` replaces the plain pull into a folder (the cache's pull, which needs room on a node).
    """

    def plain(uri: str, dest: Path, watching: Watching) -> Report:
        settings = Settings.from_env(env)
        return pull_to(uri, dest, env=env, settings=settings, watching=watching, revision=options.revision)

    terminal = sys.stderr.isatty() and not options.as_json
    seen_report = Report()

    def note(report: Report) -> None:
        vars(seen_report).update(vars(report))

    stop = Stop()
    try:
        with stop.on_signals(), progress_on(sys.stderr, redacted(options.uri)) as show:
            limits = limits_from(env, options.rate_bytes_s)
            file = RateFile(Path(env.get("FOREBAY_PULL_RATE_FILE") or os.devnull), limits)

            def seen(progress: Progress) -> None:
                file.look()
                if terminal or not options.as_json:
                    show(progress)

            watching = Watching(seen, stop, limits, note)
            report = (puller or plain)(options.uri, options.dest, watching)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the command line's edge)
        known = as_known("pull", error) or Bug(f"unexpected: {error!r}")
        if isinstance(error, KeyboardInterrupt):
            known = Unavailable("stopped before the first byte was asked for; pull again")
        _metrics(env, options.uri, seen_report, known.code)
        code = _failed(options.uri, known, terminal, seen_report)
        if options.explain and seen_report.wall_s:
            to_stderr(explanation(seen_report, error=known.code))
        return INTERRUPTED if stop.by == signal.SIGINT and known.code == Unavailable.code else code
    _metrics(env, options.uri, report, "")
    if terminal:
        to_stderr(summary(report))
    else:
        print(report_json(redacted(options.uri), report), flush=True)
    if options.explain:
        to_stderr(explanation(report))
    return 0


def storage_initializer(argv: Sequence[str], env: Mapping[str, str], *, puller: Puller | None = None) -> int:
    """KServe's storage initializer: pairs of source and destination, one after the other; the first error
    ends it."""
    usage = "usage: storage-initializer SRC_URI DEST_PATH [SRC_URI DEST_PATH ...]"
    if tuple(argv) in (("-h",), ("--help",)):
        sys.stdout.write(usage + "\n")
        return 0
    if not argv or len(argv) % 2:
        return _failed("", Invalid(usage), False, Report())
    for uri, dest in zip(argv[::2], argv[1::2], strict=True):
        # KServe takes a bare path where a URI is expected: that is how a claim is named, once it is mounted.
        bare = "://" not in uri and (uri.startswith("/") or is_there(uri))
        full = "file://" + quote(os.path.realpath(uri)) if bare else uri
        code = pull_command(PullOptions(full, Path(dest)), env, puller=puller)
        if code:
            return code
    return 0


def _metrics(env: Mapping[str, str], uri: str, report: Report, error: str) -> None:
    if folder := env.get("FOREBAY_METRICS_DIR"):
        metrics.write(Path(folder), redacted(uri), report, error=error)


def _failed(uri: str, error: ForebayError, terminal: bool, report: Report) -> int:
    if terminal:
        to_stderr(f"Error: {redacted(error.message)}")
    else:
        line = {
            "event": "failed",
            "uri": redacted(uri),
            "code": error.code,
            "message": redacted(error.message),
            **(report_fields(report) if report.wall_s else {}),
        }
        print(json.dumps(line), file=sys.stderr, flush=True)
    return error.exit_code
