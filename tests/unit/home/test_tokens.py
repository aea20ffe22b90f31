"""Tokens and certificates."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from forebay.home import pki, tokens

KEY = b"k" * 32


def test_a_token_says_who_it_is() -> None:
    user = tokens.verify(KEY, tokens.mint(KEY, "alice", ("a", "b"), 60, uid="u1"))
    assert user == tokens.User("alice", ("a", "b", tokens.AUTHENTICATED), "u1")


def test_a_token_of_a_service_account_says_what_it_ends_with() -> None:
    robot = tokens.service_account("d", "robot", uid="u1")
    assert (robot.name, robot.groups) == (
        "system:serviceaccount:d:robot",
        ("system:serviceaccounts", "system:serviceaccounts:d", "system:authenticated"),
    )
    pod = tokens.Bound("pod", "p", "u2")
    user = tokens.verify(KEY, tokens.mint(KEY, robot.name, robot.groups, uid="u1", bound=pod))
    assert user is not None and user.bound == (tokens.Bound("serviceaccount", "robot", "u1"), pod)


def test_a_token_of_another_key_or_past_its_time_is_nobodys() -> None:
    assert tokens.verify(b"x" * 32, tokens.mint(KEY, "alice", (), 60)) is None
    assert tokens.verify(KEY, tokens.mint(KEY, "alice", (), -1)) is None


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_changed_byte_never_makes_somebody_else(at: int, change: int) -> None:
    token = tokens.mint(KEY, "alice", ("a",), 60).encode()
    at %= len(token)
    forged = token[:at] + bytes([token[at] ^ change]) + token[at + 1 :]
    # The last character of a part has unused bits: a text that decodes to the same bytes is the same token.
    assert tokens.verify(KEY, forged.decode("latin-1")) in (None, tokens.verify(KEY, token.decode()))


@given(st.text(max_size=80))
def test_no_text_breaks_the_check(text: str) -> None:
    assert tokens.verify(KEY, text) is None


def test_a_token_without_signature_algorithm_is_refused() -> None:
    import base64
    import json

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    for signature in ("", "AAAA"):
        forged = f"{part({'alg': 'none'})}.{part({'sub': 'root', 'groups': [tokens.MASTERS]})}.{signature}"
        assert tokens.verify(KEY, forged) is None


def test_the_key_stays_and_is_private(tmp_path: Path) -> None:
    key = tokens.load_key(tmp_path / "auth.key")
    assert tokens.load_key(tmp_path / "auth.key") == key
    assert (tmp_path / "auth.key").stat().st_mode & 0o077 == 0


def test_own_namespaces_are_in_the_groups() -> None:
    assert tokens.User("a", (tokens.NAMESPACE_GROUP + "x", "y")).namespaces == {"x"}


def test_certificates_are_kept_and_renewed_before_their_end(tmp_path: Path) -> None:
    files = pki.ensure(tmp_path)
    first = (files.ca.read_bytes(), files.cert.read_bytes())
    assert pki.ensure(tmp_path) == files
    assert (files.ca.read_bytes(), files.cert.read_bytes()) == first
    pki.ensure(tmp_path, now=datetime.now(UTC) + timedelta(days=340))
    assert files.ca.read_bytes() == first[0] and files.cert.read_bytes() != first[1]
    assert files.key.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["ca.crt", "ca.key", "server.crt", "server.key", "server.until"])
@pytest.mark.parametrize("text", [None, "", "2020-01-01", "2020-01-01T00:00:00+00:00"])
@pytest.mark.parametrize("age_days", [0, 340])  # at the end of the year the authority's key is needed again
def test_what_is_missing_or_broken_of_the_certificates_is_made_anew(
    tmp_path: Path, name: str, text: str | None, age_days: int
) -> None:
    pki.ensure(tmp_path, now=datetime.now(UTC) - timedelta(days=age_days))
    (tmp_path / name).unlink() if text is None else (tmp_path / name).write_text(text)
    assert_serves(pki.ensure(tmp_path))


def test_an_authority_that_ends_is_replaced_with_all_it_signed(tmp_path: Path) -> None:
    almost = datetime.now(UTC) - timedelta(days=365 * pki.YEARS_CA - 10)
    first = pki.ensure(tmp_path, now=almost).ca.read_bytes()
    files = pki.ensure(tmp_path)
    assert files.ca.read_bytes() != first
    assert_serves(files)


@pytest.mark.parametrize("ahead_days", [0.1, 2, 300, 364, 400, 4000])
def test_certificates_hold_or_are_made_anew_when_the_clock_is_set_back(
    tmp_path: Path, ahead_days: float
) -> None:
    """The home came up, and nobody could speak with it: its certificate was not yet valid."""
    pki.ensure(tmp_path, now=datetime.now(UTC) + timedelta(days=ahead_days))
    assert_serves(pki.ensure(tmp_path))


def test_the_chain_satisfies_a_strict_client(tmp_path: Path) -> None:
    assert_serves(pki.ensure(tmp_path))


def assert_serves(files: pki.Pki) -> None:
    """A strict client that trusts the authority speaks with a server that has the pair."""
    client = ssl.create_default_context(cafile=str(files.ca))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.cert, files.key)
    pair = [ssl.MemoryBIO() for _ in range(2)]
    speaks = client.wrap_bio(pair[0], pair[1], server_hostname="127.0.0.1")
    answers = server.wrap_bio(pair[1], pair[0], server_side=True)
    for _ in range(4):
        for side in (speaks, answers):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert speaks.version() == "TLSv1.3"


@pytest.mark.parametrize("namespace", ["", "team-a"])
def test_a_kubeconfig_has_one_context(namespace: str) -> None:
    text = pki.kubeconfig(
        server="https://127.0.0.1:1", ca=b"PEM", token="t", user="alice", namespace=namespace
    )
    found = yaml.safe_load(text)
    assert found["contexts"][0]["context"].get("namespace", "") == namespace
    assert found["users"][0]["user"] == {"token": "t"}
