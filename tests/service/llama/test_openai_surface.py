"""The OpenAI API of forebay-llama, parameter by parameter, through the official client."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from typing import Any

import openai
import pytest
from tests.fakes.program import Program

QUESTION: Any = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
LONG = "word " * 5000


def test_stop_seed_and_lengths(client: openai.OpenAI) -> None:
    ask = client.chat.completions.create
    stopped = ask(model="smol", messages=QUESTION, temperature=0, max_tokens=20, stop=["Paris"])
    assert stopped.choices[0].finish_reason == "stop" and "Paris" not in str(
        stopped.choices[0].message.content
    )
    short = ask(model="smol", messages=QUESTION, max_completion_tokens=3)
    assert short.usage is not None
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 3)
    texts = [
        client.completions.create(model="smol", prompt="Once", seed=7, temperature=1, max_tokens=8)
        .choices[0]
        .text
        for _ in range(2)
    ]
    assert texts[0] == texts[1]


def test_several_choices(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="smol", messages=QUESTION, n=2, max_tokens=3)
    assert [choice.index for choice in answer.choices] == [0, 1]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="smol", messages=QUESTION, n=200, max_tokens=3)
    assert caught.value.param == "n"


def test_log_probabilities_in_both_shapes(client: openai.OpenAI) -> None:
    chat = client.chat.completions.create(
        model="smol", messages=QUESTION, logprobs=True, top_logprobs=2, max_tokens=2
    )
    assert chat.choices[0].logprobs is not None and chat.choices[0].logprobs.content is not None
    assert [len(item.top_logprobs) for item in chat.choices[0].logprobs.content] == [2, 2]
    plain = client.completions.create(model="smol", prompt="The capital", logprobs=2, max_tokens=3)
    found = plain.choices[0].logprobs
    assert found is not None and found.tokens is not None and found.top_logprobs is not None
    assert "".join(found.tokens) == plain.choices[0].text
    assert [len(tops) for tops in found.top_logprobs] == [2, 2, 2]
    zero = (
        client.completions.create(model="smol", prompt="The capital", logprobs=0, max_tokens=2)
        .choices[0]
        .logprobs
    )
    assert zero is not None and zero.top_logprobs is None and len(zero.token_logprobs or []) == 2


def test_log_probabilities_of_a_streamed_completion(client: openai.OpenAI) -> None:
    stream = client.completions.create(model="smol", prompt="Once", logprobs=1, max_tokens=4, stream=True)
    choices = [chunk.choices[0] for chunk in stream if chunk.choices]
    pieces = [choice.logprobs for choice in choices if choice.logprobs is not None]
    assert "".join("".join(piece.tokens or []) for piece in pieces) == "".join(
        choice.text for choice in choices
    )
    offsets = [at for piece in pieces for at in piece.text_offset or []]
    assert offsets == sorted(offsets) and offsets[0] == 0 < offsets[-1]


def test_answers_in_json(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    answer = client.chat.completions.create(
        model="smol", messages=QUESTION, temperature=0, max_tokens=40,
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    )  # fmt: skip
    assert json.loads(answer.choices[0].message.content or "") == {"city": "Paris"}
    loose = client.chat.completions.create(
        model="smol", messages=QUESTION, temperature=0, max_tokens=80, response_format={"type": "json_object"}
    )
    assert (loose.choices[0].message.content or "").startswith("{")


def test_embeddings_as_numbers_and_as_base64(server: tuple[str, Program], client: openai.OpenAI) -> None:
    numbers = client.embeddings.create(model="smol", input="hi", encoding_format="float").data[0].embedding
    raw = client.embeddings.with_raw_response.create(model="smol", input="hi", encoding_format="base64")
    packed = json.loads(raw.content)["data"][0]["embedding"]
    unpacked = struct.unpack(f"<{len(numbers)}f", base64.b64decode(packed))
    assert unpacked == pytest.approx(numbers, abs=1e-5)


@pytest.mark.parametrize(
    ("more", "param", "code"),
    [
        ({"temperature": -1}, "temperature", None), ({"max_tokens": 0}, "max_tokens", None),
        ({"stop": 5}, "stop", None), ({"messages": []}, "messages", None),
        ({"messages": "hi"}, "messages", None), ({"top_logprobs": 2}, "top_logprobs", None),
        ({"response_format": {"type": "xml"}}, "response_format", None), ({"seed": "x"}, "seed", None),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}, "tools", None),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
         "messages", None),
        ({"messages": [{"role": "user", "content": LONG}]}, "messages", "context_length_exceeded"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_parameter_is_400_and_named(
    client: openai.OpenAI, more: dict[str, Any], param: str, code: str | None, stream: bool
) -> None:
    body = {"model": "smol", "messages": QUESTION, "max_tokens": 2, "stream": stream, **more}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**body)
    assert (caught.value.param, caught.value.code, caught.value.type) == (
        param,
        code,
        "invalid_request_error",
    )


def test_wrong_completions_and_embeddings_are_400_too(client: openai.OpenAI) -> None:
    for body, param in (({"echo": True}, "echo"), ({"suffix": "x"}, "suffix"), ({"best_of": 2}, "best_of")):
        with pytest.raises(openai.BadRequestError) as caught:
            client.completions.create(model="smol", prompt="x", max_tokens=2, **body)  # type: ignore[call-overload]
        assert caught.value.param == param
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="smol", input=LONG)
    assert (caught.value.param, caught.value.code) == ("input", "context_length_exceeded")


def test_a_path_that_is_not_there_is_404_in_the_same_words(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.audio.speech.create(model="smol", input="x", voice="alloy")
    assert "/v1/audio/speech" in str(caught.value)


def test_eight_at_once_are_all_answered(server: tuple[str, Program]) -> None:
    """Twice as many as there are slots: the others wait their turn."""

    async def body() -> None:
        async with openai.AsyncOpenAI(
            base_url=server[0] + "/v1", api_key="x", max_retries=0, timeout=60
        ) as client:

            async def ask(number: int) -> str:
                prompt = f"Count: {number},"
                got = await client.completions.create(
                    model="smol", prompt=prompt, max_tokens=8, temperature=0
                )
                return got.choices[0].text

            answers = await asyncio.gather(*(ask(number) for number in range(8)))
            assert all(answers)

    asyncio.run(body())
