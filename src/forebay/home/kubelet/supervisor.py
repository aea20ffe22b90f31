"""The parent of one pod's processes: starts them, writes their logs, ends them all with the home.

Run by file name with `python -I -S` (standard library only, about 10 ms and 9 MB); it never imports forebay.
It speaks frames over its stdin and stdout: four bytes of length, then a marshalled dict.

    home -> supervisor   {do: start, id, argv, env, cwd, log}   log: a file, or "" to keep the last output
                         {do: signal, id, sig}                  SIGKILL reaches all the container left behind
    supervisor -> home   {id, event: started, pid, at}
                         {id, event: failed, errno, text}
                         {id, event: exited, code, signal, at, oom, output}

It is a subreaper: a grandchild that forks twice becomes its child, so nothing escapes. End of file on stdin
is the home's death, and everything is killed at once.
"""

# ruff: noqa: SIM105 - contextlib costs more than it saves here
from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` wraps it in enums, at the price of a megabyte
import ctypes
import marshal
import os
import select
import time

TYPE_CHECKING = False  # importing typing costs what all the rest does
if TYPE_CHECKING:
    from typing import Any

LOG_MAX = 10 * 1024 * 1024  # bytes; then the file is moved to NAME.1
LINE_MAX = 16 * 1024  # bytes; longer lines are written in pieces marked P, as container runtimes do
KEEP_MAX = 10 * 1024  # bytes of output kept where there is no log
READ_MAX = 256 * 1024
MARKER = b"FOREBAY_CONTAINER="
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SIGKILL = 9
_LIBC = ctypes.CDLL(None, use_errno=True)


class Log:
    """One run's output as `2026-01-31T12:00:00.123456789Z stdout F line`, in at most two files."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._parts: dict[str, bytes] = {"stdout": b"", "stderr": b""}
        self.kept = b""
        self._size = 0
        self._fd = self._open() if path else -1

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError:
            return -1  # a container without a log is better than none

    def take(self, stream: str, data: bytes) -> None:
        """Write what is whole of `data`; the rest waits for its line's end."""
        if self._fd < 0:
            self.kept = (self.kept + data)[-KEEP_MAX:]
            return
        *lines, rest = (self._parts[stream] + data).split(b"\n")
        head = b"%s %s " % (_stamp(), stream.encode())
        pieces = [head + b"F " + line + b"\n" for line in lines]
        while len(rest) >= LINE_MAX:
            pieces.append(head + b"P " + rest[:LINE_MAX] + b"\n")
            rest = rest[LINE_MAX:]
        self._parts[stream] = rest
        self._write(b"".join(pieces))

    def close(self) -> None:
        """Write unfinished lines and say that nothing will follow."""
        if self._fd < 0:
            return
        for stream, rest in self._parts.items():
            if rest:
                self._write(b"%s %s P %s\n" % (_stamp(), stream.encode(), rest))
        os.close(self._fd)
        os.close(os.open(self._path + ".end", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def _write(self, data: bytes) -> None:
        try:
            if self._size > LOG_MAX:
                os.rename(self._path, self._path + ".1")  # noqa: PTH104 - no pathlib here: it costs a megabyte
                os.close(self._fd)
                self._fd, self._size = self._open(), 0
            self._size += os.write(self._fd, data)
        except OSError:  # a full disk loses log lines, never the pod
            pass


class Run:
    """One started process and what it says."""

    def __init__(self, name: str, pid: int, pipes: dict[int, str], log: Log) -> None:
        self.name, self.pid, self.pipes, self.log = name, pid, pipes, log
        self.ooms = _ooms()


class Supervisor:
    """The loop. One thread, so the parent-death signal of its children means this process."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._poll = select.poll()
        self._inbox = b""
        self._children_r, children_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        _signal.signal(_signal.SIGCHLD, lambda *_: None)
        _signal.set_wakeup_fd(children_w, warn_on_full_buffer=False)
        for sig in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
            _signal.signal(sig, _signal.SIG_IGN)
        self._poll.register(0, select.POLLIN)
        self._poll.register(self._children_r, select.POLLIN)

    def serve(self) -> None:
        """Work until the home is gone; then leave nothing."""
        try:
            while self._turn():
                pass
        except OSError:
            pass  # the home no longer reads
        finally:
            kill_all()

    def _turn(self) -> bool:
        for fd, _ in self._poll.poll():
            if fd == 0:
                if not self._commands():
                    return False
            elif fd == self._children_r:
                os.read(fd, 4096)
            else:
                self._pump(fd)
        self._reap()
        return True

    def _commands(self) -> bool:
        data = os.read(0, READ_MAX)
        self._inbox += data
        while len(self._inbox) >= 4:
            size = int.from_bytes(self._inbox[:4], "big")
            if len(self._inbox) < 4 + size:
                break
            frame, self._inbox = self._inbox[4 : 4 + size], self._inbox[4 + size :]
            self._obey(marshal.loads(frame))
        return bool(data)

    def _obey(self, command: dict[str, Any]) -> None:
        if command["do"] == "start":
            self._start(command)
            return
        run = self._runs.get(command["id"])
        if run is None:
            return
        if command["sig"] == SIGKILL:
            _kill([run.pid, *self._family(run)])
            return
        try:
            os.killpg(run.pid, command["sig"])
        except ProcessLookupError:
            pass

    def _start(self, command: dict[str, Any]) -> None:
        try:
            self._spawn(command)
        except OSError as error:
            text = str(error.strerror)
            tell({"id": command["id"], "event": "failed", "errno": error.errno or 0, "text": text})

    def _spawn(self, command: dict[str, Any]) -> None:
        """Start a process and tell its pid. Raises OSError with the program's own trouble, too."""
        out_r, out_w = os.pipe2(os.O_CLOEXEC)
        err_r, err_w = os.pipe2(os.O_CLOEXEC)
        told_r, told_w = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            _become(command, out_w, err_w, told_w)
        for fd in (out_w, err_w, told_w):
            os.close(fd)
        trouble = os.read(told_r, 1024)
        os.close(told_r)
        if trouble:
            os.close(out_r)
            os.close(err_r)
            os.waitpid(pid, 0)
            number, _, text = trouble.partition(b" ")
            raise OSError(int(number), text.decode())
        for fd in (out_r, err_r):
            os.set_blocking(fd, False)
            self._poll.register(fd, select.POLLIN)
        run = Run(command["id"], pid, {out_r: "stdout", err_r: "stderr"}, Log(command["log"]))
        self._runs[run.name] = run
        tell({"id": run.name, "event": "started", "pid": pid, "at": time.time()})

    def _pump(self, fd: int) -> bool:
        """Move what a pipe holds to its log; False when there is nothing more now."""
        run = next((run for run in self._runs.values() if fd in run.pipes), None)
        if run is None:
            return False
        try:
            data = os.read(fd, READ_MAX)
        except BlockingIOError:
            return False
        if data:
            run.log.take(run.pipes[fd], data)
        else:
            self._close(run, fd)
        return bool(data)

    def _close(self, run: Run, fd: int) -> None:
        del run.pipes[fd]
        self._poll.unregister(fd)
        os.close(fd)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            run = next((run for run in self._runs.values() if run.pid == pid), None)
            if run is not None:
                self._ended(run, status)

    def _ended(self, run: Run, status: int) -> None:
        for _ in range(50):  # what forks while it is being killed is found in the next round
            family = self._family(run)
            if not family:
                break
            _kill(family)
            time.sleep(0.01)
        for fd in list(run.pipes):
            for _ in range(64):  # a pipe holds 64 KiB at most; a stranger that still writes is not waited for
                if not self._pump(fd):
                    break
            if fd in run.pipes:
                self._close(run, fd)
        run.log.close()
        del self._runs[run.name]
        sig = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        code = 128 + sig if sig else os.WEXITSTATUS(status)
        oom = sig == SIGKILL and _ooms() > run.ooms
        tell({
            "id": run.name, "event": "exited", "code": code, "signal": sig, "at": time.time(), "oom": oom,
            "output": run.log.kept,
        })  # fmt: skip

    def _family(self, run: Run) -> list[int]:
        """Processes of one container besides its first; unclaimed ones if it is the only container."""
        table = _table()
        mains = {other.pid: other for other in self._runs.values()}
        alone = len(self._runs) == 1
        return [
            pid
            for pid in _descendants(table, os.getpid())
            if pid not in mains and _owner(pid, table, mains, run if alone else None) is run
        ]


def _owner(
    pid: int, table: dict[int, tuple[int, int]], mains: dict[int, Run], default: Run | None
) -> Run | None:
    """Whose a process is: by its ancestors, else by its session, else by the marker in its environment."""
    at = pid
    while at in table:
        if at in mains:
            return mains[at]
        at = table[at][0]
    if table[pid][1] in mains:
        return mains[table[pid][1]]
    marker = _marker(pid)
    if marker:
        return next((run for run in mains.values() if run.name == marker), None)
    return default


def _marker(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            lines = file.read().split(b"\0")
    except OSError:
        return ""
    return next((line[len(MARKER) :].decode() for line in lines if line.startswith(MARKER)), "")


def _table() -> dict[int, tuple[int, int]]:
    """pid -> (parent, session) of every living process; empty where there is no /proc."""
    table = {}
    try:
        names = os.listdir("/proc")  # noqa: PTH208
    except OSError:
        return {}
    for name in names:
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] not in (b"Z", b"X"):
                table[int(name)] = (int(fields[1]), int(fields[3]))
    return table


def _descendants(table: dict[int, tuple[int, int]], root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in table.items():
        children.setdefault(parent, []).append(pid)
    found, queue = [], [root]
    while queue:
        for pid in children.get(queue.pop(), ()):
            found.append(pid)
            queue.append(pid)
    return found


def _kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


def kill_all() -> None:
    """Kill and reap until no descendant is left; ten seconds at most (a process may hang in the kernel)."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        _kill(_descendants(_table(), os.getpid()))
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def _become(command: dict[str, Any], out: int, err: int, told: int) -> None:
    """In the child: turn into the program, or say why not. Never returns."""
    try:
        os.setsid()
        _prctl(PR_SET_PDEATHSIG, SIGKILL)
        for sig in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGCHLD, _signal.SIGPIPE):
            _signal.signal(sig, _signal.SIG_DFL)
        _signal.set_wakeup_fd(-1)
        _prefer_to_lose_memory()
        null = os.open("/dev/null", os.O_RDONLY)
        for fd, target in ((null, 0), (out, 1), (err, 2)):
            os.dup2(fd, target)
        os.umask(0o022)
        os.chdir(command["cwd"])
        os.execvpe(command["argv"][0], command["argv"], command["env"])
    except OSError as error:
        os.write(told, f"{error.errno or 0} {error.strerror}".encode())
    except Exception as error:  # noqa: BLE001 - the child has no other way to speak
        os.write(told, f"22 {error}".encode())
    os._exit(127)


def _prefer_to_lose_memory() -> None:
    """When memory runs out, a pod goes before the home."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    except OSError:
        pass


def _ooms() -> int:
    """How many processes the kernel has killed for memory since boot."""
    try:
        with open("/proc/vmstat", "rb") as file:
            return int(file.read().partition(b"\noom_kill ")[2].split(b"\n", 1)[0] or 0)
    except OSError:
        return 0


def _prctl(option: int, value: int) -> None:
    if hasattr(_LIBC, "prctl"):  # Linux
        _LIBC.prctl(option, value, 0, 0, 0)


def _stamp() -> bytes:
    seconds, nanos = divmod(time.time_ns(), 10**9)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanos:09d}Z".encode()


def tell(event: dict[str, Any]) -> None:
    """Send one frame to the home. Raises OSError when it is gone."""
    data = marshal.dumps(event)
    data = len(data).to_bytes(4, "big") + data
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
    Supervisor().serve()
