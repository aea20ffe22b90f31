"""One home per data folder, and what others may know of it."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from forebay.errors import Absent, Clash, Denied, Unavailable


class DataFolder:
    """The data folder, held by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    def take(self) -> None:
        """Make the folder and lock it. Raises Denied (cannot be written), Clash (a home runs there) or
        Unavailable (a file system without locks)."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self.path / "nodes").mkdir(exist_ok=True)
            (self.path / "nodes").chmod(0o700)  # logs and models, also where the folder was there before
            self._lock = os.open(self.path / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Denied(
                f"cannot write to the data folder {self.path}: {error.strerror}; "
                "choose another with --data DIR or FOREBAY_DATA"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Clash(
                f"a Forebay already runs on {self.path} (pid {self._pid()}); "
                "use it as it is, stop it with `forebay down`, or choose another folder with --data"
            ) from error
        except OSError as error:
            raise _lockless(self.path, error) from error

    def _pid(self) -> str:
        try:
            return str(read_running(self.path)["pid"])
        except Absent:
            return "unknown"

    def tell(self, **facts: Any) -> None:
        """Write up.json: pid, ports and addresses for `forebay down` and friends."""
        text = json.dumps({"pid": os.getpid(), **facts}, indent=1)
        new = self.path / ".up.json.new"
        new.write_text(text)
        new.replace(self.path / "up.json")

    def leave(self) -> None:
        """Forget up.json and release the lock."""
        (self.path / "up.json").unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def read_running(path: Path) -> dict[str, Any]:
    """What a running home told of itself. Raises Absent when none runs there."""
    try:
        lock = os.open(path / "up.lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise Absent(f"no Forebay has run on {path.absolute()}; start one with `forebay up`") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            return dict(json.loads((path / "up.json").read_text()))
        except (OSError, ValueError) as error:
            raise Absent(f"the Forebay on {path.absolute()} is still starting; try again") from error
    except OSError as error:
        raise _lockless(path, error) from error
    finally:
        os.close(lock)
    raise Absent(f"no Forebay runs on {path.absolute()}; start one with `forebay up`")


def _lockless(path: Path, error: OSError) -> Unavailable:
    """Some network file systems have no locks, and SQLite needs them as much as we do."""
    told = f"cannot lock the data folder {path.absolute()} ({error.strerror or error})"
    return Unavailable(f"{told}: choose a folder on a local disk with --data DIR or FOREBAY_DATA")
