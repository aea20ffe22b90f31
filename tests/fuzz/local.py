"""What we read from a disk that may have crashed, and files that people wrote."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import suppress
from pathlib import Path

from forebay.cache import damage, entitled, manifest, pins, reservations, verify
from forebay.cache.layout import Layout
from forebay.cache.root import Root, open_root
from forebay.errors import Damaged, ForebayError, Invalid
from forebay.node import sight
from forebay.pull import cached, folder, journal
from forebay.sources import archives, dockerconfig, gcsauth, http, layers
from forebay.sources.types import Listing, RemoteFile

_WORK = tempfile.TemporaryDirectory()
_HERE = Path(_WORK.name)
LAYOUT = Layout(Path("/nowhere"))


def journals(data: bytes) -> None:
    """The journal beside a part, after any crash."""
    assert journal.decode(data) is None or data[:16].isalnum()
    entry = journal.decode(journal.sealed(data))  # else the search would never get past the checksum
    if entry is not None:
        assert all(0 <= a < b for a, b in entry.done)
        assert journal.decode(journal.encode(entry)) == entry


def manifests(data: bytes) -> None:
    """A manifest of the cache: what is loaded names blobs that can be."""
    try:
        seen = manifest.load(data, "a manifest")
    except Damaged:
        return
    for file in seen.files:
        assert not file.path.startswith("/") and ".." not in file.path.split("/")
        assert LAYOUT.blob(file.sha256) and file.size >= 0
    assert manifest.load(seen.dump(), "its dump") == seen


def notes(data: bytes) -> None:
    """The cache's small files: reservations, pins, entitlements, notes on damage, what a pull observed, how
    far a check was, who had to go and what was collected."""
    root = _root()
    layout = root.layout
    known = layout.part_known("key")
    known.mkdir(parents=True, exist_ok=True)
    places = (layout.reservations / "a.json", layout.pins / "a.json", layout.entitled / "a.json",
              layout.damaged / "a.note.json", known / "0.json", layout.ours / "checks" / "key.json",
              layout.evicted / "key.json", layout.collected)  # fmt: skip
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    for said in reservations.find_all(root):
        assert reservations.outstanding(root, said) >= 0
    assert all(isinstance(key, str) for key in pins.used_keys(root)) and pins.users(root, "key") is not None
    entitled.find_all(root)
    for note in damage.notes(root):
        assert LAYOUT.blob(note.digest)
    for file in cached._known(root, "key", "r").values():
        assert LAYOUT.blob(file.sha256) and file.size >= 0
    assert all(at >= 0 for at in verify._kept(root, "key").values())
    assert all(isinstance(who, str) for who in sight._evicted(root).values())
    assert isinstance(sight._collected(root).requested, str)


def records(data: bytes) -> None:
    """The record of a plain pull into a folder."""
    place = _HERE / "plain"
    (place / folder.PARTS).mkdir(parents=True, exist_ok=True)
    (place / folder.PARTS / "pulled.jsonl").write_bytes(data)
    file = RemoteFile("a.bin", 3, sha256=hashlib.sha256(b"abc").hexdigest())
    for unpack in (False, True):
        known = folder._Folder(place, Listing("http://h/a.bin", "r", (file,), unpack=unpack))
        assert not known.have(file)


def packs(data: bytes) -> None:
    """A tar or zip archive, and the layer of an image: what is unpacked lies below its folder, no link."""
    with tempfile.TemporaryDirectory(dir=_HERE) as name:
        here = Path(name)
        for suffix in (".tar", ".zip"):
            archive, into = here / f"a{suffix}", here / f"out{suffix}"
            archive.write_bytes(data)
            with suppress(ForebayError):
                _below(into, archives.unpack(archive, into, bytes_max=1 << 20))
        layer = RemoteFile("a.tar", len(data))
        listing = Listing("oci://r/a", "r", (layer,), unpack=True, folder="models")
        with suppress(ForebayError):
            _below(here / "image", layers.unpack_listing(listing, {"a.tar": here / "a.tar"}, here / "image"))
        assert {p.name for p in here.iterdir()} <= {"a.tar", "a.zip", "out.tar", "out.zip", "image"}


def credentials(data: bytes) -> None:
    """A netrc file, a docker config, a service account's key, a variable with headers."""
    path = _HERE / "credentials"
    path.write_bytes(data)
    text = data.decode("latin-1").replace("\0", "")
    with suppress(Invalid):
        http._netrc({"NETRC": str(path)}, "origin.example")
    with suppress(Invalid):
        dockerconfig.login_for({"KSERVE_OCI_DOCKER_CONFIG": str(path)}, "origin.example", "a/b")
    with suppress(Invalid):
        http._host_headers({"origin.example-headers": text}, "origin.example")
    with suppress(ForebayError):
        gcsauth.authorization({"GOOGLE_APPLICATION_CREDENTIALS": str(path)}, None, emulated=False)


def _below(into: Path, paths: list[str]) -> None:
    for path in paths:
        assert not (into / path).is_symlink()
        assert (into / path).resolve().is_relative_to(into.resolve())


def _root() -> Root:
    return open_root(_HERE / "root")
