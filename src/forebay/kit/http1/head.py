"""Heads of requests and responses: reading what matters, writing them again without what belongs to one
hop.
"""

from __future__ import annotations

from http import HTTPStatus

from forebay.kit.http1.messages import Headers, Reply, Request

HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    b"proxy-authenticate",
})  # fmt: skip
_READ = HOP | {b"host", b"expect", b"x-request-id", b"x-forwarded-for", b"content-length"}  # of a request
_NEVER_NOMINATED = frozenset(
    {b"host", b"authorization", b"content-type", b"content-length", b"close", b"keep-alive"}
)
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def read_request(request: Request) -> tuple[int, str] | None:
    """Fill in what the headers say, and which of them are passed on. Returns (status, message) when the
    request must be refused.

    The parser has refused already: both Content-Length and Transfer-Encoding, repeated or signed lengths,
    folded lines, bare CR or LF, other transfer codings.
    """
    hosts, passed, nominated = 0, request.passed, frozenset[bytes]()
    for header in request.headers:
        lower = header[0].lower()
        if lower not in _READ:  # most of them
            passed.append(header)
            continue
        value = header[1]
        if lower == b"host":
            hosts += 1
            request.host = value.lower()
            passed.append(header)
        elif lower == b"content-length":
            request.content_length = int(value)
        elif lower == b"transfer-encoding":
            if value.lower() != b"chunked":
                return 400, "the only transfer coding is chunked"
            request.chunked = True
        elif lower == b"expect":
            if value.lower() != b"100-continue":
                return 417, "the only expectation that can be met is 100-continue"
            request.expects = True
        elif lower == b"x-request-id":
            request.id = value[:128]
        elif lower == b"x-forwarded-for":
            request.forwarded += value + b", "
        elif lower == b"upgrade":
            request.upgrade = value.lower()
        elif lower == b"connection":
            nominated |= nominated_by(value)
    if nominated:
        request.passed = without(nominated, passed)
    return _read_target(request, hosts)


def _read_target(request: Request, hosts: int) -> tuple[int, str] | None:
    if hosts > 1 or (hosts == 0 and request.minor == 1):
        return 400, "exactly one Host header is needed"
    target = request.target
    if target[:1] == b"/":
        return None
    scheme, mark, rest = target.partition(b"://")
    if mark and scheme.lower() in (b"http", b"https"):  # its authority wins over Host (RFC 9112, 3.2.2)
        authority, slash, path = rest.partition(b"/")
        request.host = authority.lower()
        request.target = slash + path if slash else b"/"
        return None
    return 400, "the request target must be a path"


def nominated_by(connection: bytes) -> frozenset[bytes]:
    """Headers that a Connection header declares to be for this hop only (RFC 9110, 7.6.1)."""
    return frozenset(part.strip().lower() for part in connection.split(b",")) - _NEVER_NOMINATED


def without(names: frozenset[bytes], headers: Headers) -> Headers:
    """The headers but those of these names, which are in lower case."""
    return [header for header in headers if header[0].lower() not in names]


def request_head(request: Request, target: bytes, body_length: int, proto: bytes) -> bytes:
    """The head as the backend gets it; `body_length` counts only when the body is not chunked."""
    lines = [request.method + b" " + target + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in request.passed]
    lines.append(b"X-Request-Id: " + request.id)
    lines.append(b"X-Forwarded-For: " + request.forwarded + request.peer.encode())
    if proto:
        lines.append(b"X-Forwarded-Proto: " + proto)
        lines.append(b"X-Forwarded-Host: " + request.host)
    if request.chunked:
        lines.append(b"Transfer-Encoding: chunked")
    elif request.content_length or request.method in (b"POST", b"PUT", b"PATCH"):
        lines.append(b"Content-Length: %d" % body_length)
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def response_head(status: int, reason: bytes, headers: Headers, extra: bytes) -> bytes:
    """The head as the client gets it; `extra` is whole lines, each with its line end."""
    lines = [b"HTTP/1.1 %d %s" % (status, reason)]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n" + extra + b"\r\n"


def reply_bytes(reply: Reply, *, request_id: bytes, close: bool, bodyless: bool) -> bytes:
    """A whole answer of our own; `bodyless` for HEAD."""
    lines = [b"HTTP/1.1 %d %s" % (reply.status, _REASONS.get(reply.status, b"Unknown"))]
    lines.append(b"Content-Type: " + reply.content_type.encode())
    lines.append(b"Content-Length: %d" % len(reply.body))
    lines += [name + b": " + value for name, value in reply.headers]
    if request_id:
        lines.append(b"X-Request-Id: " + request_id)
    if close:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if bodyless else reply.body)
