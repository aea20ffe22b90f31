"""Finds one top-level string field of a JSON object while the object is still arriving.

Nothing is decoded but the field itself, so megabytes of images cost a search for quotes. The first occurrence
of the field counts. Validity of the rest is not judged: that is the receiver's business.
"""

from __future__ import annotations

import enum
import json
import re

_NEST = re.compile(rb'["{}\[\]]')
_SCALAR_END = re.compile(rb"[,}\]\s]")
_S = rb"[ \t\r\n]*"  # JSON's; \s has two more
_SPACE = re.compile(_S)
# Nothing in it has to be decoded.
_FAST = re.compile(_S + rb"\{" + _S + rb'"([a-z_]+)"' + _S + rb":" + _S + rb'"([^"\\\x00-\x1f]*)"')


class Outcome(enum.Enum):
    """What is known after the bytes so far."""

    MORE = "cannot say yet"
    FOUND = "value, start and end are set"
    ABSENT = "the object ended without the field"
    WRONG = "not a JSON object, or the field is not a string"


class FieldFinder:
    """Feed pieces until the outcome is not MORE; `body` holds everything fed.

    After FOUND: `value` is the decoded text, and `body[start:end]` its JSON token with the quotes.
    """

    __slots__ = ("_depth", "_key", "_mode", "_name", "_pos", "_seen", "body", "end", "start", "value")

    def __init__(self, name: str) -> None:
        self._name = name
        self._mode = FieldFinder._open  # not bound: that would be a cycle, work for the collector
        self._pos = self._seen = 0
        self._depth = 0
        self._key = ""
        self.body = bytearray()
        self.value = ""
        self.start = self.end = 0

    def feed(self, piece: bytes) -> Outcome:
        """Take the next bytes of the object."""
        first = not self.body
        self.body += piece
        try:
            if first and (hit := _FAST.match(piece)) and hit[1] == self._name.encode():
                self.value = hit[2].decode()
                self.start, self.end = hit.start(2) - 1, hit.end(2) + 1
                return Outcome.FOUND
            while True:
                outcome = self._mode(self)
                if outcome is not None:
                    return outcome
        except ValueError:  # a bad escape or bad UTF-8 in a key or in the value
            return Outcome.WRONG

    def _space(self) -> int:
        """Skips white space; the next byte, or -1 at the end of what has arrived."""
        hit = _SPACE.match(self.body, self._pos)
        self._pos = hit.end() if hit else self._pos
        return self.body[self._pos] if self._pos < len(self.body) else -1

    def _open(self) -> Outcome | None:
        byte = self._space()
        if byte == -1:
            return Outcome.MORE
        if byte != 0x7B:
            return Outcome.WRONG
        self._pos += 1
        self._mode = FieldFinder._member
        return None

    def _member(self) -> Outcome | None:
        """Before a key, a comma, or the end of the object."""
        byte = self._space()
        if byte == -1:
            return Outcome.MORE
        if byte == 0x7D:
            return Outcome.ABSENT
        if byte == 0x2C:
            self._pos += 1
            return None
        if byte != 0x22:
            return Outcome.WRONG
        end = self._string_end(self._pos + 1)
        if end == -1:
            return Outcome.MORE
        self._key = _text(self.body[self._pos : end])
        self._pos = end
        self._mode = FieldFinder._colon
        return None

    def _colon(self) -> Outcome | None:
        byte = self._space()
        if byte == -1:
            return Outcome.MORE
        if byte != 0x3A:
            return Outcome.WRONG
        self._pos += 1
        self._mode = FieldFinder._value
        return None

    def _value(self) -> Outcome | None:
        byte = self._space()
        if byte == -1:
            return Outcome.MORE
        if self._key == self._name:
            if byte != 0x22:
                return Outcome.WRONG
            end = self._string_end(self._pos + 1)
            return Outcome.MORE if end == -1 else self._found(self._pos, end)
        if byte == 0x22:
            self._pos += 1
            self._mode = FieldFinder._string
        else:
            self._mode = FieldFinder._nested if byte in b"{[" else FieldFinder._scalar
        return None

    def _scalar(self) -> Outcome | None:
        hit = _SCALAR_END.search(self.body, self._pos)
        if hit is None:
            self._pos = len(self.body)
            return Outcome.MORE
        self._pos = hit.start()
        if self.body[self._pos] == 0x5D:
            return Outcome.WRONG
        self._mode = FieldFinder._member
        return None

    def _nested(self) -> Outcome | None:
        hit = _NEST.search(self.body, self._pos)
        if hit is None:
            self._pos = len(self.body)
            return Outcome.MORE
        self._pos = hit.end()
        byte = self.body[hit.start()]
        if byte == 0x22:
            self._mode = FieldFinder._string
            return None
        self._depth += 1 if byte in b"{[" else -1
        if self._depth == 0:
            self._mode = FieldFinder._member
        return None

    def _string(self) -> Outcome | None:
        """Inside a string that does not matter."""
        end = self._string_end(self._pos)
        if end == -1:
            return Outcome.MORE
        self._pos = end
        self._mode = FieldFinder._nested if self._depth else FieldFinder._member
        return None

    def _string_end(self, pos: int) -> int:
        """Index after the quote that closes the string whose inside starts at or before `pos`, or -1."""
        body, pos = self.body, max(pos, self._seen)
        while (quote := body.find(b'"', pos)) != -1:
            if body[quote - 1] != 0x5C or (body[quote - 2] == 0x5C and self._backslashes(quote) % 2 == 0):
                return quote + 1
            pos = quote + 1
        self._seen = len(body)  # a sender of single bytes has none of them looked at twice
        return -1

    def _backslashes(self, end: int) -> int:
        """How many of them stand before `end` without a gap; they may be millions."""
        start, step = end, 16
        while not (rest := self.body[max(0, start - step) : start].rstrip(b"\\")):
            start, step = start - step, step * 4
        return end - max(0, start - step) - len(rest)

    def _found(self, start: int, end: int) -> Outcome:
        self.value = _text(self.body[start:end])
        self.start, self.end = start, end
        return Outcome.FOUND


def _text(token: bytes | bytearray) -> str:
    text = json.loads(token)
    if not isinstance(text, str):
        raise ValueError("not a string")
    return text
