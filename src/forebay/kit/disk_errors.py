"""Which of our errors an error of the disk is, and what a person can do about it."""

from __future__ import annotations

import errno
import os

from forebay.errors import Denied, Exhausted, ForebayError, Invalid, Unavailable

_OPEN_FILES = "the limit of open files (ulimit -n) has to be higher"
_BROKEN = "the disk or the way to it fails, see the kernel's log (dmesg)"
_LACKS = {
    errno.ENOSPC: "free space, or files where `df -i` shows that none are left",
    errno.EDQUOT: "free some of what the quota counts, or raise the quota",
    errno.EFBIG: "free space, raise the limit of a file's size (ulimit -f) or the quota",
    errno.EMFILE: _OPEN_FILES,
    errno.ENFILE: _OPEN_FILES,
    errno.ENOMEM: "give it more memory",
}
_REFUSES = {
    errno.ENAMETOOLONG: "choose a folder with a shorter name",
    errno.ENOTDIR: "a file stands where a folder has to be: move it away, or choose another folder",
    errno.EISDIR: "a folder stands where a file has to be: move it away, or choose another folder",
    errno.EXDEV: "a folder in it is on another file system: unmount that, or choose another folder",
    errno.ENOTSUP: "this file system (an object store's?) cannot do that: choose a folder on another",
    errno.ENOSYS: "this file system cannot do that: choose a folder on another",
    errno.ELOOP: "links in its path lead in a circle: choose another folder",
}
_GONE = frozenset({errno.ENXIO, errno.ENODEV})
# What file systems and drives say of content that they cannot give back; not every system has all of these.
_LOST = frozenset(
    getattr(errno, name, errno.EIO)
    for name in ("EIO", "EUCLEAN", "EBADMSG", "EILSEQ", "ENODATA", "EREMOTEIO")
)


def disk_error(what: str, error: OSError) -> ForebayError:
    """The error of ours for an error of the disk; `what` was tried ("write x")."""
    number, why = error.errno or 0, said(error, what)
    if number in _LACKS:
        return Exhausted(f"no room to {what} ({why}): {_LACKS[number]}")
    if number == errno.EROFS:
        return Denied(
            f"not allowed to {what} ({why}): check the mount, and see dmesg if it was writable before"
        )
    if number in (errno.EACCES, errno.EPERM):
        return Denied(f"not allowed to {what} ({why}): check the mount and the owner of the folder")
    if number in _REFUSES:
        return Invalid(f"cannot {what} ({why}): {_REFUSES[number]}")
    step = what_else(error)
    return Unavailable(f"cannot {what} ({why}): {step}" if step else f"cannot {what}: {why}")


def said(error: OSError, known: str) -> str:
    """What the system says, and of which file where `known` does not name it."""
    where = error.filename2 or error.filename
    why = error.strerror or str(error)
    return why if where is None or str(where) in known else f"{why}: {where}"


def as_known(what: str, error: BaseException) -> ForebayError | None:
    """An error of ours as it is; of all others those that say what this process lacks, else None."""
    if isinstance(error, ForebayError):
        return error
    if isinstance(error, MemoryError):
        error = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    if isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        return disk_error(what, error)
    return None


def is_full(error: OSError) -> bool:
    """Whether more room, and nothing else, would have helped."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def is_unreadable(error: OSError) -> bool:
    """Whether the disk has lost what was to be read. A process without memory or files to open is no proof of
    that, nor is a permission."""
    return error.errno in _LOST


def what_lacks(error: OSError) -> str:
    """What there has to be more of; "" if the error is of another kind."""
    return _LACKS.get(error.errno or 0, "")


def what_else(error: OSError) -> str:
    """What to do about an error that is neither that nor a right that lacks; "" if nobody knows."""
    if error.errno == errno.EXDEV:
        return _REFUSES[errno.EXDEV]
    return _BROKEN if error.errno in _LOST | _GONE else ""
