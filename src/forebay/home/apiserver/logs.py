"""GET pods/NAME/log: which container, and whether it has a log yet.

Source: k8s.io/kubernetes, pkg/registry/core/pod (LogLocation) and pkg/kubelet (validateContainerLogStatus).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from starlette.responses import Response, StreamingResponse

from forebay.api.kinds import Pod
from forebay.api.meta import Json
from forebay.home.apiserver.context import Call, LogQuery
from forebay.home.apiserver.options import Query
from forebay.home.apiserver.status import About, bad_request, invalid
from forebay.kit.clock import parse_rfc3339

_LISTS = ("initContainers", "containers", "ephemeralContainers")
_STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


async def log(call: Call) -> Response:
    """The log of one container as text, streamed. Raises Refusal (400), Absent."""
    pod = await call.api.store.get(Pod, call.key)
    asked = read_query(pod, call.query, call.api.clock.now())
    if not pod.spec.get("nodeName"):
        return Response(b"", media_type="text/plain")
    refuse_unstarted(pod, asked)
    chunks = call.api.logs(pod, asked)
    try:
        first = await anext(chunks)
    except StopAsyncIteration:
        return Response(b"", media_type="text/plain")
    return StreamingResponse(_with(first, chunks), media_type="text/plain")


async def _with(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


def read_query(pod: Pod, query: Query, now: datetime) -> LogQuery:
    """Typed options. Raises Refusal (400) for a container that is not there, or a number that cannot be."""
    tail, limit, since = query.number("tailLines"), query.number("limitBytes"), query.number("sinceSeconds")
    for name, value, least in (("tailLines", tail, 0), ("limitBytes", limit, 1), ("sinceSeconds", since, 1)):
        if value is not None and value < least:
            told = f"Invalid value: {value}: must be greater than or equal to {least}"
            about = About(kind="PodLogOptions", name=pod.name)
            raise invalid(about, ((name, "FieldValueInvalid", told),))
    since_s: float | None = since
    if query.text("sinceTime"):
        try:
            since_s = max(0.0, (now - parse_rfc3339(query.text("sinceTime"))).total_seconds())
        except (ValueError, TypeError) as error:
            raise bad_request(f"sinceTime: Invalid value: {query.text('sinceTime')!r}") from error
    return LogQuery(
        container=choose_container(pod, query.text("container")), previous=query.flag("previous"),
        follow=query.flag("follow"), timestamps=query.flag("timestamps"), tail=tail, since_s=since_s,
        limit_bytes=limit,
    )  # fmt: skip


def choose_container(pod: Pod, asked: str) -> str:
    """The container that is meant. Raises Refusal (400) with the choice there is."""
    names = {part: [c["name"] for c in pod.spec.get(part) or ()] for part in _LISTS}
    if asked:
        if not any(asked in many for many in names.values()):
            raise bad_request(f"container {asked} is not valid for pod {pod.name}")
        return asked
    containers, inits = names["containers"], names["initContainers"]
    if len(containers) == 1:
        return str(containers[0])
    told = f"a container name must be specified for pod {pod.name}, choose one of: [{' '.join(containers)}]"
    raise bad_request(told + (f" or one of the init containers: [{' '.join(inits)}]" if inits else ""))


def refuse_unstarted(pod: Pod, asked: LogQuery) -> None:
    """Say why there is no log yet. Raises Refusal (400)."""
    status = _status(pod, asked.container)
    state, last = status.get("state") or {}, status.get("lastState") or {}
    named = f'container "{asked.container}" in pod "{pod.name}"'
    if asked.previous:
        if "terminated" not in last:
            raise bad_request(f"previous terminated {named} not found")
        return
    waiting = state.get("waiting")
    if "running" in state or "terminated" in state or "terminated" in last:
        return
    reason = (waiting or {}).get("reason") or "ContainerCreating"
    if reason in ("ErrImagePull", "ImagePullBackOff"):
        told = "trying and failing to pull image"
        raise bad_request(f"{named} is waiting to start: {told}")
    raise bad_request(f"{named} is waiting to start: {reason}")


def _status(pod: Pod, container: str) -> Json:
    for part in _STATUSES:
        for status in pod.status.get(part) or ():
            if status.get("name") == container:
                return dict(status)
    return {}
