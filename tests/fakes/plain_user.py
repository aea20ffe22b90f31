"""Programs of ours as somebody who may not write everywhere, also where the tests run as root."""

from __future__ import annotations

import ctypes
import os

_BOUNDING_SET_DROP, _DAC_OVERRIDE, _DAC_READ_SEARCH = 24, 1, 2  # prctl(2), capabilities(7)


def plain_user() -> None:
    """The `preexec_fn` of a subprocess that permission bits are to hold for.

    Another user's number would not do: the interpreter and the test's folder may lie where only root gets.
    Root without these two capabilities owns its files and is bound by their bits, as anyone is.
    """
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (_DAC_OVERRIDE, _DAC_READ_SEARCH):
            if libc.prctl(_BOUNDING_SET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "root here may not become less")
