"""Peers before the source: the same bytes whatever a peer does, and the source's secrets stay with it."""

from __future__ import annotations

import hashlib
import socket

import pytest
from tests.faults.pulling import some_bytes

from forebay.api.names import storage_key
from forebay.cache import manifests, open_root
from forebay.cache.manifest import File, Manifest
from forebay.engines.blobs import BlobServer
from forebay.engines.hub import Hub, HubSettings
from forebay.errors import Invalid
from forebay.pull import engine, steer
from forebay.pull.blame import LEFT_MAX, Origins
from forebay.pull.folder import Watching, pull_to
from forebay.pull.model import Settings
from forebay.pull.opening import transfer_of
from forebay.pull.state import Origin
from forebay.sources.peer import peers_from
from forebay.sources.types import Listing, RemoteFile

URI = "hf://acme/m"
FILES = {"a.safetensors": some_bytes(24 << 20), "b.safetensors": some_bytes(9 << 20, seed=2),
         "config.json": b'{"a": 1}', "tokenizer.json": some_bytes(5000)}  # fmt: skip


@pytest.fixture
def hub(tmp_path):
    folder = tmp_path / "hub/acme/m"
    folder.mkdir(parents=True)
    for path, body in FILES.items():
        (folder / path).write_bytes(body)
    with Hub(HubSettings(tmp_path / "hub", frozenset(["acme/m"]), tokens=frozenset(["hf_secret"]))) as hub:
        yield hub


@pytest.fixture
def env(hub):
    return {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_secret", "no_proxy": "*", "HOME": "/nonexistent"}


@pytest.fixture
def cache(tmp_path, env):
    """A peer's cache that holds all of the model, under the revision that the hub tells."""
    from forebay.sources.table import resolve

    root, files = open_root(tmp_path / "peer"), []
    for path, body in FILES.items():
        digest = hashlib.sha256(body).hexdigest()
        place = root.layout.blob(digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(body)
        files.append(File(path, len(body), digest, True))
    listing = resolve(URI, env)[1]
    key = storage_key(URI)
    manifests.publish(root, Manifest(key, URI, listing.revision, tuple(files), listing.endpoint))
    return root


def blob_of(root, path):
    return root.layout.blob(hashlib.sha256(FILES[path]).hexdigest())


def pulled(tmp_path, env, *peers, on_progress=lambda _: None):
    """Pull with these peers; the report, when every byte is right."""
    env = {**env, "FOREBAY_PEERS": " ".join(peer.url for peer in peers)}
    settings = Settings(timeout_connect_s=2, timeout_stall_s=2, segment_bytes=2 << 20, backoff_first_s=0.01)
    into = tmp_path / "out"
    report = pull_to(URI, into, env=env, settings=settings, watching=Watching(on_progress))
    for path, body in FILES.items():
        assert (into / path).read_bytes() == body
    return report


def by(report, peer):
    return report.bytes_by_origin.get(f"peer 127.0.0.1:{peer.server.port}", 0)


def all_bytes():
    return sum(map(len, FILES.values()))


def test_what_a_peer_has_does_not_come_from_the_source_again(tmp_path, env, cache):
    with BlobServer(cache.layout.root) as peer:
        report = pulled(tmp_path, env, peer)
        assert by(report, peer) == report.bytes_network == all_bytes()
        assert report.notes == []


def test_the_sources_secret_never_goes_to_a_peer(tmp_path, env, cache):
    with BlobServer(cache.layout.root) as peer:
        seen, answer = [], peer.server._answer
        peer.server._answer = lambda request: (seen.append(request), answer(request))[1]
        pulled(tmp_path, env, peer)
    assert len(seen) > len(FILES)
    assert not [r for r in seen if "hf_secret" in f"{r.target} {r.headers}" or "authorization" in r.headers]


def test_a_file_that_the_peer_lacks_comes_from_the_source(tmp_path, env, cache):
    blob_of(cache, "b.safetensors").unlink()
    with BlobServer(cache.layout.root) as peer:
        report = pulled(tmp_path, env, peer)
        assert by(report, peer) == all_bytes() - len(FILES["b.safetensors"])
        assert report.bytes_by_origin["hf"] == len(FILES["b.safetensors"])


def test_a_peer_with_another_model_is_left_after_a_few_files(tmp_path, env):
    files = tuple(RemoteFile(f"{n}.bin", 9, sha256=hashlib.sha256(bytes(9)).hexdigest()) for n in range(40))
    with BlobServer(open_root(tmp_path / "other").layout.root) as peer:
        left, asked = Origins((Origin(peer, "peer", 0), Origin(peer, "hf", 1)), []), 0
        listing = Listing(URI, "r", files)
        for transfer in [transfer_of(listing, tmp_path, file) for file in files]:
            if left.of(transfer) is left.all[0]:
                asked += left.avoid(transfer, left.all[0], "it has not got it")
        assert asked == LEFT_MAX
        report = pulled(tmp_path, env, peer)
        assert (by(report, peer), report.bytes_by_origin["hf"]) == (0, all_bytes())
        assert any("avoided for all that is left" in note for note in report.notes)


def test_a_peer_that_dies_in_the_middle_costs_little(tmp_path, env, cache):
    with BlobServer(cache.layout.root, rate_bytes_s=40e6) as peer:
        report = pulled(
            tmp_path, env, peer, on_progress=lambda p: p.bytes_done > 4 << 20 and peer.server.stop()
        )
        assert by(report, peer) > 0 and report.bytes_by_origin["hf"] > 0
        assert report.bytes_network < 1.2 * all_bytes()


def test_a_peer_that_is_not_there_is_done_without(tmp_path, env, cache):
    with BlobServer(cache.layout.root) as peer:
        pass
    report = pulled(tmp_path, env, peer)
    assert report.bytes_by_origin == {"hf": all_bytes()}


def test_a_slow_peer_is_left_within_a_file(tmp_path, env, cache, monkeypatch):
    monkeypatch.setattr(engine, "Steering", lambda: steer.Steering(window_s=0.4))
    with BlobServer(cache.layout.root, rate_bytes_s=500e3) as peer:
        report = pulled(tmp_path, env, peer)
        assert by(report, peer) < len(FILES["a.safetensors"]) / 4
        assert any("it is slow" in note for note in report.notes)


def test_a_peer_that_lies_in_one_range_is_named_and_avoided(tmp_path, env, cache):
    place = blob_of(cache, "a.safetensors")
    body = bytearray(place.read_bytes())
    body[11 << 20] ^= 1
    place.write_bytes(body)
    with BlobServer(cache.layout.root) as peer:
        report = pulled(tmp_path, env, peer)
        assert report.verification_failures == 1
        assert any(f"peer 127.0.0.1:{peer.server.port}" in note for note in report.notes)
        assert report.bytes_by_origin["hf"] >= len(FILES["a.safetensors"])
    assert list((tmp_path / "out/.forebay-parts/damaged").iterdir())


def test_a_peer_whose_blob_is_too_short_costs_the_pull_nothing(tmp_path, env, cache):
    place = blob_of(cache, "a.safetensors")
    place.write_bytes(place.read_bytes()[: 5 << 20])
    with BlobServer(cache.layout.root) as peer:
        report = pulled(tmp_path, env, peer)
        assert report.bytes_by_origin["hf"] >= len(FILES["a.safetensors"]) - (5 << 20)


def test_a_busy_peer_is_not_waited_for(tmp_path, env, cache):
    with BlobServer(cache.layout.root, connections_max=1) as peer:
        with socket.create_connection(("127.0.0.1", peer.server.port)) as held:
            held.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert held.recv(4096).startswith(b"HTTP/1.1 200")
            report = pulled(tmp_path, env, peer)
        assert report.bytes_by_origin == {"hf": all_bytes()}
        assert peer.server.refused


def test_of_two_peers_the_second_helps_where_the_first_cannot(tmp_path, env, cache):
    with (
        BlobServer(open_root(tmp_path / "other").layout.root) as first,
        BlobServer(cache.layout.root) as second,
    ):
        report = pulled(tmp_path, env, first, second)
        assert by(report, second) == report.bytes_network == all_bytes()


@pytest.mark.parametrize("url", ["ftp://h", "h:80", "http://", "http://me:pw@h:1", "file:///etc"])
def test_an_address_of_no_peer_is_refused_without_its_secrets(url):
    with pytest.raises(Invalid) as refused:
        peers_from({"FOREBAY_PEERS": url}, Listing("u", "r", ()), "k")
    assert "pw" not in refused.value.message


def test_slow_is_judged_by_what_the_others_can_do():
    steering = steer.Steering(window_s=1.0)
    assert steering.seen(0.0, {}, "p") is None
    assert steering.seen(0.5, {"p": 5}, "p") is None
    assert steering.seen(1.0, {"p": 1_000_000}, "p") == ("rest", "p")
    assert steering.seen(2.0, {"p": 1_000_000, "s": 1_500_000}, "s") == ("back", "p")
    assert steering.seen(3.0, {"p": 2_000_000, "s": 1_500_000}, "p") is None

    steering = steer.Steering(window_s=1.0)
    steering.seen(0.0, {}, "p")
    assert steering.seen(1.0, {"p": 1_000_000}, "p") == ("rest", "p")
    assert steering.seen(2.0, {"p": 1_000_000, "s": 2_500_000}, "s") is None

    steering = steer.Steering(window_s=1.0)
    steering.seen(0.0, {}, "p")
    assert steering.seen(1.0, {"p": 90_000_000}, "p") is None
