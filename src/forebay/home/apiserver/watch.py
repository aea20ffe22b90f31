"""Watches: one JSON event a line, for as long as the client listens.

Source: Kubernetes' API concepts, "Efficient detection of changes" and "Streaming lists".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from starlette.responses import Response, StreamingResponse

from forebay.api.meta import Json, Resource
from forebay.errors import Clash
from forebay.home.apiserver import output, selection
from forebay.home.apiserver.context import Call
from forebay.home.apiserver.status import About, body, invalid, refusal_of
from forebay.home.apiserver.verbs import check_revision
from forebay.store.history import bookmark
from forebay.store.protocol import Event, Where

TIMEOUT_S = 1800.0
_INITIAL_END = {"k8s.io/initial-events-end": "true"}


async def watch(call: Call) -> Response:
    """The stream of changes to what the path and the selectors name."""
    kind = call.served.kind
    namespace = call.op.namespace if kind.namespaced else ""
    chosen = selection.where(kind, namespace, call.op.name, dict(call.query.values))
    _check(call)
    seconds = call.query.number("timeoutSeconds")
    lines = _lines(call, chosen, float(seconds) if seconds else TIMEOUT_S)
    response = StreamingResponse(lines, media_type=f"application/json{_parameters(call)}")
    response.headers["Cache-Control"] = "no-cache, private"
    return response


def _parameters(call: Call) -> str:
    if call.accepted.form == "table":
        return f";as=Table;v={call.accepted.version};g=meta.k8s.io;stream=watch"
    return ""


def _check(call: Call) -> None:
    query = call.query
    if query.text("sendInitialEvents"):
        about = About(group="meta.k8s.io", kind="ListOptions")
        if query.text("resourceVersionMatch") != "NotOlderThan":
            told = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            raise invalid(about, (("resourceVersionMatch", "FieldValueForbidden", told),))
    elif query.text("resourceVersionMatch"):
        about = About(group="meta.k8s.io", kind="ListOptions")
        told = "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        raise invalid(about, (("resourceVersionMatch", "FieldValueForbidden", told),))
    if not query.text("resourceVersion").isdecimal():
        check_revision(call)


async def _lines(call: Call, where: Where, timeout_s: float) -> AsyncGenerator[bytes]:
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout_s
    events = _events(call, where)
    stopped = asyncio.ensure_future(call.api.stopping.wait())
    upcoming: asyncio.Future[Json] | None = None
    try:
        while True:
            upcoming = asyncio.ensure_future(anext(events))
            left_s = until - loop.time()
            await asyncio.wait({upcoming, stopped}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if not upcoming.done():
                return  # the time is over, or the server stops: the client resumes from its revision
            yield output.encode(upcoming.result()) + b"\n"
    except Clash as error:
        yield output.encode(_error(error)) + b"\n"
    except StopAsyncIteration:
        return
    finally:  # also when the client went away: nothing may stay behind that waits for events
        stopped.cancel()
        if upcoming is not None and not upcoming.done():
            upcoming.cancel()  # ends the generator at the place where it waits
        else:
            await events.aclose()


def _error(error: Clash) -> Json:
    return {"type": "ERROR", "object": body(refusal_of(error, About()))}


async def _events(call: Call, where: Where) -> AsyncGenerator[Json]:
    since = call.query.text("resourceVersion")
    bookmarks = call.query.flag("allowWatchBookmarks")
    initial = call.query.text("sendInitialEvents")
    if call.query.flag("sendInitialEvents") if initial else since in ("", "0"):
        page = await call.api.store.list(call.served.stored, where)
        for item in page.items:
            yield _event(call, Event("ADDED", item))
        since = page.revision
        if initial and bookmarks:
            mark = bookmark(call.served.kind, int(since))
            mark["metadata"]["annotations"] = _INITIAL_END
            yield {"type": "BOOKMARK", "object": _bookmark(call, mark)}
    elif since in ("", "0"):
        since = call.api.store.revision()
    async for event in call.api.store.watch(call.served.stored, where, since=since):
        if event.type != "BOOKMARK":
            yield _event(call, event)
        elif bookmarks:
            mark = bookmark(call.served.kind, int(event.revision))
            yield {"type": "BOOKMARK", "object": _bookmark(call, mark)}


def _event(call: Call, event: Event[Resource]) -> Json:
    return {"type": event.type, "object": output.one_form(call, event.item.raw)}


def _bookmark(call: Call, mark: Json) -> Json:
    if call.accepted.form == "object":
        return mark
    if call.accepted.form == "partial":
        return output.one_form(call, mark)
    group = f"meta.k8s.io/{call.accepted.version}"
    return {
        "kind": "Table",
        "apiVersion": group,
        "metadata": mark["metadata"],
        "columnDefinitions": [],
        "rows": [],
    }
