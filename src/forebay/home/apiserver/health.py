"""/healthz, /livez and /readyz, as a whole, one check at a time, and told in full with ?verbose; pure.

Source: k8s.io/apiserver, pkg/server/healthz (paths, parameters, wording).
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import QueryParams
from starlette.responses import PlainTextResponse, Response

ROOTS = ("/healthz", "/livez", "/readyz")


def is_health(path: str) -> bool:
    """Whether a path asks for health; such paths are open to everybody."""
    return any(path == root or path.startswith(f"{root}/") for root in ROOTS)


def answer(path: str, query: QueryParams, checks: Mapping[str, bool]) -> Response:
    """200 or 500. `checks` says for each name whether all is well; `shutdown` counts for /readyz alone."""
    root, _, one = path.strip("/").partition("/")
    asked = {name: well for name, well in checks.items() if name != "shutdown" or root == "readyz"}
    if one:
        if one not in asked:
            return PlainTextResponse("404 page not found\n", 404)
        return PlainTextResponse("ok") if asked[one] else PlainTextResponse("internal server error\n", 500)
    left_out = set(query.getlist("exclude"))
    told = [
        f"[+]{name} excluded: ok" if name in left_out
        else f"[+]{name} ok" if well else f"[-]{name} failed: reason withheld"
        for name, well in asked.items()
    ]  # fmt: skip
    unknown = sorted(left_out - set(asked))
    if unknown:
        told.append(f"warn: some health checks cannot be excluded: no matches for {', '.join(unknown)}")
    if not all(well for name, well in asked.items() if name not in left_out):
        return PlainTextResponse("\n".join([*told, f"{root} check failed", ""]), 500)
    if "verbose" in query:
        return PlainTextResponse("\n".join([*told, f"{root} check passed", ""]))
    return PlainTextResponse("ok")
