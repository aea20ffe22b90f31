"""The transfer engine: verified, durable, resumable bytes from any source, in threads and raw sockets.

How to call it (blocking; run it in a process or thread of its own)::

    source, listing = resolve(uri, env, revision="")          # forebay.sources.table; Source and immutable
    Listing
    report = fetch(Plan(listing, origins=(source,), parts=parts_dir, damaged=damaged_dir, publish=publish),
                   settings=Settings.from_env(env), hooks=Hooks(have=have, on_progress=show, stop=event))

`publish(batch: Sequence[Finished]) -> None` gets files whose bytes are verified AND durable (fsynced or
syncfs'ed), in
batches; it renames `finished.part` into place and syncs the directories it touched. After it returns, the
engine
removes the part's journal. A batch has 1 to some hundred files; calls come from one thread, one at a time.

`have(file: RemoteFile) -> bool` says that a file needs no transfer (asked once per file before it starts;
it may be
asked from several threads). `on_progress(Progress)` is called at most every 0.25 s from one thread.
`stop` (threading.Event) ends the pull within a second; what was received stays in parts and the next call
goes on.
`hooks.limits` (a `Limits`) may be changed while it runs: `limits.set_rate(bytes_per_s)`,
`limits.yield_to(...)`.

`Finished`: file (RemoteFile), part (Path), size (int), sha256 (hex, always computed), observed (True where
the
source promised no sha256 and nothing was there to compare it with; git_sha1/md5 that were promised have
been compared), origins
(names of who sent the bytes).

Parts: `parts/<sha256>.part` where a sha256 is promised, else `parts/x-<hash of uri, revision, path>.part`,
with
`.journal` and `.lock` beside it. Two processes may share a parts folder: the second waits for the first
one's file and
asks `have` again.

Raises the eight errors: Invalid, Denied, Absent, Unavailable, Exhausted (disk full, quota), Damaged (digest
or size wrong; the bytes lie in `damaged`), Clash (the origin's file changed since it was listed), Bug.

`pull_to(uri, dest, ...)` is the plain pull into a folder (`forebay pull URI DIR`, `storage-initializer URI
DIR`).
`command.pull_command` is the body of the two commands.
"""

from __future__ import annotations

from forebay.pull.engine import fetch
from forebay.pull.folder import Watching, pull_to
from forebay.pull.limits import Limits
from forebay.pull.model import Finished, Hooks, Plan, Progress, Report, Settings

__all__ = [
    "Finished",
    "Hooks",
    "Limits",
    "Plan",
    "Progress",
    "Report",
    "Settings",
    "Watching",
    "fetch",
    "pull_to",
]
