"""Container images against a real registry: the modelcar layout, layers, logins, digests and indexes."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from forebay.cache import open_root, reservations
from forebay.cache.root import Root
from forebay.errors import Absent, Damaged, Denied, Invalid, Unavailable
from forebay.pull import Settings, pull_to
from forebay.pull.cached import pull_cached
from forebay.sources.table import resolve
from tests.conformance import clouds
from tests.conformance.clouds import Pusher, basic, docker_config, htpasswd, registry
from tests.conformance.test_sources import tree_of
from tests.fakes.registry_tokens import TokenServer

pytestmark = pytest.mark.skipif(
    not clouds.program("DOCKER_REGISTRY", "docker-registry"),
    reason="no docker-registry: apt-get install docker-registry, or name it in DOCKER_REGISTRY",
)
GZIP, PLAIN = "application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar"
DOCKER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
WEIGHTS = bytes(range(256)) * 9000


def tar(*entries: tuple[str, bytes | str]) -> bytes:
    """A tar of files (bytes), links (text that starts with -> or =>, the latter hard) and folders ("")."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as pack:
        for name, body in entries:
            item = tarfile.TarInfo(name)
            if isinstance(body, bytes):
                item.size = len(body)
                pack.addfile(item, io.BytesIO(body))
                continue
            item.type = {"": tarfile.DIRTYPE, "->": tarfile.SYMTYPE, "=>": tarfile.LNKTYPE}[body[:2]]
            item.linkname = body[2:]
            pack.addfile(item)
    return out.getvalue()


BASE = tar(("etc/passwd", b"root"), ("bin/sh", "->busybox"), ("models", ""), ("models/old.bin", b"old"),
           ("models/config.json", b"{}"), ("models/sub/gone.txt", b"1"),
           ("modelsother/no.bin", b"x"))  # fmt: skip
MIDDLE = tar(("./models/weights.bin", WEIGHTS), ("./models/empty.txt", b""),
             ("./models/copy.bin", "=>./models/weights.bin"), ("models/sub/kept.txt", b"2"))  # fmt: skip
TOP = tar(("models/.wh.old.bin", b""), ("models/sub/.wh..wh..opq", b""), ("models/sub/new.txt", b"3"),
          ("models/config.json", b'{"a": 1}'))  # fmt: skip
MODEL = {"weights.bin": WEIGHTS, "copy.bin": WEIGHTS, "empty.txt": b"", "config.json": b'{"a": 1}',
         "sub/new.txt": b"3"}  # fmt: skip


@dataclass
class Shelf:
    """A registry behind a password, and what is needed to read it."""

    host: str
    env: dict[str, str]
    root: Path

    def push(self, name: str) -> Pusher:
        return Pusher(f"http://{self.host}", name, basic("me", "sesame"))

    def modelcar(self, name: str, tag: str = "v1") -> dict[str, object]:
        push = self.push(name)
        layers = [push.blob(gzip.compress(BASE), GZIP), push.blob(MIDDLE, PLAIN)]
        return push.image(tag, [*layers, push.blob(gzip.compress(TOP), DOCKER_GZIP)])


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    root = tmp_path_factory.mktemp("registry")
    with registry(root, htpasswd(root)) as host:
        login = docker_config(root / "config.json", host, "me", "sesame")
        yield Shelf(host, {"KSERVE_OCI_INSECURE_REGISTRY": "true", "KSERVE_OCI_DOCKER_CONFIG": login}, root)


@pytest.mark.parametrize("scheme", ["oci", "oci+fetch", "oci+native"])
def test_a_modelcar_image_gives_its_models_folder_as_the_top_layer_left_it(
    shelf: Shelf, tmp_path: Path, scheme: str
) -> None:
    made = shelf.modelcar("acme/car")
    uri = f"{scheme}://{shelf.host}/acme/car:v1"
    _, listing = resolve(uri, shelf.env)
    assert listing.revision == made["digest"] and all(f.sha256 for f in listing.files)
    for again in (False, True):
        report = pull_to(uri, tmp_path / "out", env=shelf.env, settings=Settings())
        assert tree_of(tmp_path / "out") == MODEL
        assert (report.bytes_network == 0) is again


def test_a_tag_that_moves_brings_the_new_image_though_layers_are_shared(shelf: Shelf, tmp_path: Path) -> None:
    shelf.modelcar("acme/moves", "latest")
    uri = f"oci://{shelf.host}/acme/moves"
    pull_to(uri, tmp_path / "out", env=shelf.env, settings=Settings())
    push = shelf.push("acme/moves")
    layers = [push.blob(gzip.compress(BASE), GZIP), push.blob(tar(("models/config.json", b"new")), PLAIN)]
    push.image("latest", layers)
    pull_to(uri, tmp_path / "out", env=shelf.env, settings=Settings())
    assert (tmp_path / "out" / "config.json").read_bytes() == b"new"


def test_a_digest_pins_and_patterns_choose_inside_the_layers(shelf: Shelf, tmp_path: Path) -> None:
    digest = shelf.modelcar("acme/pinned")["digest"]
    uri = f"oci://{shelf.host}/acme/pinned@{digest}"
    env = {**shelf.env, "STORAGE_ALLOW_PATTERNS": "*.bin,sub/", "STORAGE_IGNORE_PATTERNS": "weights*"}
    with pytest.raises(Damaged, match="link"):  # its only other name is not wanted
        pull_to(uri, tmp_path / "out", env=env, settings=Settings())
    env["STORAGE_IGNORE_PATTERNS"] = "copy*"
    pull_to(uri, tmp_path / "out", env=env, settings=Settings())
    assert set(tree_of(tmp_path / "out")) == {"weights.bin", "sub/new.txt"}
    env["STORAGE_ALLOW_PATTERNS"] = "*.onnx"
    with pytest.raises(Absent):
        pull_to(uri, tmp_path / "none", env=env, settings=Settings())
    report = pull_to(uri, tmp_path / "none", env=shelf.env, settings=Settings())
    assert report.bytes_network == 0 and tree_of(tmp_path / "none") == MODEL  # the layers had waited
    assert not list((tmp_path / "none" / ".forebay-parts").glob("archive-*"))


@contextmanager
def agent(root: Root) -> Iterator[None]:
    """Grants every request for room, as a node's agent with an empty disk does."""
    stop = threading.Event()

    def grant() -> None:
        while not stop.wait(0.005):
            for said in reservations.find_all(root):
                reservations.answer(root, said.id, "granted", "")

    thread = threading.Thread(target=grant)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_an_image_lands_in_the_cache_as_verified_files(shelf: Shelf, tmp_path: Path) -> None:
    made = shelf.modelcar("acme/cached")
    root = open_root(tmp_path / "cache")
    with agent(root):
        manifest = pull_cached(
            f"oci://{shelf.host}/acme/cached:v1", {**shelf.env, "FOREBAY_CACHE_ROOT": str(tmp_path / "cache")}
        )
    assert manifest.revision == made["digest"] and all(f.promised for f in manifest.files)
    for file in manifest.files:
        assert root.layout.blob(file.sha256).read_bytes() == MODEL[file.path]
    assert len(manifest.files) == len(MODEL)


def test_an_index_gives_the_image_for_this_machine_and_never_an_attestation(
    shelf: Shelf, tmp_path: Path
) -> None:
    push = shelf.push("acme/index")
    images = []
    for system, body in (("unknown", b"no"), ("amd64", b"amd"), ("arm64", b"arm")):
        made = push.image(f"x-{system}", [push.blob(tar(("models/m.bin", body)), PLAIN)])
        where = {"os": "unknown" if system == "unknown" else "linux", "architecture": system}
        images.append({**made, "platform": where})
    proof = push.image("x-proof", [push.blob(tar(("models/m.bin", b"proof")), PLAIN)])
    notes = {"vnd.docker.reference.type": "attestation-manifest"}
    platform = {"os": "linux", "architecture": "s390x"}
    images.insert(0, {**proof, "platform": platform, "annotations": notes})
    index = "application/vnd.oci.image.index.v1+json"
    push.manifest("v1", {"schemaVersion": 2, "mediaType": index, "manifests": images})
    for platform, body in (("linux/arm64", b"arm"), ("linux/s390x", b"amd")):
        env = {**shelf.env, "FOREBAY_OCI_PLATFORM": platform}
        out = tmp_path / platform.replace("/", "-")
        pull_to(f"oci://{shelf.host}/acme/index:v1", out, env=env, settings=Settings())
        assert tree_of(out) == {"m.bin": body}


def test_an_artifact_may_hold_a_packed_folder_beside_files(shelf: Shelf, tmp_path: Path) -> None:
    push = shelf.push("acme/artifact")
    title = "org_opencontainers_image_title"
    folder = push.blob(gzip.compress(tar(("tok", ""), ("tok/a.json", b"[]"))), GZIP,
                       **{title: "tok", "io_deis_oras_content_unpack": "true"})  # fmt: skip
    push.image("v1", [push.blob(WEIGHTS, PLAIN, **{title: "w.bin"}), folder], "empty")
    for _ in range(2):
        report = pull_to(
            f"oci://{shelf.host}/acme/artifact:v1", tmp_path / "out", env=shelf.env, settings=Settings()
        )
        assert tree_of(tmp_path / "out") == {"w.bin": WEIGHTS, "tok/a.json": b"[]"}
    assert report.bytes_network == 0


@pytest.mark.parametrize(("entries", "error"), [
    ((("models/../../escape", b"x"),), Invalid),
    ((("models/a", b"x"), ("models/A", b"y")), Invalid),
    ((("models/link", "->/etc/passwd"),), Damaged),
    ((("models/hard", "=>etc/passwd"),), Damaged),
    ((("weights/a", b"x"),), Absent),
])  # fmt: skip
def test_what_is_wrong_in_a_layer_publishes_nothing(
    shelf: Shelf, tmp_path: Path, entries: tuple[tuple[str, bytes | str], ...], error: type[Exception]
) -> None:
    push = shelf.push("acme/wrong")
    push.image("v1", [push.blob(tar(*entries), PLAIN)])
    with pytest.raises(error):
        pull_to(f"oci://{shelf.host}/acme/wrong:v1", tmp_path / "out", env=shelf.env, settings=Settings())
    assert tree_of(tmp_path / "out") == {} and not (tmp_path / "escape").exists()


@pytest.mark.parametrize(("media", "says"), [
    ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "encrypted"),
    ("application/x-thing", "no file name"),
])  # fmt: skip
def test_layers_that_cannot_be_unpacked_are_refused_before_a_byte_moves(
    shelf: Shelf, media: str, says: str
) -> None:
    push = shelf.push("acme/odd")
    push.image("v1", [push.blob(b"xyz", media)])
    with pytest.raises(Invalid, match=says):
        resolve(f"oci://{shelf.host}/acme/odd:v1", shelf.env)


def test_what_lies_beside_the_layers_of_an_image_is_none_of_the_model(shelf: Shelf, tmp_path: Path) -> None:
    """KServe passes over it, too; the whole image was refused."""
    push = shelf.push("acme/attested")
    layer = push.blob(tar(("models/w.bin", b"w")), PLAIN)
    push.image("v1", [push.blob(b"{}", "application/vnd.in-toto+json"), layer])
    pull_to(f"oci://{shelf.host}/acme/attested:v1", tmp_path, env=shelf.env, settings=Settings())
    assert tree_of(tmp_path) == {"w.bin": b"w"}


def test_without_a_login_the_message_says_where_to_put_one(shelf: Shelf) -> None:
    shelf.modelcar("acme/private")
    with pytest.raises(Denied, match="KSERVE_OCI_DOCKER_CONFIG"):
        resolve(f"oci://{shelf.host}/acme/private:v1", {"KSERVE_OCI_INSECURE_REGISTRY": "true"})


def test_plain_http_is_spoken_only_when_it_is_asked_for(shelf: Shelf) -> None:
    env = {name: value for name, value in shelf.env.items() if "INSECURE" not in name}
    with pytest.raises(Unavailable, match="KSERVE_OCI_INSECURE_REGISTRY=true"):
        resolve(f"oci://{shelf.host}/acme/car:v1", env)


def test_logins_are_found_where_docker_kubernetes_and_podman_put_them(shelf: Shelf) -> None:
    shelf.modelcar("acme/logins")
    uri, bare = f"oci://{shelf.host}/acme/logins:v1", {"KSERVE_OCI_INSECURE_REGISTRY": "true"}
    config = json.loads((shelf.root / "config.json").read_text())
    folder = shelf.root / "logins"
    places = {"home/.docker/config.json": {"HOME": f"{folder}/home"},
              "d/config.json": {"DOCKER_CONFIG": f"{folder}/d"},
              "s/.dockerconfigjson": {"DOCKER_CONFIG": f"{folder}/s"},
              "auth.json": {"REGISTRY_AUTH_FILE": f"{folder}/auth.json"}}  # fmt: skip
    for name, env in places.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(config))
        assert resolve(uri, bare | env)[1].files
    # the most particular entry wins, as for kubelet and podman
    wrong = {
        shelf.host: {"username": "me", "password": "wrong"},
        f"{shelf.host}/acme": config["auths"][shelf.host],
    }
    (folder / "auth.json").write_text(json.dumps({"auths": wrong}))
    assert resolve(uri, bare | places["auth.json"])[1].files


def test_tokens_are_fetched_and_renewed_as_the_registry_demands(tmp_path: Path) -> None:
    with TokenServer(tmp_path, "me", "sesame") as tokens, registry(tmp_path / "r", tokens.section) as host:
        push = Pusher(f"http://{host}", "acme/token", tokens.bearer("acme/token", "pull,push"))
        push.image("v1", [push.blob(tar(("models/w.bin", WEIGHTS)), PLAIN)])
        uri, env = f"oci://{host}/acme/token:v1", {"KSERVE_OCI_INSECURE_REGISTRY": "true"}
        with pytest.raises(Denied, match="no login"):
            resolve(uri, env)
        env["KSERVE_OCI_DOCKER_CONFIG"] = docker_config(tmp_path / "bad.json", host, "me", "wrong0000")
        with pytest.raises(Denied, match="of me") as caught:
            resolve(uri, env)
        assert "wrong0000" not in caught.value.message
        env["KSERVE_OCI_DOCKER_CONFIG"] = docker_config(tmp_path / "good.json", host, "me", "sesame")
        pull_to(uri, tmp_path / "out", env=env, settings=Settings())
        assert tree_of(tmp_path / "out") == {"w.bin": WEIGHTS}
        config = {"auths": {host: {"identitytoken": "refresh-1"}}}
        (tmp_path / "id.json").write_text(json.dumps(config))
        env["KSERVE_OCI_DOCKER_CONFIG"] = str(tmp_path / "id.json")
        assert resolve(uri, env)[1].files
