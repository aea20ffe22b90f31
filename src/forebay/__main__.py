"""The commands' first module. It imports next to nothing, so that Ctrl-C while the others load ends the
command as it ends any program, and not with a trace.
"""

import importlib
import signal


def _start(name: str) -> None:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background job ignores it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    getattr(importlib.import_module("forebay.main"), name)()


def main() -> None:
    """`forebay`."""
    _start("main")


def llama() -> None:
    """`forebay-llama`."""
    _start("llama")


def storage_initializer() -> None:
    """`storage-initializer`, as KServe's image calls it."""
    _start("storage_initializer")


if __name__ == "__main__":
    main()
