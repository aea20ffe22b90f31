"""Errors -> Kubernetes `Status` objects, in Kubernetes' own wording; pure.

Source: k8s.io/apimachinery, api/errors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from forebay.api.meta import Json, Resource
from forebay.errors import Absent, Clash, Denied, Exhausted, ForebayError, Invalid, Unavailable

_CODES = {
    "BadRequest": 400, "Unauthorized": 401, "Forbidden": 403, "NotFound": 404, "MethodNotAllowed": 405,
    "NotAcceptable": 406, "AlreadyExists": 409, "Conflict": 409, "Gone": 410, "Expired": 410,
    "RequestEntityTooLarge": 413, "UnsupportedMediaType": 415, "Invalid": 422, "TooManyRequests": 429,
    "InternalError": 500, "NotImplemented": 501, "ServiceUnavailable": 503, "Timeout": 504,
    "InsufficientStorage": 507,
}  # fmt: skip
_BARE = {"BadRequest", "Unauthorized", "UnsupportedMediaType"}  # Kubernetes tells no details of these


@dataclass(frozen=True)
class About:
    """What an error is about: `plural` and `kind` of the resource ("" if unknown) and the object's name."""

    group: str = ""
    plural: str = ""
    kind: str = ""
    name: str = ""

    @classmethod
    def of(cls, kind: type[Resource], name: str = "") -> About:
        return cls(kind.group, kind.plural, kind.kind, name)


class Refusal(Exception):
    """An answer that is no success, ready to be sent: raised by the API server's own code only."""

    def __init__(self, reason: str, message: str, *, about: About | None = None,
                 causes: tuple[tuple[str, str, str], ...] = (), retry_after_s: int = 0) -> None:  # fmt: skip
        super().__init__(message)
        self.reason, self.message, self.about = reason, message, about or About()
        self.causes, self.retry_after_s = causes, retry_after_s

    @property
    def code(self) -> int:
        return _CODES.get(self.reason, 500)


def bad_request(message: str) -> Refusal:
    """400: the request cannot be understood."""
    return Refusal("BadRequest", message)


def not_found(about: About) -> Refusal:
    """404 with the name of what was looked for."""
    where = f"{about.plural}.{about.group}" if about.group else about.plural
    return Refusal("NotFound", f'{where} "{about.name}" not found', about=about)


def no_such_resource() -> Refusal:
    """404 for a path that nobody serves."""
    return Refusal("NotFound", "the server could not find the requested resource")


def no_such_method() -> Refusal:
    """405."""
    return Refusal("MethodNotAllowed", "the server does not allow this method on the requested resource")


def invalid(about: About, causes: tuple[tuple[str, str, str], ...]) -> Refusal:
    """422 that lists its causes: (field, reason, message)."""
    told = [f"{field}: {message}" if field else message for field, _, message in causes]
    listed = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    kind = f"{about.kind}.{about.group}" if about.group else about.kind
    return Refusal("Invalid", f'{kind} "{about.name}" is invalid: {listed}', about=about, causes=causes)


def body(refusal: Refusal) -> Json:
    """The `Status` object of a refusal."""
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": refusal.message,
        "reason": refusal.reason, **_details(refusal), "code": refusal.code,
    }  # fmt: skip


def _details(refusal: Refusal) -> Json:
    about = refusal.about
    details: Json = {}
    if about.name:
        details["name"] = about.name
    if about.group:
        details["group"] = about.group
    # Kubernetes puts the kind there for Invalid and the resource for all others.
    kind = about.kind if refusal.reason == "Invalid" else about.plural
    if kind:
        details["kind"] = kind
    if refusal.causes:
        details["causes"] = [
            {"reason": reason, "message": message, **({"field": field} if field else {})}
            for field, reason, message in refusal.causes
        ]
    if refusal.retry_after_s:
        details["retryAfterSeconds"] = refusal.retry_after_s
    return {"details": details} if details or refusal.reason not in _BARE else {}


def success(*, kind: type[Resource], name: str, uid: str) -> Json:
    """What a delete answers once the object is gone."""
    details = {"name": name, "group": kind.group, "kind": kind.plural, "uid": uid}
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {k: v for k, v in details.items() if v},
    }  # fmt: skip


def done(code: int = 201) -> Json:
    """A plain success, as binding and eviction answer."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}


def refusal_of(error: ForebayError, about: About) -> Refusal:
    """The answer to an error of the store or of the rules, told about the object that was asked for."""
    if not about.name and about.plural:  # a create: the path does not tell the name, the sentence does
        quoted = re.search(r'"([^"]+)"', error.message)
        about = replace(about, name=quoted[1] if quoted else "")
    reason, seconds = _reason(error), 0
    message = error.message
    if reason == "ServiceUnavailable":
        seconds = int(error.retry_after_s or 1)
    if reason == "Invalid" and error.causes and " is invalid: " not in message:
        return invalid(about, error.causes)
    if reason == "InternalError":
        message = f"Internal error occurred: {message}"
    if reason in ("InternalError", "BadRequest"):
        about = About()
    return Refusal(reason, message, about=about, causes=error.causes, retry_after_s=seconds)


def _reason(error: ForebayError) -> str:
    if error.reason in _CODES:
        return error.reason
    match error:
        case Invalid():
            return "Invalid" if error.causes else "BadRequest"
        case Clash():
            return "Conflict"
        case Absent():
            return "NotFound"
        case Denied():
            return "Forbidden"
        case Exhausted():  # no Retry-After: clients would wait for room in silence
            return "InsufficientStorage"
        case Unavailable():
            return "ServiceUnavailable"
        case _:
            return "InternalError"
