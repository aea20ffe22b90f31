"""The API server's application under requests that nobody sane sends: a Status or an object, never 500."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forebay.api import kinds
from forebay.api.admission import Rules
from forebay.api.meta import Resource
from forebay.api.schema.tables import Type, struct, type_name
from forebay.home import tokens
from forebay.home.apiserver.app import Server, create_app
from forebay.home.apiserver.authn import Authenticator
from forebay.home.apiserver.context import Api
from forebay.kit.clock import SystemClock
from forebay.store.sqlite import SqliteStore

KEY = b"k" * 32
TOKEN = tokens.mint(KEY, "admin", (tokens.MASTERS,))
MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Asked:
    """An application in this process, and how to ask it."""

    def __init__(self, folder: Path) -> None:
        self._runner = asyncio.Runner()
        self._store = SqliteStore(folder / "forebay.db", Rules())
        self._runner.run(self._begin())

    async def _begin(self) -> None:
        await self._store.open()
        await self._store.create(kinds.Namespace.new("default"))
        await self._store.create(kinds.ConfigMap.new("fixed", "default", data={"a": "b"}))
        self._app: Server = create_app(Api(self._store, Authenticator(KEY), _no_log, SystemClock()))

    def close(self) -> None:
        self._runner.run(self._store.close())
        self._runner.close()

    def __call__(self, method: str, path: str, query: str = "", body: bytes = b"", **headers: str) -> int:
        """The status code; the answer's body is JSON if it says so."""
        return self._runner.run(self._ask(method, path, query, body, headers))

    async def _ask(self, method: str, path: str, query: str, body: bytes, headers: dict[str, str]) -> int:
        sent: list[dict[str, Any]] = []
        named = {"authorization": f"Bearer {TOKEN}", **headers}
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "http_version": "1.1",
            "query_string": query.encode(), "scheme": "https", "server": ("127.0.0.1", 1), "root_path": "",
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in named.items()],
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self._app(scope, receive, send)  # type: ignore[arg-type]
        said = dict(sent[0]["headers"]).get(b"content-type", b"")
        text = b"".join(one.get("body", b"") for one in sent[1:])
        if said.startswith(b"application/json"):
            found = json.loads(text)
            assert sent[0]["status"] < 400 or found["kind"] == "Status", text
        return int(sent[0]["status"])


async def _no_log(pod: Any, query: Any) -> Any:
    yield b""


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    asked = Asked(tmp_path_factory.mktemp("asked"))
    yield asked
    asked.close()


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.text(max_size=3), below, max_size=2),
    max_leaves=4,
)
WORDS = st.sampled_from(
    ["", "a", "a.b/c", "A_", "5%", "-1", "x" * 300, "\x00", "@hourly", "Always", "1Gi", "é"]
)
NUMBERS = st.sampled_from([0, 1, -1, 80, 65536, 2**31, 2**63, -(2**63) - 1])
PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "s": WORDS, "b": st.booleans(), "i": NUMBERS, "l": NUMBERS, "f": st.floats(), "x": NUMBERS | WORDS,
    "q": NUMBERS | WORDS, "y": WORDS | st.binary(max_size=9).map(lambda b: base64.b64encode(b).decode()),
}  # fmt: skip


@st.composite
def shaped(draw: st.DrawFn, kind: Type, depth: int) -> Any:
    """A value of a type, now and then of another: so it gets past the decoder and on to the rules."""
    if depth > 7 or draw(st.integers(0, 30)) == 0:
        return draw(JUNK)
    if kind.enum and draw(st.booleans()):
        return draw(st.sampled_from(kind.enum))
    if kind.code == "@":
        return draw(fields(kind.struct, depth))
    if kind.code in "[{" and kind.item is not None:
        below = shaped(kind.item, depth + 1)
        return draw(
            st.lists(below, max_size=2) if kind.code == "[" else st.dictionaries(WORDS, below, max_size=2)
        )
    return draw(PLAIN.get(kind.code, JUNK))


@st.composite
def fields(draw: st.DrawFn, name: str, depth: int) -> dict[str, Any]:
    known = struct(name).fields
    wanted = [one for one, field in known.items() if field.required and draw(st.integers(0, 9))]
    if known:
        wanted += draw(st.lists(st.sampled_from(sorted(known)), max_size=4))
    return {one: draw(shaped(known[one].type, depth + 1)) for one in wanted}


@st.composite
def objects(draw: st.DrawFn) -> tuple[type[Resource], dict[str, Any]]:
    kind = draw(st.sampled_from(kinds.CORE))
    raw = draw(fields(type_name(kind), 0))
    raw |= {"apiVersion": kind.api_version, "kind": kind.kind}
    if draw(st.integers(0, 9)):
        meta = raw.get("metadata") if isinstance(raw.get("metadata"), dict) else {}
        raw["metadata"] = {**meta, "name": "x", "namespace": "default"} if kind.namespaced else {"name": "x"}
        raw["metadata"].pop("resourceVersion", None)
    return kind, raw


def place(kind: type[Resource]) -> str:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    return f"{root}/namespaces/default/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"


TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@MANY
@given(objects(), objects(), st.sampled_from(["", "fieldValidation=Strict", "fieldValidation=Ignore"]))
def test_no_object_of_a_kinds_own_shape_breaks_it(ask: Asked, one: Any, other: Any, query: str) -> None:
    kind, raw = one
    assert ask("POST", place(kind), query, json.dumps(raw).encode()) < 500
    changed = {**raw, **{k: v for k, v in other[1].items() if k in ("spec", "status", "data")}}
    for path in (f"{place(kind)}/x", f"{place(kind)}/x/status", f"{place(kind)}/x/scale"):
        for media in ("merge-patch", "strategic-merge-patch"):
            body = json.dumps(changed).encode()
            assert ask("PATCH", path, query, body, content_type=f"application/{media}+json") < 500
        assert ask("PUT", path, query, json.dumps(changed).encode()) < 500
    for accept in (TABLE, "application/json", "application/yaml"):
        assert ask("GET", place(kind), "", accept=accept) < 500
    ask("DELETE", f"{place(kind)}/x", "gracePeriodSeconds=0&propagationPolicy=Orphan")
    merge = {"content_type": "application/merge-patch+json"}
    ask("PATCH", f"{place(kind)}/x", "", b'{"metadata":{"finalizers":null}}', **merge)


@pytest.mark.parametrize("odd", ["[{}]", '[["a"]]', '"abc"', '{"a": 1}', "7"])
@pytest.mark.parametrize(
    "where", ['"spec": {"finalizers": %s}', '"metadata": {"name": "odd", "finalizers": %s}']
)
def test_finalizers_that_are_no_names_are_refused(ask: Asked, where: str, odd: str) -> None:
    body = '{"metadata": {"name": "odd"}, ' + where % odd + "}"
    assert ask("POST", "/api/v1/namespaces", "", body.encode()) in (400, 422)


def test_a_spec_that_is_none_is_refused(ask: Asked) -> None:
    body = b'{"metadata": {"name": "odd"}, "spec": "x"}'
    assert ask("POST", "/api/v1/namespaces", "", body) in (400, 422)


METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "nonsense"])
NAMES = st.sampled_from([
    "api", "apis", "v1", "apps", "namespaces", "default", "configmaps", "fixed", "status", "scale",
    "pods", "log", "openapi", "v3", "v2", "livez", "version", "x", "%2e", "%ff", "autoscaling",
    "binding", "eviction", "finalize", "token", "serviceaccounts", "proxy",
])  # fmt: skip
OPTIONS = st.sampled_from([
    "limit=1", "limit=-1", "continue=x", "continue=WyIxIl0=", "resourceVersion=0", "pretty=1",
    "resourceVersion=-5", "dryRun=All", "labelSelector=a+in+(b", "fieldSelector=a=b", "dryRun=",
    "includeObject=Object", "includeObject=x", "timeoutSeconds=0", "gracePeriodSeconds=-9",
    "propagationPolicy=x", "tailLines=x", "sinceTime=x", "verbose", "exclude=x", "%ff=%ff",
    "resourceVersionMatch=Exact", "sendInitialEvents=x",
])  # fmt: skip
ODD = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/?#%"), max_size=4)
PARTS = st.lists(NAMES | ODD, max_size=8)
QUERIES = st.lists(OPTIONS, max_size=4).map("&".join)
ACCEPTS = st.sampled_from(
    [
        *("", "*/*", "application/json", TABLE, f"{TABLE},application/json", "application/yaml", "text/html"),
        *(";;;,,q=x", "application/vnd.kubernetes.protobuf"),
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    ]
)
MEDIA = st.sampled_from([
    "application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "text/plain", "",
    "application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml",
    "application/strategic-merge-patch+json",
])  # fmt: skip
BODIES = (
    st.binary(max_size=40)
    | st.binary(max_size=40).map(lambda tail: b"k8s\x00" + tail)
    | JUNK.map(lambda found: json.dumps(found).encode())
)


@MANY
@given(METHODS, PARTS, QUERIES, ACCEPTS, MEDIA, BODIES)
def test_no_request_breaks_it(
    ask: Asked, method: str, parts: list[str], query: str, accept: str, media: str, body: bytes
) -> None:
    code = ask(method, "/" + "/".join(parts), query, body, accept=accept, content_type=media)
    assert code in (501, 504) or code < 500  # what is not offered; a revision of the future
