"""The pull into a cache, with a loopback web server and real files; a thread stands in for the agent."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.fakes.cache_promises import a_pin, assert_promises

from forebay.cache import find, open_root, pins, reservations, verify, views
from forebay.errors import Absent, Clash, Exhausted, Invalid
from forebay.pull import journal
from forebay.pull.cached import pull_cached, puller
from forebay.pull.folder import Watching
from forebay.pull.limits import Limits
from forebay.pull.opening import transfer_of
from forebay.pull.plan import Ranges
from forebay.pull.state import entry_of
from forebay.sources.http import HttpSource


@pytest.fixture
def origin():
    """A web server over a dictionary; `gets` are the paths whose bodies were asked for."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = self.server.bodies.get(self.path)
            if body is None:
                self.send_error(404)
                return
            first, last, status = 0, len(body) - 1, 200
            if wanted := self.headers.get("Range"):
                low, _, high = wanted.removeprefix("bytes=").partition("-")
                first, last, status = int(low), min(int(high or last), last), 206
            self.send_response(status)
            self.send_header("Content-Length", str(last - first + 1))
            self.send_header("ETag", f'"{hashlib.md5(body).hexdigest()}"')
            if status == 206:
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
            self.end_headers()
            if self.command == "GET":
                self.server.gets.append((self.path, last - first + 1))
                self.wfile.write(body[first : last + 1])

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.bodies, server.gets = {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def root(tmp_path):
    """A root whose requests are granted, as long as `root.layout.root/refuse` is not there."""
    root = open_root(tmp_path / "root")
    stop = threading.Event()

    def agent():
        while not stop.wait(0.005):
            for said in reservations.find_all(root):
                refuse = (tmp_path / "refuse").exists()
                reservations.answer(
                    root, said.id, "refused" if refuse else "granted", "no room" if refuse else ""
                )

    thread = threading.Thread(target=agent)
    thread.start()
    yield root
    stop.set()
    thread.join()


def env(root, key="k", **more):
    return {
        "FOREBAY_CACHE_ROOT": str(root.layout.root),
        "FOREBAY_STORAGE_KEY": key,
        "FOREBAY_MODEL": "m",
        **more,
    }


def test_the_second_pull_asks_only_whether_it_may(origin, root):
    origin.bodies["/f.bin"] = b"x" * 100_000
    first = pull_cached(f"{origin.url}/f.bin", env(root))
    moved = sum(count for _, count in origin.gets)
    assert pull_cached(f"{origin.url}/f.bin", env(root, FOREBAY_MODEL="other")) == first
    assert sum(count for _, count in origin.gets) == moved
    assert first.sources
    assert {"resolve", "room", "transfer", "commit"} <= first.phases.keys()
    assert_promises(root)


def test_an_observed_file_of_a_killed_pull_is_found_again(origin, root, tmp_path):
    """http promises no digest: what was observed before the kill is noted, so no byte comes twice."""
    origin.bodies["/f.bin"] = os.urandom(300_000)
    code = (
        f"from forebay.pull.cached import pull_cached; pull_cached({origin.url + '/f.bin'!r}, {env(root)!r})"
    )
    child = {**os.environ, "FOREBAY_FAILPOINTS": "pull.cached.kept=kill"}
    done = subprocess.run([sys.executable, "-c", code], env=child, timeout=30)
    assert done.returncode == -signal.SIGKILL
    moved = sum(count for _, count in origin.gets if count > 1)
    assert moved == 300_000
    pull_cached(f"{origin.url}/f.bin", env(root))
    assert sum(count for _, count in origin.gets if count > 1) == moved
    assert_promises(root)


def test_an_archive_is_unpacked_into_blobs(origin, root):
    pack = io.BytesIO()
    with tarfile.open(fileobj=pack, mode="w:gz") as tar:
        for name, body in {"model/1/a.txt": b"a", "b.txt": b"bb"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    origin.bodies["/m.tar.gz"] = pack.getvalue()
    pull_cached(f"{origin.url}/m.tar.gz", env(root))
    views.publish(root, "k")
    assert (root.layout.view("k") / "model" / "1" / "a.txt").read_bytes() == b"a"
    assert sorted(f.path for f in find(root, "k").files) == ["b.txt", "model/1/a.txt"]
    assert_promises(root)


def test_what_a_pod_sees_of_an_archive_has_its_empty_folders(origin, root):
    """Triton wants one for each version of an ensemble."""
    pack = io.BytesIO()
    with tarfile.open(fileobj=pack, mode="w:gz") as tar:
        for name, body in (("ensemble/1", None), ("ensemble/config.pbtxt", b"{}")):
            info = tarfile.TarInfo(name)
            info.type, info.size = (tarfile.DIRTYPE, 0) if body is None else (tarfile.REGTYPE, len(body))
            tar.addfile(info, io.BytesIO(body or b""))
    origin.bodies["/m.tar.gz"] = pack.getvalue()
    manifest = pull_cached(f"{origin.url}/m.tar.gz", env(root))
    assert manifest.folders == ("ensemble/1",) and find(root, "k") == manifest
    view = root.layout.view("k")
    assert views.publish(root, "k") and not views.publish(root, "k")
    assert (view / "ensemble/1").is_dir() and (view / "ensemble/config.pbtxt").read_bytes() == b"{}"
    (view / "ensemble/1").rmdir()
    assert views.publish(root, "k") and (view / "ensemble/1").is_dir()


def test_links_of_an_archive_are_files_of_one_content(origin, root):
    pack = io.BytesIO()
    with tarfile.open(fileobj=pack, mode="w") as tar:
        for name, kind, to in (("v1/w", tarfile.REGTYPE, ""), ("latest", tarfile.SYMTYPE, "v1"),
                               ("hard", tarfile.LNKTYPE, "v1/w")):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, to, 0 if to else 1
            tar.addfile(info, io.BytesIO(b"w"))
    origin.bodies["/m.tar"] = pack.getvalue()
    manifest = pull_cached(f"{origin.url}/m.tar", env(root))
    assert {f.path for f in manifest.files} == {"v1/w", "latest/w", "hard"} and len(manifest.blobs) == 1
    assert views.publish(root, "k")
    view = root.layout.view("k")
    assert all((view / path).read_bytes() == b"w" for path in ("v1/w", "latest/w", "hard"))
    assert not (view / "latest").is_symlink()
    assert_promises(root)


def test_a_moved_name_changes_nothing_unless_a_refresh_asks_for_it(origin, root):
    uri = f"{origin.url}/f.bin"
    origin.bodies["/f.bin"] = b"one"
    first = pull_cached(uri, env(root))
    origin.bodies["/f.bin"] = b"two!"
    assert pull_cached(uri, env(root)) == first
    assert pull_cached(uri, env(root, FOREBAY_REVISION=first.revision)) == first
    views.publish(root, "k")
    pins.rebuild(root, [a_pin("p", "k")])
    moved = len([count for _, count in origin.gets if count > 1])
    with pytest.raises(Clash, match="in use by default/p"):
        pull_cached(uri, env(root, FOREBAY_REFRESH="1"))
    assert len([count for _, count in origin.gets if count > 1]) == moved, "bytes moved in vain"
    pins.rebuild(root, [])
    assert pull_cached(uri, env(root, FOREBAY_REFRESH="1")).revision != first.revision
    views.publish(root, "k")
    assert (root.layout.view("k") / "f.bin").read_bytes() == b"two!"
    assert_promises(root)


def test_a_damaged_model_is_healed_by_its_bad_file_alone(root, tmp_path):
    source = tmp_path / "origin"
    source.mkdir()
    for name in ("good", "bad"):
        (source / name).write_bytes(name.encode() * 50_000)
    manifest = pull_cached(f"file://{source}", env(root))
    views.publish(root, "k")
    digest = manifest.content["bad"]
    path = root.layout.blob(digest)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"X")
    assert [note.digest for note in verify.check(root, manifest)] == [digest]
    assert not root.layout.view("k").exists()
    again = pull_cached(f"file://{source}", env(root))
    views.publish(root, "k")
    assert (root.layout.view("k") / "bad").read_bytes() == b"bad" * 50_000
    assert again.content == manifest.content
    assert_promises(root)


def test_a_pull_without_room_says_so_and_leaves_the_reason(origin, root, tmp_path):
    origin.bodies["/f.bin"] = b"x" * 1000
    (tmp_path / "refuse").touch()
    with pytest.raises(Exhausted, match="no room"):
        pull_cached(f"{origin.url}/f.bin", env(root, FOREBAY_ROOM_WAIT_S="0.3"))
    assert [(r.state, r.message, r.bytes_needed) for r in reservations.find_all(root)] == [
        ("failed", "no room", 1000)
    ]
    assert [count for _, count in origin.gets if count > 1] == []


def test_only_what_came_of_these_files_is_not_asked_for_again(origin, root, tmp_path):
    """What was left of another version counted as if it had come, so too little room was made for this one;
    and a part is as long as its last byte says, whatever holes it has."""
    origin.bodies["/f.bin"] = b"x" * 1000
    listing = HttpSource({}).resolve(f"{origin.url}/f.bin")
    folder = root.layout.part_files("k")
    folder.mkdir(parents=True)
    for at, done in ((listing, 300), (replace(listing, revision="before"), 600)):
        left = transfer_of(at, folder, listing.files[0])
        left.path.write_bytes(bytes(900))
        left.done, left.etags = Ranges([(0, done)]), {"0 127.0.0.1": "e"}
        journal.save(left.journal, entry_of(left))
    (tmp_path / "refuse").touch()
    with pytest.raises(Exhausted):
        pull_cached(f"{origin.url}/f.bin", env(root, FOREBAY_ROOM_WAIT_S="0.1"))
    assert [said.bytes_needed for said in reservations.find_all(root)] == [700]
    mine = transfer_of(listing, folder, listing.files[0])
    assert {path.name for path in folder.iterdir()} == {mine.path.name, mine.journal.name}


def test_a_refused_pull_goes_on_once_there_is_room(origin, root, tmp_path):
    origin.bodies["/f.bin"] = b"x" * 1000
    (tmp_path / "refuse").touch()
    thread = threading.Thread(target=lambda: pull_cached(f"{origin.url}/f.bin", env(root)))
    thread.start()
    while not [r for r in reservations.find_all(root) if r.state == "refused"]:
        time.sleep(0.005)
    (tmp_path / "refuse").unlink()
    thread.join(20)
    assert find(root, "k") is not None


def test_one_key_never_holds_the_content_of_two_servers(origin, root):
    origin.bodies["/f.bin"] = b"one"
    pull_cached(f"{origin.url}/f.bin", env(root))
    manifest = find(root, "k")
    raw = (
        root.layout.manifest("k")
        .read_text()
        .replace('"endpoint": ""', '"endpoint": "https://mirror.example"')
    )
    root.layout.manifest("k").write_text(raw)
    assert manifest.endpoint == ""
    with pytest.raises(Clash, match=r"mirror\.example"):
        pull_cached(f"{origin.url}/f.bin", env(root))


def test_the_commands_use_the_cache_only_where_a_root_is_named(origin, root, tmp_path):
    origin.bodies["/f.bin"] = b"one"
    assert puller({}) is None
    pull = puller(env(root))
    assert pull(f"{origin.url}/f.bin", tmp_path, Watching()).bytes_network == 3
    again = pull(f"{origin.url}/f.bin", tmp_path, Watching())
    assert (again.bytes_network, again.files_had, again.bytes_total) == (0, 1, 3)
    with pytest.raises(Invalid, match="FOREBAY_MODEL_SIZE"):
        pull_cached(f"{origin.url}/f.bin", env(root, FOREBAY_MODEL_SIZE="big"))


def test_a_pull_that_fails_leaves_its_figures_for_people_and_for_the_agent(origin, root):
    origin.bodies["/f.bin"] = b"x" * 100_000
    told, into = [], puller(env(root, S3_MAX_ATTEMPTS="1"))
    into(f"{origin.url}/f.bin", root.layout.root, Watching(on_report=told.append))
    assert (told[0].files, told[0].bytes_network) == (1, 100_000)
    assert sum(told[0].wall.values()) == pytest.approx(told[0].wall_s)
    into(f"{origin.url}/f.bin", root.layout.root, Watching(on_report=told.append))
    assert (told[1].files, told[1].files_had, told[1].bytes_network) == (1, 1, 0)
    with pytest.raises(Absent):
        into(f"{origin.url}/none", root.layout.root, Watching(on_report=told.append))
    assert len(told) == 3 and "resolve" in told[2].wall
    (said,) = reservations.find_all(root)
    assert (said.state, said.code, said.sources) == ("failed", "absent", {})


def test_pulls_into_a_root_keep_to_its_rate_and_share_it(origin, root, monkeypatch):
    origin.bodies["/f.bin"] = b"x" * 3_000_000
    (root.layout.ours / "rate").write_text("10M")
    limits = Limits()
    rates = []
    watching = Watching(lambda _: rates.append(limits._all.rate), limits=limits)
    pull_cached(f"{origin.url}/f.bin", env(root), watching=watching)
    assert set(rates) == {10e6}
