"""Which of our errors an error of the disk is: no room, not allowed, or anything else."""

from __future__ import annotations

import errno

from forebay.errors import Denied, Exhausted, ForebayError, Unavailable


def disk_error(what: str, error: OSError) -> ForebayError:
    """The error of ours for an error of the disk; `what` was tried ("write x")."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Exhausted(f"no room to {what} ({error.strerror}): free space or raise the quota")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return Denied(
            f"not allowed to {what} ({error.strerror}): check the mount and the owner of the folder"
        )
    return Unavailable(f"cannot {what}: {error.strerror or error}")
