"""Archives as KServe takes them: a single tar, as it is or packed, or a single zip is unpacked in place."""

from __future__ import annotations

import errno
import lzma
import os
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tarfile import InvalidHeaderError, ReadError, TruncatedHeaderError  # type: ignore[attr-defined]
from typing import IO, NamedTuple, Self

from forebay.errors import Damaged, ForebayError
from forebay.kit.disk_errors import disk_error
from forebay.sources.links import inside, lay
from forebay.sources.paths import check_together, safe_path

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")
_PIECE = 1 << 20
_ZSTD = b"\x28\xb5\x2f\xfd"  # RFC 8878 section 3.1.1
RATIO_MAX = 100  # model weights hardly compress; a text tokenizer does so by 10
ENTRIES_MAX = 100_000
SLACK = 64 << 20
_BAD_NAMES = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL)


class WholeTar(tarfile.TarInfo):
    """Headers that make no sense are errors: tarfile takes one behind the first file for the archive's end,
    and what follows is silently missing.
    """

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        """The next header. Raises ReadError, and tarfile's own errors at the end."""
        try:
            item = super().fromtarfile(tarfile)
        except (InvalidHeaderError, TruncatedHeaderError) as error:
            raise ReadError(f"a header in it makes no sense ({error})") from error
        if item.size < 0:
            raise ReadError(f"{item.name[:200]!r} is smaller than nothing")
        return item


def is_archive(name: str) -> bool:
    """Whether a file of this name is unpacked."""
    return name.lower().endswith(SUFFIXES)


def unpack(archive: Path, into: Path, *, bytes_max: int | None = None) -> list[str]:
    """Unpack `archive` into the empty folder `into`, durably; returns the relative paths of the files.

    Links become what they lead to in it. Devices are refused, like links that lead elsewhere, absolute names
    and `..`. At most `bytes_max` (default: a hundred times the archive) is written. Raises Damaged, Invalid,
    and the errors of the disk.
    """
    most = bytes_max if bytes_max is not None else archive.stat().st_size * RATIO_MAX + SLACK
    into.mkdir(parents=True, exist_ok=True)
    done: list[str] = []
    links: dict[str, str] = {}
    try:
        for count, (path, size, body, to) in enumerate(_entries(archive), 1):
            check_together([path])
            if count > ENTRIES_MAX or size > most:
                raise Damaged(f"{archive.name} unpacks to far more than its size; it was not unpacked")
            if to is not None:
                links[path] = to
            elif body is None:
                (into / path).mkdir(parents=True, exist_ok=True)
            else:
                done.append(path)
                most -= _write(body, into / path, most)
        done += lay(into, links, entries_max=ENTRIES_MAX - len(done), bytes_max=most)
        check_together(done)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        struct.error,
        ValueError,  # names in no known encoding
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise Damaged(f"{archive.name} cannot be unpacked: {error}") from error
    except OSError as error:
        raise refused(archive.name, error) from error
    return done


def refused(name: str, error: OSError) -> ForebayError:
    """The error while an archive was unpacked: Damaged only where a name or the packing is to blame."""
    if error.errno is None or error.errno in _BAD_NAMES:
        return Damaged(f"{name} cannot be unpacked: {error.strerror or error}")
    return disk_error(f"unpack {name}", error)


def empty_folders(into: Path) -> list[str]:
    """Relative paths of the folders below `into` that hold nothing. They mean something: Triton wants one for
    each version of an ensemble."""
    found = (Path(top) for top, folders, files in os.walk(into) if not folders and not files)
    return sorted(path.relative_to(into).as_posix() for path in found if path != into)


class _Entry(NamedTuple):
    """One of an archive: a file has a body, a link `to` leads to a path in the archive, a folder has
    neither."""

    path: str
    size: int = 0
    body: IO[bytes] | None = None
    to: str | None = None


def _entries(archive: Path) -> Iterator[_Entry]:
    # A tar whose last file is a zip (weights of PyTorch are) ends like one.
    named = archive.name.lower().endswith(".zip")
    if named or (zipfile.is_zipfile(archive) and not tarfile.is_tarfile(archive)):
        yield from _zip(archive)
    else:
        yield from _tar(archive)


@contextmanager
def opened_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """A tar as it is, or compressed with gzip, bzip2, xz or zstd, read from front to back. Raises Damaged and
    what tarfile raises."""
    with ExitStack() as stack:
        body = stack.enter_context(open(path, "rb"))
        if body.read(4) != _ZSTD:
            body.seek(0)
            yield stack.enter_context(
                tarfile.open(fileobj=body, mode="r|*", bufsize=_PIECE, tarinfo=WholeTar)
            )
            return
        body.seek(0)
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        try:
            plain = stack.enter_context(zstd.ZstdFile(body))
            yield stack.enter_context(
                tarfile.open(fileobj=plain, mode="r|", bufsize=_PIECE, tarinfo=WholeTar)
            )
        except zstd.ZstdError as error:
            raise Damaged(f"{path.name} cannot be unpacked: {error}") from error


def _tar(archive: Path) -> Iterator[_Entry]:
    with opened_tar(archive) as tar:
        for item in tar:
            name = item.name.removeprefix("./").rstrip("/")
            if item.isdir():
                if name not in ("", "."):
                    yield _Entry(name)
                continue
            if item.issym() or item.islnk():
                first = item.linkname.removeprefix("./")
                yield _Entry(name, to=safe_path(first) if item.islnk() else inside(name, first))
                continue
            body = tar.extractfile(item) if item.isreg() else None
            if body is None:
                raise Damaged(f"{archive.name} holds {name!r}, which is no plain file; it was not unpacked")
            with body:
                yield _Entry(name, item.size, body)


def _zip(archive: Path) -> Iterator[_Entry]:
    with zipfile.ZipFile(archive) as pack:
        for item in pack.infolist():
            if item.filename.endswith("/"):
                yield _Entry(item.filename.rstrip("/"))
                continue
            kind = stat.S_IFMT(item.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise Damaged(
                    f"{archive.name} holds {item.filename!r}, which is no plain file; it was not unpacked"
                )
            safe_path(item.filename)  # zipfile's own messages stumble over an empty one
            with pack.open(item) as body:
                yield _Entry(item.filename, item.file_size, body)


def _write(body: IO[bytes], target: Path, most: int) -> int:
    """Write one file and sync it; returns its size. Raises Damaged beyond `most` bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    total = 0
    with open(target, "xb") as out:
        while piece := body.read(_PIECE):
            total += len(piece)
            if total > most:
                raise Damaged(
                    f"{target.name} unpacks to far more than the archive's size; it was not unpacked"
                )
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())
    return total
