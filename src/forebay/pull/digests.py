"""The hashes of one file: sha256 always, and whatever else was promised where no sha256 was."""

from __future__ import annotations

import hashlib
import zlib
from typing import Protocol

from forebay.sources.types import RemoteFile


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


class _Crc32:
    """The standard library's, which is fast."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: memoryview, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def _crc(name: str) -> _Hash:
    if name == "crc32":
        return _Crc32()
    from forebay.kit import crc  # numpy is loaded by those who need it

    return crc.Crc64Nvme() if name == "crc64nvme" else crc.Crc32c()


class Digests:
    """Fed in order; tells at the end what differs from the promise."""

    def __init__(self, file: RemoteFile, size: int | None) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._other: tuple[str, str, _Hash] | None = None
        self.md5_void = False  # an S3 ETag that turned out to be no MD5 (encrypted objects)
        if file.sha256:
            return
        if file.git_sha1 and size is not None:
            # git's blob hash covers a header with the size (git-scm.com, Git Internals, Git Objects).
            git = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
            self._other = ("git sha1", file.git_sha1, git)
        elif file.md5:
            self._other = ("md5", file.md5, hashlib.md5(usedforsecurity=False))
        elif file.crc:
            name, _, value = file.crc.partition(":")
            self._other = (name, value, _crc(name))

    @property
    def promised(self) -> bool:
        """Whether the end is checked against something."""
        return bool(self._file.sha256) or (self._other is not None and not self.md5_void)

    def update(self, view: memoryview) -> None:
        """The next bytes; releases the interpreter for large views."""
        self._sha256.update(view)
        if self._other is not None:
            self._other[2].update(view)

    @property
    def sha256(self) -> str:
        """Hex digest of what has been fed so far."""
        return self._sha256.hexdigest()

    def difference(self) -> str:
        """ "" if all that was promised holds; else a sentence with the first promise that does not."""
        if self._file.sha256:
            return (
                ""
                if self.sha256 == self._file.sha256
                else f"sha256 is {self.sha256}, promised {self._file.sha256}"
            )
        if self._other is None:
            return ""
        name, promised, hasher = self._other
        if (name == "md5" and self.md5_void) or hasher.hexdigest() == promised:
            return ""
        return f"{name} is {hasher.hexdigest()}, promised {promised}"
