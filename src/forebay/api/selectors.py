"""Label and field selectors as Kubernetes reads them, with its error sentences.

Two notations of a label selector: the text of a query ("a=b,c in (d,e),!f"), and the LabelSelector object of
a spec. Source: the packages labels and fields of apimachinery.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forebay.errors import Invalid

_OPERATORS = "in, notin, =, ==, !=, gt, lt"
_OBJECT_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
_TOKEN = re.compile(r"\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+|$)")
_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_DNS = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_NAME_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
    "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


@dataclass(frozen=True)
class Requirement:
    """One condition; `operator` is in, notin, =, !=, exists, !, gt or lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` meet it; an absent key meets notin and !=, as in Kubernetes."""
        there = self.key in labels
        match self.operator:
            case "exists":
                return there
            case "!":
                return not there
            case "in" | "=":
                return there and labels[self.key] in self.values
            case "notin" | "!=":
                return not there or labels[self.key] not in self.values
            case _:
                return there and self._compares(labels[self.key])

    def _compares(self, text: str) -> bool:
        try:
            left, right = int(text), int(self.values[0])
        except ValueError:
            return False
        return left > right if self.operator == "gt" else left < right

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
            case "gt" | "lt":
                return f"{self.key}{'>' if self.operator == 'gt' else '<'}{self.values[0]}"
            case _:
                return f"{self.key}{self.operator}{self.values[0]}"


@dataclass(frozen=True)
class Selector:
    """All requirements must hold; none selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` meet every requirement."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(str(r) for r in sorted(self.requirements, key=lambda r: r.key))


@functools.lru_cache(maxsize=512)
def parse(selector: str) -> Selector:
    """A selector from its text. Raises Invalid with Kubernetes' wording."""
    return Selector(tuple(_Parser(selector).requirements()))


def matches(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether `labels` meet the selector's text. Raises Invalid."""
    return parse(selector).matches(labels)


def from_object(selector: Mapping[str, Any]) -> Selector:
    """A LabelSelector object (matchLabels, matchExpressions). Raises Invalid."""
    found = [_checked(key, "=", (str(value),)) for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or []:
        operator = _OBJECT_OPERATORS.get(expression.get("operator", ""))
        if operator is None:
            raise Invalid(f'"{expression.get("operator", "")}" is not a valid label selector operator')
        found.append(_checked(expression.get("key", ""), operator, tuple(expression.get("values") or ())))
    return Selector(tuple(found))


def match_expressions(label_selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether `labels` meet a LabelSelector object: None selects nothing, {} everything. Raises Invalid."""
    return label_selector is not None and from_object(label_selector).matches(labels)


def as_text(label_selector: Mapping[str, Any] | None) -> str:
    """A LabelSelector object in the notation of queries (`status.selector` of a scale). Raises Invalid."""
    return str(from_object(label_selector or {}))


def key_trouble(key: str) -> str:
    """Why `key` is no qualified name (label key), or ""."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        return (f"a qualified name {_NAME_RULE} with an optional DNS subdomain prefix and '/' "
                "(e.g. 'example.com/MyName')")  # fmt: skip
    if slash and not prefix:
        return "prefix part must be non-empty"
    if slash and not _DNS.fullmatch(prefix):
        return (
            "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
            "'-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex "
            "used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        )
    if not name:
        return f"name part must be non-empty; name part {_NAME_RULE}"
    if len(name) > 63:
        return "name part must be no more than 63 bytes"
    return "" if _NAME.fullmatch(name) else f"name part {_NAME_RULE}"


def value_trouble(value: str) -> str:
    """Why `value` is no label value, or ""."""
    if len(value) > 63:
        return "must be no more than 63 bytes"
    return "" if not value or _NAME.fullmatch(value) else _VALUE_RULE


def _checked(key: str, operator: str, values: tuple[str, ...]) -> Requirement:
    if trouble := key_trouble(key):
        raise Invalid(f'key: Invalid value: "{key}": {trouble}')
    if operator in ("in", "notin") and not values:
        raise Invalid("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty")
    if operator in ("gt", "lt") and not re.fullmatch(r"[+-]?[0-9]+", values[0]):
        raise Invalid(
            f'values[0]: Invalid value: "{values[0]}": '
            "for 'Gt', 'Lt' operators, the value must be an integer"
        )
    for at, value in enumerate(values):
        if trouble := value_trouble(value):
            raise Invalid(f'values[{at}][{key}]: Invalid value: "{value}": {trouble}')
    return Requirement(key, operator, values)


class _Parser:
    """The grammar of labels.Parse: requirements separated by commas."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = [t for t in _TOKEN.findall(text) if t] + [""]
        self._at = 0

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        if self._peek() and not (self._identifier(self._peek()) or self._peek() == "!"):
            raise Invalid(f"found '{self._peek()}', expected: !, identifier, or 'end of string'")
        while self._peek():
            try:
                found.append(self._requirement())
            except Invalid as error:
                raise Invalid(f"unable to parse requirement: {error.message}") from error
            token = self._next()
            if token not in ("", ","):
                raise Invalid(f"found '{token}', expected: ',' or 'end of string'")
            if token == "," and not (self._identifier(self._peek()) or self._peek() == "!"):
                raise Invalid(f"found '{self._peek()}', expected: identifier after ','")
        return found

    def _requirement(self) -> Requirement:
        token = self._next()
        absent = token == "!"
        key = self._next() if absent else token
        if not self._identifier(key):
            raise Invalid(f"found '{key}', expected: identifier")
        if absent:
            return _checked(key, "!", ())
        if self._peek() in ("", ","):
            return _checked(key, "exists", ())
        operator = self._next()
        if operator in ("in", "notin"):
            return _checked(key, operator, self._set())
        names = {"=": "=", "==": "=", "!=": "!=", ">": "gt", "<": "lt"}
        if operator not in names:
            raise Invalid(f"found '{operator}', expected: {_OPERATORS}")
        return _checked(key, names[operator], (self._exact(),))

    def _set(self) -> tuple[str, ...]:
        if (token := self._next()) != "(":
            raise Invalid(f"found '{token}' expected: '('")
        values, text = [], ""
        while (token := self._next()) != ")":
            if token == ",":
                values.append(text)
                text = ""
            elif self._identifier(token) and not text:
                text = token
            else:
                raise Invalid(f"found '{token}', expected: ',' or ')'")
        return tuple(dict.fromkeys([*values, text]))  # `in ()` means the empty value, as in Kubernetes

    def _exact(self) -> str:
        if self._peek() in ("", ","):
            return ""
        token = self._next()
        if not self._identifier(token):
            raise Invalid(f"found '{token}', expected: identifier")
        return token

    def _peek(self) -> str:
        return self._tokens[self._at]

    def _next(self) -> str:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    @staticmethod
    def _identifier(token: str) -> bool:
        return bool(token) and token[0] not in "=!(),<>"


@functools.lru_cache(maxsize=512)
def parse_fields(selector: str) -> tuple[Requirement, ...]:
    """A field selector ("metadata.name=x,status.phase!=Running"); operators are = and !=. Raises Invalid."""
    found = []
    for term in re.findall(r"(?:\\.|[^,\\])+", selector):
        parts = re.fullmatch(r"((?:\\.|[^=!\\])*?)(==|!=|=)((?:\\.|[^=\\])*)", term)
        if parts is None:
            raise Invalid(f"invalid selector: '{selector}'; can't understand '{term}'")
        key, operator, value = parts.groups()
        found.append(Requirement(key, "!=" if operator == "!=" else "=", (re.sub(r"\\(.)", r"\1", value),)))
    return tuple(found)


def field_text(key: str, operator: str, value: str) -> str:
    """One term as parse_fields() reads it."""
    return f"{key}{operator}" + re.sub(r"([\\,=])", r"\\\1", value)
