"""What those who ask our own servers say: requests to the blob server, bodies at the gateway."""

from __future__ import annotations

import io
import json

from forebay.engines import fileserver
from forebay.kit.http1.field import FieldFinder, Outcome


def requests(data: bytes) -> None:
    """Requests on one connection, and the range that each asks for of a file of a thousand bytes."""
    stream = io.BytesIO(data)
    for _ in range(4):
        try:
            request = fileserver._read(stream)
        except ValueError:
            return
        if request is None:
            return
        assert len(request.body) <= fileserver._BODY_MAX
        assert sum(len(name) + len(value) for name, value in request.headers.items()) <= fileserver._HEAD_MAX
        status, start, end = fileserver.asked_for(request.headers, '"e"', 1000)
        assert 0 <= start <= end <= 1000 and (status != 206 or start < end)


def fields(data: bytes) -> None:
    """A body in which the gateway looks for its model: the same is found however it arrives."""
    whole, pieces = FieldFinder("model"), FieldFinder("model")
    wanted, told = whole.feed(data), Outcome.MORE
    for at in range(0, len(data), 5):
        told = pieces.feed(data[at : at + 5])
        if told is not Outcome.MORE:
            break
    assert told is wanted or _is_badly_coded(data)
    if told is wanted is Outcome.FOUND:
        assert (whole.value, whole.start, whole.end) == (pieces.value, pieces.start, pieces.end)
        assert json.loads(data[whole.start : whole.end]) == whole.value


def _is_badly_coded(data: bytes) -> bool:
    """Half of a character in the value: refused where all of it comes at once, else taken as JSON's own
    escapes would be."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    return False


def seeds() -> dict[str, list[bytes]]:
    """Where the search begins, by target."""
    get = b"GET /blobs/sha256/0 HTTP/1.1\r\nHost: h\r\n"
    return {
        "requests": [
            get + b"Range: bytes=5-99\r\n\r\n",
            get + b'Range: bytes=-7\r\nIf-Match: "e"\r\n\r\n' + get + b"\r\n",
            get + b"Range: bytes=" + b"9" * 5000 + b"-\r\n\r\n",
            b"POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            b"POST /x HTTP/1.1\r\nContent-Length: -1\r\n\r\nabc",
            b"GET\r\n\r\n",
        ],
        "fields": [
            b'{"model": "m", "x": 1}',
            b'{"x": [{"model": "n"}, "]"], "model": "a\\"b\\u00e9"}',
            b'{"a": "' + b"\\" * 40 + b'", "model": "m"}',
            b'{"x":1,"model":"\xed\xa0\x80"}',
            b'{"model": 7}',
            b'{"model"\x0b:"a"}',
            b"[1]",
        ],
    }
