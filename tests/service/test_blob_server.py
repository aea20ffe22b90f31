"""A cache's content over HTTP: what one node gives another, and what it never gives."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import closing, suppress

import pytest
from prometheus_client.parser import text_string_to_metric_families

from forebay.cache import manifests, open_root
from forebay.cache.manifest import File, Manifest
from forebay.engines.blobs import BlobServer

BODY = os.urandom(3_000_000)
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def root(tmp_path):
    root = open_root(tmp_path / "root")
    place = root.layout.blob(DIGEST)
    place.parent.mkdir(parents=True)
    place.write_bytes(BODY)
    manifests.publish(root, Manifest("k1", "hf://a/b", "r1", (File("w.bin", len(BODY), DIGEST, True),)))
    (tmp_path / "secret").write_text("s")
    return root


@pytest.fixture
def server(root):
    with BlobServer(root.layout.root) as blobs:
        yield blobs


def ask(server, path, method="GET", **headers):
    conn = http.client.HTTPConnection("127.0.0.1", server.server.port, timeout=10)
    try:
        conn.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = conn.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        conn.close()


def test_a_blob_comes_whole_in_ranges_and_as_a_head(server):
    path = f"/blobs/sha256/{DIGEST}"
    status, headers, body = ask(server, path)
    assert (status, body, headers["ETag"]) == (200, BODY, f'"{DIGEST}"')
    status, headers, body = ask(server, path, Range="bytes=5-99")
    assert (status, body) == (206, BODY[5:100])
    assert headers["Content-Range"] == f"bytes 5-99/{len(BODY)}"
    assert ask(server, path, Range="bytes=-7")[2] == BODY[-7:]
    assert ask(server, path, Range=f"bytes={len(BODY)}-")[0] == 416
    status, headers, body = ask(server, path, "HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(BODY)), b"")


def test_conditions_hold(server):
    path, mine = f"/blobs/sha256/{DIGEST}", f'"{DIGEST}"'
    assert ask(server, path, If_Match=mine, Range="bytes=0-1")[0] == 206
    assert ask(server, path, If_Match='"other"')[::2] == (412, b"")
    assert ask(server, path, If_None_Match=mine)[::2] == (304, b"")
    assert ask(server, path, If_Range='"other"', Range="bytes=0-1")[0] == 200
    assert ask(server, path, If_Range=mine, Range="bytes=0-1")[0] == 206


def test_a_connection_is_kept_and_requests_may_follow_at_once(server):
    with socket.create_connection(("127.0.0.1", server.server.port), timeout=10) as peer:
        one = f"GET /blobs/sha256/{DIGEST} HTTP/1.1\r\nHost: x\r\nRange: bytes=0-9\r\n\r\n".encode()
        peer.sendall(one * 3)
        got = b""
        while got.count(BODY[:10]) < 3:
            got += peer.recv(65536)
    assert server.server.connections == 1


@pytest.mark.parametrize(
    "path",
    ["/", "/blobs/sha256/", "/blobs/sha256/../../manifests/k1.json", "/blobs/sha256/%2e%2e/%2e%2e/root.lock",
     "/../secret", "/models/../secret", "/models/..%2fsecret", "/models/none", f"/blobs/sha256/{'0' * 64}",
     f"/blobs/sha256/{DIGEST.upper()}", f"/blobs/sha256/{DIGEST}/", "/models/-", "/models/" + "a" * 99],
)  # fmt: skip
def test_nothing_but_content_by_its_digest_can_be_asked_for(server, path):
    assert ask(server, path)[0] == 404


def test_a_link_among_the_blobs_is_not_followed(server, root, tmp_path):
    digest = "ab" * 32
    place = root.layout.blob(digest)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(tmp_path / "secret")
    assert ask(server, f"/blobs/sha256/{digest}")[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_it_is_read_only(server, root, method):
    assert ask(server, f"/blobs/sha256/{DIGEST}", method)[0] == 405
    assert root.layout.blob(DIGEST).read_bytes() == BODY


def test_models_are_listed_with_their_digests(server):
    assert json.loads(ask(server, "/models")[2]) == {"models": ["k1"]}
    said = json.loads(ask(server, "/models/k1")[2])
    assert (said["uri"], said["revision"]) == ("hf://a/b", "r1")
    assert said["files"] == [{"path": "w.bin", "size": len(BODY), "sha256": DIGEST, "promised": True}]


def test_one_too_many_is_told_when_to_come_again_and_the_others_go_on(root):
    with BlobServer(root.layout.root, connections_max=1) as blobs:
        with socket.create_connection(("127.0.0.1", blobs.server.port), timeout=10) as first:
            first.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert first.recv(4096).startswith(b"HTTP/1.1 200")
            status, headers, _ = ask(blobs, "/healthz")
            assert (status, headers["Retry-After"]) == (503, "1")
            first.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert first.recv(4096).startswith(b"HTTP/1.1 200")
        assert blobs.server.refused == 1


def test_a_rate_holds_for_all_connections_together(root):
    waited = []

    class Slow:
        rate = 1e6

        def wait_s(self, count):
            waited.append(count)
            return 0.0

    with BlobServer(root.layout.root) as blobs:
        blobs.server.bucket = Slow()
        assert ask(blobs, f"/blobs/sha256/{DIGEST}")[2] == BODY
        assert sum(waited) == len(BODY) and max(waited) == 125_000
        blobs.server.bucket = type(blobs.server).bucket


def test_metrics_are_what_prometheus_reads(server):
    ask(server, f"/blobs/sha256/{DIGEST}")
    ask(server, "/none")
    found = {}
    for family in text_string_to_metric_families(ask(server, "/metrics")[2].decode()):
        assert family.documentation
        found |= {(s.name, *s.labels.values()): s.value for s in family.samples}
    assert found["forebay_blobs_requests_total", "200"] >= 1
    assert found["forebay_blobs_requests_total", "404"] == 1
    assert found["forebay_blobs_sent_bytes_total",] >= len(BODY)
    assert found["forebay_blobs_refused_total",] == 0


def test_garbage_harms_nobody(server):
    for junk in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.server.port), timeout=10) as peer:
            peer.sendall(junk)
            peer.shutdown(socket.SHUT_WR)
            peer.recv(4096)
    assert ask(server, "/healthz")[0] == 200


@pytest.mark.parametrize(
    "odd", ["Content-Length: -1", "Content-Length: 1_0", "Content-Length: 99999999", "Content-Length: +1",
            "Transfer-Encoding: chunked"],
)  # fmt: skip
def test_a_body_that_cannot_be_measured_ends_the_connection(server, odd):
    """Of fewer than no bytes all that came was kept in memory; the rest of others was the next request."""
    with socket.create_connection(("127.0.0.1", server.server.port), timeout=10) as peer:
        peer.sendall(f"POST /x HTTP/1.1\r\n{odd}\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n".encode())
        assert _all_of(peer) == b""


def test_a_head_without_end_is_not_kept(server):
    with socket.create_connection(("127.0.0.1", server.server.port), timeout=10) as peer:
        with suppress(OSError):  # it hangs up in the middle
            peer.sendall(b"GET /metrics HTTP/1.1\r\n")
            for n in range(200_000):
                peer.sendall(b"X-%d: y\r\n" % n)
            peer.sendall(b"\r\n")
        assert _all_of(peer) == b""


def test_it_goes_on_after_it_had_no_descriptor_or_thread_left(server, monkeypatch):
    """The thread that accepts ended with the first such error, and nobody was ever let in again."""
    real, start, troubles = server.server._socket, threading.Thread.start, []

    class Listener:
        shutdown, close = real.shutdown, real.close

        def accept(self):
            peer = real.accept()
            if not troubles:
                troubles.append(peer[0].close())
                raise OSError(errno.EMFILE, "Too many open files")
            return peer

    def no_thread(thread):
        monkeypatch.setattr(threading.Thread, "start", start)
        troubles.append(None)
        raise RuntimeError("can't start new thread")

    server.server._socket = Listener()
    ask(server, "/metrics")  # by the accept that had begun before
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(server, "/metrics")
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    assert ask(server, "/metrics")[0] == 503
    assert ask(server, "/metrics")[0] == 200 and len(troubles) == 2


def _all_of(peer):
    got = b""
    with suppress(ConnectionResetError):
        while piece := peer.recv(1 << 16):
            got += piece
    return got


def test_the_command_serves_a_root_on_loopback_and_refuses_what_is_none(root, tmp_path):
    run = [sys.executable, "-m", "forebay.main", "blobs"]
    refused = subprocess.run([*run, str(tmp_path)], capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "is no cache" in refused.stderr
    with subprocess.Popen([*run, str(root.layout.root)], stdout=subprocess.PIPE, text=True) as child:
        try:
            line = child.stdout.readline()
            assert line.startswith("listening on http://127.0.0.1:")
            port = int(line.rsplit(":", 1)[1])
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as conn:
                conn.request("GET", f"/blobs/sha256/{DIGEST}")
                assert conn.getresponse().read() == BODY
        finally:
            child.terminate()
        assert child.wait(10) == 0
