"""Paths below a mount become real folders: what a process without a mount namespace is given instead.

Pure. An occurrence counts where a path may begin (at the start, or after `=`, `:`, a space, a quote ...) and
where the mount path ends as a path component, so `/mnt/models` is found in `--dir=/mnt/models/a` and
`file:///mnt/models`, but not in `/mnt/models2`, `http://host/mnt/models` or `x/mnt/models`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from forebay.api.meta import Json

_BEFORE = r"(?:(?<![\w./\-~%+})])|(?<=file://)|(?<=^-\w))"
_AFTER = r"(?=/|$|[^\w.\-~%+])"


@dataclass(frozen=True)
class Mounted:
    """One volume mount of one container: the path it asked for, and the folder or file it is."""

    path: str
    real: str
    read_only: bool = False


class Translation:
    """Replaces mount paths in texts; of two mounts the longer path wins."""

    def __init__(self, mounts: Iterable[Mounted]) -> None:
        self._real = {m.path.rstrip("/"): m.real for m in mounts if m.path.rstrip("/")}
        longest_first = sorted(self._real, key=len, reverse=True)
        names = "|".join(re.escape(path) for path in longest_first)
        self._pattern = re.compile(f"{_BEFORE}(?:{names}){_AFTER}") if names else None

    def text(self, text: str) -> str:
        """`text` with every mount path in it replaced."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda found: self._real[found[0]], text)

    def texts(self, texts: Iterable[str]) -> list[str]:
        """Each of `texts`."""
        return [self.text(text) for text in texts]

    def values(self, env: Mapping[str, str]) -> dict[str, str]:
        """The values of an environment."""
        return {name: self.text(value) for name, value in env.items()}

    def probe(self, handler: Json) -> Json:
        """A probe or hook with its command translated (an HTTP path is no file)."""
        if not (handler.get("exec") or {}).get("command"):
            return handler
        command: Any = self.texts(handler["exec"]["command"])
        return handler | {"exec": {"command": command}}
