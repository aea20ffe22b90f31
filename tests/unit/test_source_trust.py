"""Which bundle is trusted and which proxy is taken: tables over the environment."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from forebay.errors import Invalid, Unavailable
from forebay.sources.s3env import s3_settings
from forebay.sources.settings import endpoint_of, trust_from
from forebay.sources.wire.client import Client
from forebay.sources.wire.conn import Trust, tls_context
from forebay.sources.wire.heads import where
from forebay.sources.wire.proxy import proxy_for


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE",
                                  "CA_BUNDLE_CONFIGMAP_NAME", "AWS_CA_BUNDLE_CONFIGMAP"])  # fmt: skip
def test_every_name_of_a_bundle_is_read(tmp_path: Path, name: str) -> None:
    bundle = tmp_path / "cabundle.crt"
    env = {name: str(bundle)}
    if "CONFIGMAP" in name:
        env = {name: "global-ca", "CA_BUNDLE_VOLUME_MOUNT_POINT": str(tmp_path)}
    with pytest.raises(Invalid, match=r"cabundle\.crt is not there"):
        trust_from(env)
    bundle.write_text("")
    assert trust_from(env).ca_file == str(bundle)
    assert trust_from({}).ca_file == "" and trust_from({"SSL_CERT_FILE": ""}).verify


def test_amazons_bundle_is_for_amazon_first(tmp_path: Path) -> None:
    env = {}
    for name in ("AWS_CA_BUNDLE", "SSL_CERT_FILE"):
        (tmp_path / name).write_text("")
        env[name] = str(tmp_path / name)
    assert trust_from(env, aws=True).ca_file.endswith("AWS_CA_BUNDLE")
    assert trust_from(env).ca_file.endswith("SSL_CERT_FILE")


def test_for_amazon_its_own_bundle_comes_before_the_clusters(tmp_path: Path) -> None:
    """As in KServe, where the variable of one service beats the configuration of all."""
    (tmp_path / "own.crt").write_text("")
    (tmp_path / "cabundle.crt").write_text("")
    env = {"CA_BUNDLE_CONFIGMAP_NAME": "ca", "CA_BUNDLE_VOLUME_MOUNT_POINT": str(tmp_path)}
    env["AWS_CA_BUNDLE"] = str(tmp_path / "own.crt")
    assert trust_from(env, aws=True).ca_file == str(tmp_path / "own.crt")
    assert trust_from(env).ca_file == str(tmp_path / "cabundle.crt")


def test_what_is_not_verified_needs_no_bundle() -> None:
    assert trust_from({"AWS_CA_BUNDLE": "/nowhere"}, aws=True, verify=False) == Trust("", "", False)


@pytest.mark.parametrize(("text", "verified"), [
    ("", True), ("1", True), ("True", True), ("y", True), ("enabled", True), ("0", False), ("False", False),
    (" false\n", False), ("no", False), ("OFF", False),
])  # fmt: skip
def test_only_a_clear_no_ends_the_check_of_certificates(text: str, verified: bool) -> None:
    """`S3_VERIFY_SSL=y` ended it."""
    assert s3_settings({"S3_VERIFY_SSL": text}).verify is verified


@pytest.mark.parametrize(("rule", "url", "direct"), [
    ("*", "http://a.example/x", True),
    ("example.org", "https://example.org/x", True),
    ("example.org", "https://models.example.org/x", True),
    (".example.org", "https://models.example.org/x", True),
    ("*.example.org", "https://models.example.org/x", True),
    ("ample.org", "https://example.org/x", False),
    ("a.example, b.example", "https://b.example/x", True),
    ("A.Example", "https://a.example/x", True),
    ("a.example:8443", "https://a.example:8443/x", True),
    ("a.example:8443", "https://a.example/x", False),
    ("10.0.0.0/8", "http://10.20.30.40/x", True),
    ("10.0.0.0/8", "http://11.0.0.1/x", False),
    ("10.20.30.40", "http://10.20.30.40:9000/x", True),
    ("fd00::/8", "http://[fd00::1]/x", True),
    ("::1", "http://[::1]:8080/x", True),
    ("[::1]:8080", "http://[::1]:8080/x", True),
    ("[::1]:8080", "http://[::1]:8081/x", False),
    ("", "http://a.example/x", False),
])  # fmt: skip
def test_who_is_excepted_from_the_proxy(rule: str, url: str, direct: bool) -> None:
    for names in (("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"), ("all_proxy", "all_proxy", "no_proxy")):
        plain, secure, excepted = names
        env = {plain: "http://me:p%40ss@proxy:3129", secure: "http://me:p%40ss@proxy:3129", excepted: rule}
        found = proxy_for(where(url), env)
        assert (found is None) is direct
        if found is not None:
            assert (found.host, found.port) == ("proxy", 3129) and "p@ss" not in repr(found)


def test_a_proxy_that_is_not_http_is_refused() -> None:
    with pytest.raises(Invalid, match="http://"):
        proxy_for(where("https://a.example"), {"HTTPS_PROXY": "socks5://proxy:1080"})


def test_who_is_to_blame_for_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """The bundle is good and the client's file is not: the message named the bundle."""
    client, bundle = tmp_path / "client.pem", tmp_path / "bundle.pem"
    client.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    bundle.write_text("no certificate")
    with pytest.raises(Invalid, match=r"client\.pem cannot be used as a client certificate .*and its key"):
        tls_context(Trust(client_cert=str(client)))
    with pytest.raises(Invalid, match=r"bundle\.pem cannot be used as a CA bundle"):
        tls_context(Trust(ca_file=str(bundle), client_cert=str(client)))
    with pytest.raises(Invalid, match="check FOREBAY_CLIENT_CERT"):
        trust_from({"FOREBAY_CLIENT_CERT": str(tmp_path / "gone.pem")})


@pytest.mark.parametrize("text", ["hub.example", "127.0.0.1:8080", "ftp://hub.example", "http://", "//hub"])
def test_an_endpoint_that_is_no_address_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(Invalid, match="HF_ENDPOINT must be an http:// or https:// address"):
        endpoint_of(text, "HF_ENDPOINT")


def test_a_listing_that_comes_a_byte_at_a_time_is_given_up() -> None:
    """It would take hours, and each byte was progress."""

    def drip(server: socket.socket) -> None:
        with suppress(OSError), server.accept()[0] as peer:
            while peer.send(b"HTTP/1.1 200 OK\r\n"[:1]):
                time.sleep(0.02)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server,), daemon=True)
        thread.start()
        usual = Client({})
        quick = replace(usual, attempts_max=1, deadlines=replace(usual.deadlines, stall_s=0.6))
        with closing(quick), pytest.raises(Unavailable, match=r"only \d+ bytes came in 1 s"):
            quick.get(f"http://127.0.0.1:{server.getsockname()[1]}/")
        thread.join(5)
