"""Names with several addresses: those that lead nowhere cost a moment once, not a timeout each time."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from forebay.sources.wire.dial import SHUN_S, Address, Shunned, by_turns, dial

V4, V6 = socket.AF_INET, socket.AF_INET6


@contextmanager
def listening() -> Iterator[Address]:
    """An address that answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield V4, server.getsockname()


@contextmanager
def silent() -> Iterator[Address]:
    """An address that does not answer: whoever listens there has his hands full."""
    with ExitStack() as held:
        server = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield V4, server.getsockname()


@contextmanager
def refusing() -> Iterator[Address]:
    """An address where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield V4, held.getsockname()


@contextmanager
def named(monkeypatch: pytest.MonkeyPatch, *addresses: Address) -> Iterator[None]:
    """The name `many` has these addresses."""

    def told(*_: Any, **__: Any) -> list[Any]:
        return [(family, socket.SOCK_STREAM, 6, "", at) for family, at in addresses]

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", told)
        yield


@pytest.mark.parametrize("dead", [silent, refusing])
def test_an_address_that_leads_nowhere_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch, dead: Any
) -> None:
    shunned = Shunned()
    with dead() as bad, listening() as good, named(monkeypatch, bad, good):
        with dial("many", 1, 30.0, shunned=shunned) as sock:
            assert sock.getpeername() == good[1]
            assert sock.gettimeout() is None
        assert shunned.last([bad, good], 0.0) == [good, bad]  # the next connection asks the good one first


def test_of_addresses_that_all_fail_the_last_one_tells_why(monkeypatch: pytest.MonkeyPatch) -> None:
    refused, timed_out = pytest.raises(ConnectionRefusedError), pytest.raises(TimeoutError)
    with refusing() as one, refusing() as two, named(monkeypatch, one, two), refused:
        dial("many", 1, 30.0, shunned=Shunned())
    with silent() as one, refusing() as two, named(monkeypatch, one, two), timed_out:
        dial("many", 1, 0.3, shunned=Shunned())


def test_what_was_shunned_is_tried_first_again_later() -> None:
    shunned, one, two = Shunned(), (V4, ("192.0.2.1", 1)), (V4, ("192.0.2.2", 1))
    shunned.add(one, now=100.0)
    assert shunned.last([one, two], 100.0 + SHUN_S - 1) == [two, one]
    assert shunned.last([one, two], 100.0 + SHUN_S) == [one, two]
    shunned.add(one, now=1000.0)
    shunned.drop(one)
    assert shunned.last([one, two], 1000.0) == [one, two]


def test_families_take_turns() -> None:
    six, four = [(V6, f"6{n}") for n in range(3)], [(V4, "40")]
    assert by_turns([*six, *four]) == [six[0], four[0], six[1], six[2]]
    assert by_turns([]) == []
