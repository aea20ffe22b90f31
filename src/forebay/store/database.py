"""The SQLite file: one writer thread, immediate transactions, write-ahead log with full synchronisation.

A confirmed write survives a power cut: without that, promise S1 (revisions only grow) would not hold.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from forebay.errors import Damaged, Exhausted, ForebayError, Invalid, Unavailable

KEEP_LOG_ROWS = 2000
KEEP_LOG_BYTES = 64 << 20  # of the objects before and after; large ones are forgotten sooner
ROOM_LEAST = 1 << 20  # bytes; with less than that a failed write means a full disk
_WHY = {
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; look at its permissions and those of its folder",
    sqlite3.SQLITE_READONLY: "it cannot be written; look at its permissions, its owner and how it is mounted",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write it; look at the system's log",
    sqlite3.SQLITE_BUSY: "another program holds it open; close that",
}


@dataclass(frozen=True)
class Change:
    """One row of the log. `body` and `previous` are JSON texts; `previous` is "" for a new object."""

    revision: int
    group: str
    plural: str
    namespace: str
    name: str
    verb: str  # ADDED, MODIFIED, DELETED
    body: str
    previous: str

    @property
    def weight(self) -> int:
        """About its bytes."""
        return len(self.body) + len(self.previous)


class Database:
    """Owner of the file. All methods run in its one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")
        self._db: sqlite3.Connection | None = None

    def open(self) -> tuple[list[tuple[str, str, str, str, str]], list[Change], int]:
        """Open or make the file. Returns current objects, the log's tail, and the newest revision.

        Raises Damaged (no database, or not of ours), Invalid (of a newer Forebay), Exhausted, Unavailable.
        """
        try:
            with suppress(OSError):  # it holds Secrets: for its owner only; SQLite's own files do as it does
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                self.path.chmod(0o600)
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self._migrate(self._db)  # first: a file that is not ours stays as it is
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            current = self._db.execute("SELECT grp, plural, namespace, name, body FROM current").fetchall()
            tail = self._db.execute("SELECT * FROM log ORDER BY revision").fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self.close()
            raise self._trouble(error) from error
        log = [Change(*row) for row in tail]
        return current, log, log[-1].revision if log else 0

    def _trouble(self, error: Exception) -> ForebayError:
        """What an error of SQLite means to a person; its own text may hold what is stored."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and self._is_full()):
            return Exhausted(f"no room to write {self.path}: free disk space, then try again")
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
            told = f"the database {self.path} is damaged or not one of Forebay's"
            return Damaged(
                f"{told}: put a backup in its place, or move {self.path.name}* away to start afresh"
            )
        why = getattr(error, "sqlite_errorname", "SQLITE_ERROR").removeprefix("SQLITE_").lower()
        return Unavailable(f"cannot use the database {self.path}: {_WHY.get(code, why)}")

    def _is_full(self) -> bool:
        """A file that SQLite maps into memory and cannot grow is an input or output error to it."""
        try:
            return shutil.disk_usage(self.path.parent).free < ROOM_LEAST
        except OSError:
            return False

    def _migrate(self, db: sqlite3.Connection) -> None:
        done = db.execute("PRAGMA user_version").fetchone()[0]
        folder = resources.files("forebay.store") / "migrations"
        files = sorted((e for e in folder.iterdir() if e.name.endswith(".sql")), key=lambda e: e.name)
        newest = int(files[-1].name.removesuffix(".sql"))
        if done > newest:
            told = f"a newer Forebay wrote the database {self.path} (form {done}, this one knows {newest})"
            raise Invalid(f"{told}: start that one, or choose another folder with --data")
        for entry in files:
            number = int(entry.name.removesuffix(".sql"))
            if number > done:
                db.executescript(
                    f"BEGIN IMMEDIATE; {entry.read_text()} PRAGMA user_version={number}; COMMIT;"
                )

    def write(self, changes: Sequence[Change], forgotten: int = 0) -> None:
        """Append to the log and bring `current` along, in one transaction; rows up to the revision
        `forgotten` may go. Raises Exhausted, Unavailable.
        """
        assert self._db is not None
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for c in changes:
                self._apply(self._db, c)
            oldest = max(changes[-1].revision - KEEP_LOG_ROWS, forgotten)
            self._db.execute("DELETE FROM log WHERE revision <= ?", (oldest,))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            raise self._trouble(error) from error

    @staticmethod
    def _apply(db: sqlite3.Connection, c: Change) -> None:
        row = (c.revision, c.group, c.plural, c.namespace, c.name, c.verb, c.body, c.previous)
        db.execute("INSERT INTO log VALUES (?,?,?,?,?,?,?,?)", row)
        if c.verb == "DELETED":
            where = "grp=? AND plural=? AND namespace=? AND name=?"
            db.execute(f"DELETE FROM current WHERE {where}", (c.group, c.plural, c.namespace, c.name))
        else:
            row5 = (c.group, c.plural, c.namespace, c.name, c.body)
            db.execute("INSERT OR REPLACE INTO current VALUES (?,?,?,?,?)", row5)

    def close(self) -> None:
        """Close the file; further calls fail."""
        if self._db is not None:
            self._db.close()
            self._db = None
