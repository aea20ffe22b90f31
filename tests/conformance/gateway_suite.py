"""What every gateway must do, whatever it is made of. Each case is a coroutine over a `World` (tests/fakes).

The model servers behind it are real processes; the clients write raw bytes, so that framing is tested too.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from forebay.api.kinds import InferenceService
from forebay.api.meta import Key
from tests.fakes.gateway_world import World
from tests.fakes.model_server import stream_events

Case = Callable[[World], Awaitable[None]]
CASES: list[Case] = []


def case(function: Case) -> Case:
    CASES.append(function)
    return function


def chat(model: str, **more: object) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": "hi"}], "model": model, **more}).encode()


# where requests go


@case
async def the_prefix_of_one_service_is_cut_off_and_the_rest_passes_untouched(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    client = await world.client()
    answer = await client.post("/serving/ns/m/v1/x%2Fy?q=1&r=%20", b"anything", X_Own="kept")
    assert answer.json()["path"] == "/v1/x%2Fy?q=1&r=%20" and answer.json()["headers"]["x-own"] == "kept"
    assert (await client.get("/serving/ns/m")).json()["path"] == "/"
    assert (await client.get("/serving/ns/other/x")).status == 404


@case
async def the_model_in_the_body_decides_under_both_openai_prefixes(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    await world.serve("n", await world.backend("b"))
    client = await world.client()
    for path in ("/v1/chat/completions", "/openai/v1/completions"):
        for model, server in (("m", "a"), ("n", "b")):
            answer = (await client.post(path, chat(model))).json()
            assert (answer["server"], answer["path"], answer["model"]) == (server, path, model)


@case
async def a_qualified_name_reaches_the_engine_under_the_name_that_it_knows(world: World) -> None:
    await world.serve("m", await world.backend("a"), predictor={"model": {"args": ["--model_name=alpha"]}})
    client = await world.client()
    for model in ("ns/m", "m", "alpha"):
        body = chat(model, stream=False, note="ns/m")
        answer = (await client.post("/v1/chat/completions", body)).json()
        assert answer["model"] == "alpha" and answer["bytes"] == len(body) + len("alpha") - len(model)
    answer = await client.post("/v1/echo", chat("ns/m", note="é"))
    assert answer.json() == json.loads(chat("alpha", note="é"))


@case
async def v1_and_v2_paths_name_the_model(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    client = await world.client()
    for path in ("/v1/models/m:predict", "/v2/models/m/infer", "/v2/models/m/ready", "/v2/models/m"):
        assert (await client.post(path, b'{"instances": []}')).json()["path"] == path
    assert (await client.post("/v2/models/ns%2Fm/infer", b"{}")).json()["path"] == "/v2/models/m/infer"


@case
async def host_names_decide_before_paths(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    client = await world.client()
    for host in ("m.ns.example.com", "M-ns.example.com:8080"):
        assert (await client.get("/v1/models", host)).json()["path"] == "/v1/models"
    assert (await client.get("/v1/models", "x.ns.example.com")).json()["object"] == "list"


@case
async def the_list_of_models_shows_every_service_once(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    await world.serve("m", namespace="two")
    await world.serve("n")
    client = await world.client()
    listed = (await client.get("/v1/models")).json()["data"]
    assert [(item["id"], item["ready"]) for item in listed] == [
        ("n", False),
        ("ns/m", True),
        ("two/m", False),
    ]
    assert (await client.get("/openai/v1/models/ns%2Fm")).json()["id"] == "ns/m"


@case
async def what_the_list_names_can_be_asked_and_so_can_the_service(world: World) -> None:
    """KServe's users write --model_name as `model`, ours also the service's name: the engine gets its own."""

    def named(name: str) -> dict[str, object]:
        return {"model": {"modelFormat": {"name": "gguf"}, "args": [f"--model_name={name}"]}}

    await world.serve("one", await world.backend("a"), predictor=named("llama"))
    await world.serve("two", await world.backend("b"), predictor=named("shared"))
    await world.serve("three", await world.backend("c"), predictor=named("shared"))
    await world.serve("shared", await world.backend("d"), predictor=named("two"))
    client = await world.client()
    listed = [item["id"] for item in (await client.get("/v1/models")).json()["data"]]
    assert listed == ["llama", "ns/shared", "three", "two"] or listed == ["llama", "shared", "three", "two"]
    for name in [*listed, "one", "ns/one"]:
        assert (await client.post("/v1/chat/completions", chat(name))).status == 200, name
    for name in ("one", "llama", "ns/one"):
        told = (await client.post("/openai/v1/completions", chat(name))).json()
        assert (told["server"], told["model"]) == ("a", "llama")


@case
async def what_only_tells_is_not_changed(world: World) -> None:
    """`client.models.delete()` was answered 200, with the model that stays."""
    await world.serve("m", await world.backend("a"))
    client = await world.client()
    for path in ("/v1/models", "/openai/v1/models/m", "/v1/models/m", "/v2/models", "/v2"):
        for method in ("DELETE", "PUT"):
            refused = await client.get(path, method=method)
            assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD"), path
    assert (await client.get("/v2/models")).json() == {"models": ["m"]}


@case
async def errors_speak_the_dialect_of_the_path(world: World) -> None:
    await world.serve("m", namespace="a", annotations={"forebay.dev/wait-seconds": "0"})
    await world.serve("m", namespace="b", annotations={"forebay.dev/wait-seconds": "0"})
    for path, body, status, param, code in (
        ("/v1/chat/completions", chat("nobody"), 404, "model", "model_not_found"),
        ("/v1/chat/completions", chat("m"), 400, "model", None),
        ("/v1/chat/completions", b'{"messages": []}', 400, "model", None),
        ("/v1/chat/completions", b"[1", 400, "model", None), ("/v1/chat/completions", b"", 400, None, None),
        ("/v1/chat/completions", chat("a/m"), 503, None, "model_not_ready"),
        ("/serving/a/n/v1/chat/completions", chat("n"), 404, "model", "model_not_found"),
        ("/nothing/here", b"{}", 404, None, None),
    ):  # fmt: skip
        answer = await (await world.client()).post(path, body)
        error = answer.json()["error"]
        assert answer.status == status and set(error) == {"message", "type", "param", "code"}, answer
        assert (error["param"], error["code"]) == (param, code), answer
    wrong = await (await world.client()).get("/openai/v1/chat/completions")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert wrong.json()["error"]["code"] == "method_not_supported"
    for path, status in (
        ("/v1/models/x:predict", 404), ("/v2/models/x/infer", 404), ("/serving/a/m/v2/models/m/infer", 503),
        ("/serving/a/m/v1/models/m:predict", 503),
    ):  # fmt: skip
        answer = await (await world.client()).post(path, b"{}")
        assert answer.status == status and isinstance(answer.json()["error"], str), answer


# bodies


@case
async def a_stream_arrives_byte_for_byte_and_event_by_event(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    client = await world.client()
    await client.send(b"POST /v1/x HTTP/1.1\r\nHost: g\r\nContent-Length: ")
    body = chat("m", stream=True, events=30, gap_s=0.01)
    await client.send(b"%d\r\n\r\n" % len(body) + body)
    answer = await client.answer()
    assert answer.body == b"".join(stream_events("a", 30)) + b"data: [DONE]\n\n"
    assert len(answer.chunks) > 20, "the events were gathered before they were passed on"
    assert answer.headers["content-type"] == "text/event-stream"


@case
async def bodies_of_any_size_pass_whole_in_both_directions(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    client = await world.client()
    for size in (0, 1, 1000, 70_000, 3_000_000):
        body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        assert (await client.post("/serving/ns/m/echo", body)).body == body


@case
async def a_large_json_body_needs_only_its_model_to_be_routed(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    client = await world.client()
    picture = "A" * 3_000_000
    for body in (
        json.dumps({"model": "ns/m", "messages": picture}),
        json.dumps({"messages": picture, "model": "ns/m"}),
    ):  # fmt: skip
        answer = await client.post("/v1/echo", body.encode())
        assert answer.json() == json.loads(body) | {"model": "m"}


@case
async def chunked_requests_pass_and_chunked_rubbish_does_not(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    client = await world.client()
    head = b"POST %b HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"
    for path in (b"/serving/ns/m/echo", b"/v1/echo"):
        await client.send(head % path + b'd;ext=1\r\n{"model": "m"\r\n')
        await asyncio.sleep(0)
        await client.send(b"1\r\n}\r\n0\r\nTrailer: x\r\n\r\n")
        assert (await client.answer()).body == b'{"model": "m"}'
    await client.send(head % b"/serving/ns/m/echo" + b"zz\r\n")
    assert await client.closed() or True  # answered with 400 or cut; what matters is the next assertion
    assert (await (await world.client()).get("/serving/ns/m/x")).status == 200


@case
async def a_client_that_expects_100_continue_gets_it_once_its_request_is_wanted(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    client = await world.client()
    head = "POST {} HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n"
    for path in ("/v1/echo", "/serving/ns/m/echo"):
        await client.send(head.format(path, len(chat("m"))).encode())
        assert (await client.answer()).status == 100
        await client.send(chat("m"))
        assert (await client.answer()).body == chat("m")
    await client.send(head.format("/serving/ns/none/echo", 5).encode())
    assert (await client.answer()).status == 404
    client = await world.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: g\r\nExpect: magic\r\nContent-Length: 5\r\n\r\n")
    assert (await client.answer()).status == 417


@case
async def a_body_whose_model_is_out_of_reach_is_413(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    client = await world.client()
    size = world.gateway.proxy.limits.body_held_max + 100_000
    await client.send(b"POST /v1/x HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n" % (size + 100))
    await client.send(b'{"messages": "' + b"A" * size)
    answer = await client.answer()
    assert answer.status == 413 and answer.json()["error"]["code"] == "request_too_large"


# HTTP/1.1


@case
async def connections_are_kept_and_pipelined_requests_answered_in_order(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    client = await world.client()
    paths = [f"/serving/ns/m/{n}" for n in range(40)]
    paths[3], paths[7] = "/healthz", "/serving/ns/m/slow=0.1"
    await client.send("".join(f"GET {path} HTTP/1.1\r\nHost: g\r\n\r\n" for path in paths).encode())
    for path in paths:
        answer = await client.answer()
        wanted = path.removeprefix("/serving/ns/m")
        assert answer.body == b"ok\n" if path == "/healthz" else answer.json()["path"] == wanted


@case
async def what_could_be_read_in_two_ways_is_refused(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    post = b"POST /serving/ns/m/x HTTP/1.1\r\nHost: g\r\n"
    for raw in (
        post + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        post + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        post + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", post + b"Content-Length: +3\r\n\r\nabc",
        post + b"Content-Length: 3, 3\r\n\r\nabc", post + b"Content-Length : 3\r\n\r\nabc",
        post + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        post + b"Transfer-Encoding: chunked, identity\r\n\r\n",
        post + b"X: a\r\n folded\r\n\r\n", post + b"X: a\x00b\r\n\r\n", post + b"A: b\rC: d\r\n\r\n",
        b"GET / HTTP/1.1\nHost: g\n\n", post + b"Host: h\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: g\r\n\r\n", b"\x16\x03\x01\x02\x00\x01",
        b"GET * HTTP/1.1\r\nHost: g\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):  # fmt: skip
        client = await world.client()
        await client.send(raw)
        assert (await client.answer()).status == 400, raw
        assert await client.closed(), raw
    assert (await (await world.client()).get("/serving/ns/m/x")).json()["headers"].get("x") is None


@case
async def heads_are_bounded(world: World) -> None:
    for raw, status in (
        (b"GET / HTTP/1.1\r\nHost: g\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: g\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: g\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: g\r\nX: " + b"a" * 40_000, 431),
        (b"GET / HTTP/2.0\r\nHost: g\r\n\r\n", 505),
    ):
        client = await world.client()
        await client.send(raw)
        assert (await client.answer()).status == status
        assert await client.closed()


@case
async def upgrades_are_refused_but_an_offer_of_http2_is_ignored(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    client = await world.client()
    await client.send(
        b"GET /serving/ns/m/x HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    assert (await client.answer()).status == 501
    client = await world.client()
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n"
    await client.send(
        b"POST /serving/ns/m/echo HTTP/1.1\r\nHost: g\r\n" + offer + b"Content-Length: 3\r\n\r\nab"
    )
    await client.send(b"c")
    assert (await client.answer()).body == b"abc"
    assert (await client.get("/serving/ns/m/x")).status == 200
    client = await world.client()
    await client.send(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")
    assert (await client.answer()).status in (400, 501)


@case
async def old_clients_and_head_requests_are_served(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    client = await world.client()
    await client.send(b"GET /serving/ns/m/until-close HTTP/1.0\r\n\r\n")
    answer = await client.answer()
    assert answer.body == b"until the end" and answer.headers.get("connection") == "close"
    client = await world.client()
    await client.send(b"GET /serving/ns/m/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    answer = await client.answer()
    assert answer.headers.get("connection") == "keep-alive"
    answer = await client.get("/serving/ns/m/x", method="HEAD")
    assert int(answer.headers["content-length"]) > 0
    assert (await client.get("/serving/ns/m/y")).json()["path"] == "/y"
    assert (await client.get("/serving/ns/m/until-close")).body == b"until the end"


@case
async def headers_of_one_hop_stay_and_those_of_the_path_are_added(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    client = await world.client()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    lines = (
        f"traceparent: {trace}\r\nX-Request-Id: mine\r\nX-Forwarded-For: 10.9.8.7\r\n"
        "Connection: keep-alive, X-Hop\r\n"
        "X-Hop: 1\r\nTE: trailers\r\nKeep-Alive: 9\r\nProxy-Connection: x\r\nAuthorization: Bearer t\r\n"
    )
    await client.send(f"GET /serving/ns/m/x HTTP/1.1\r\nHost: outer\r\n{lines}\r\n".encode())
    answer = await client.answer()
    seen = answer.json()["headers"]
    assert not {"x-hop", "te", "keep-alive", "proxy-connection", "connection"} & set(seen)
    assert seen["traceparent"] == trace and seen["authorization"] == "Bearer t" and seen["host"] == "outer"
    assert seen["x-forwarded-for"] == "10.9.8.7, 127.0.0.1" and seen["x-forwarded-host"] == "outer"
    assert answer.headers["x-request-id"] == seen["x-request-id"] == "mine"
    assert len((await client.get("/serving/ns/m/x")).headers["x-request-id"]) == 16
    answer = await client.get("/serving/ns/m/hop")
    assert not {"x-hop", "keep-alive", "connection"} & set(answer.headers)
    assert answer.headers["x-stays"] == "1" and len(answer.headers["x-request-id"]) == 16


# backends that fail


@case
async def a_refused_connection_goes_to_another_pod(world: World) -> None:
    alive = await world.backend("a")
    dead = await world.backend("dead")
    world.processes[1].kill()
    await world.processes[1].wait()
    await world.serve("m", alive, dead)
    client = await world.client()
    for _ in range(10):
        assert (await client.post("/v1/x", chat("m"))).status == 200


@case
async def what_a_backend_does_not_finish_is_never_passed_off_as_whole(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    client = await world.client()
    assert (await client.post("/serving/ns/m/garbage", b"x")).status == 502
    assert (await client.post("/serving/ns/m/die", b"x")).status == 502
    assert (await client.post("/serving/ns/m/head-half", b"x")).status == 502
    assert (await client.get("/serving/ns/m/head-half")).status == 502
    await client.send(b"GET /serving/ns/m/half HTTP/1.1\r\nHost: g\r\n\r\n")
    try:
        await client.answer()
        raise AssertionError("half an answer was passed off as a whole one")
    except (asyncio.IncompleteReadError, ConnectionError):
        pass


@case
async def a_kept_connection_that_closes_under_a_request_costs_nothing(world: World) -> None:
    await world.serve("m", await world.backend("a", forget=1))
    client = await world.client()
    for _ in range(6):
        assert (await client.post("/v1/echo", chat("m"))).body == chat("m")
    assert {line["attempts"] for line in world.lines()} == {1, 2}


@case
async def a_second_response_to_one_request_reaches_nobody(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    client = await world.client()
    await client.send(
        b"GET /serving/ns/m/two HTTP/1.1\r\nHost: g\r\n\r\nGET /serving/ns/m/next HTTP/1.1\r\nHost: g\r\n\r\n"
    )
    assert (await client.answer()).body == b"{}"
    assert (await client.answer()).json()["path"] == "/next"


@case
async def a_client_that_leaves_cancels_the_work_for_it(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    client = await world.client()
    body = chat("m", stream=True, events=100_000, gap_s=0.001)
    await client.send(b"POST /v1/x HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await client.reader.readuntil(b"data: ")
    client.writer.transport.abort()
    other = await world.client()
    async with asyncio.timeout(5):
        while (await other.get("/serving/ns/m/x")).json()["cancelled"] == 0:
            await asyncio.sleep(0.01)
    await world.until(lambda: any(line["status"] == 200 and line.get("why") for line in world.lines()))


# waiting


@case
async def a_request_waits_for_the_first_ready_pod(world: World) -> None:
    await world.serve("m")
    clients = [await world.client() for _ in range(5)]
    asked = [asyncio.create_task(client.post("/v1/x", chat("m"))) for client in clients]
    group = world.gateway.site.groups[Key("ns", "m")]
    await world.until(lambda: len(group.waiting) == 5)
    await world.serve("m", await world.backend("a"))
    assert [(await task).status for task in asked] == [200] * 5
    assert all(line["wait_ms"] > 0 for line in world.lines())


@case
async def a_large_request_waits_without_being_read_into_memory_and_then_passes_whole(world: World) -> None:
    await world.serve("m")
    client, body = await world.client(), b"x" * 30_000_000
    asked = asyncio.create_task(client.post("/serving/ns/m/echo", body))
    group = world.gateway.site.groups[Key("ns", "m")]
    await world.until(lambda: len(group.waiting) == 1)
    (exchange,) = world.gateway.proxy.active
    await world.until(lambda: exchange.request_bytes > world.gateway.proxy.limits.replay_max)
    assert exchange.request_bytes < len(body) // 2
    await world.serve("m", await world.backend("a"))
    assert (await asked).body == body


@case
async def when_the_bound_is_reached_the_reason_is_told(world: World) -> None:
    status = {"conditions": [{"type": "PredictorReady", "status": "False", "message": "0/1 nodes have room"}]}
    await world.serve("m", annotations={"forebay.dev/wait-seconds": "0.2"}, status=status)
    answer = await (await world.client()).post("/v1/x", chat("m"))
    message = answer.json()["error"]["message"]
    assert answer.status == 503 and "0/1 nodes have room" in message and "ns/m" in message
    assert answer.headers["retry-after"]


@case
async def nobody_waits_for_what_will_not_come(world: World) -> None:
    await world.serve("m")
    client = await world.client()
    asked = asyncio.create_task(client.post("/v1/x", chat("m")))
    group = world.gateway.site.groups[Key("ns", "m")]
    await world.until(lambda: len(group.waiting) == 1)
    await world.serve("m", annotations={"serving.kserve.io/stop": "true"})
    async with asyncio.timeout(2):
        assert "serving.kserve.io/stop" in (await asked).json()["error"]["message"]
        client = await world.client()
        await world.serve("n")
        asked = asyncio.create_task(client.post("/v1/x", chat("n")))
        await world.until(lambda: len(world.gateway.site.groups[Key("ns", "n")].waiting) == 1)
        await world.store.remove(InferenceService, Key("ns", "n"))
        assert (await asked).status == 404


# its own pages


@case
async def it_reports_on_itself(world: World) -> None:
    await world.serve("m", await world.backend("a"))
    client = await world.client()
    await client.post("/v1/x?token=secret", chat("m"))
    assert (await client.get("/healthz")).status == (await client.get("/readyz")).status == 200
    text = (await client.get("/metrics")).body.decode()
    assert 'forebay_gateway_requests_total{code="200",namespace="ns",service="m"} 1.0' in text
    assert 'forebay_gateway_duration_seconds_bucket{le="+Inf",namespace="ns",service="m"} 1.0' in text
    line = world.lines()[0]
    assert line["service"] == "ns/m" and line["path"] == "/v1/x" and "secret" not in json.dumps(line)
    assert line["total_ms"] >= line["first_byte_ms"] > 0
    assert line["streamed"] is False


@case
async def a_head_that_comes_before_the_first_token_is_not_taken_for_it(world: World) -> None:
    """llama.cpp sends the head at once; an event stream's comments keep the connection open meanwhile."""
    await world.serve("m", await world.backend("a"))
    client = await world.client()
    await client.post("/v1/chat/completions", chat("m", stream=True, think_s=0.1))
    line = world.lines()[0]
    assert line["streamed"] is True
    assert line["first_body_ms"] > 90 > line["first_byte_ms"]
    text = (await client.get("/metrics")).body.decode()
    assert 'forebay_gateway_first_body_seconds_bucket{le="0.05",namespace="ns",service="m"} 0.0' in text
    assert 'forebay_gateway_first_body_seconds_count{namespace="ns",service="m"} 1.0' in text
