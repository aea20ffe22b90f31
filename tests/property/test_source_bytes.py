"""What registries, clouds and config files say is foreign: it is read, or refused in our own words, and no
path leads out of its folder."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.errors import ForebayError, Invalid
from forebay.sources import azure, gcs, oci
from forebay.sources.azureauth import Place, place_of
from forebay.sources.dockerconfig import login_for
from forebay.sources.layers import unpack_listing
from forebay.sources.oci import choose, files_of
from forebay.sources.paths import check_together
from forebay.sources.types import Listing, RemoteFile

DIGEST = "sha256:" + "a" * 64
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(-5, 1 << 40), st.text(max_size=12))
JSON = st.recursive(
    SCALAR, lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=6), c, max_size=3)
)
TITLE = st.text(alphabet=st.sampled_from("aB./\\:\x00 ü-"), max_size=8)
TAR = "application/vnd.oci.image.layer.v1.tar"
MEDIA = st.sampled_from([TAR, TAR + "+gzip", "application/vnd.cncf.model.weight.v1.tar", "x/y", "x/tar+zstd"])
DIGESTS = st.sampled_from([DIGEST, DIGEST[:-1] + "b", "md5:1"])
LAYER = st.fixed_dictionaries(
    {"digest": DIGESTS | SCALAR, "size": st.integers(-1, 99) | SCALAR},
    optional={"mediaType": MEDIA | SCALAR, "annotations": JSON | st.fixed_dictionaries(
        {"org.opencontainers.image.title": TITLE}, optional={"io.deis.oras.content.unpack": SCALAR})},
)  # fmt: skip


@given(st.one_of(JSON, st.fixed_dictionaries({"layers": st.lists(LAYER | JSON, max_size=4) | JSON})))
def test_any_manifest_is_files_with_safe_names_or_an_error_of_ours(manifest: object) -> None:
    if not isinstance(manifest, dict):
        return
    with contextlib.suppress(ForebayError):
        files, folder = files_of(manifest, "r/n@x")
        check_together(f.path for f in files)
        assert files and all(len(f.sha256) == 64 and f.size is not None and f.size >= 0 for f in files)
        assert folder in ("", "models") and (folder == "" or not any(f.plain for f in files))


@given(st.fixed_dictionaries({"manifests": st.lists(JSON, max_size=4) | JSON}))
def test_any_index_names_a_digest_or_is_refused(index: dict[str, object]) -> None:
    with contextlib.suppress(ForebayError):
        assert choose(index, "linux/amd64").startswith("sha256:")


@given(st.text(alphabet=st.sampled_from("aA1.-_/:@[]% "), max_size=30))
def test_any_reference_is_an_image_or_invalid(text: str) -> None:
    with contextlib.suppress(Invalid):
        image = oci.parse(f"oci://{text}")
        assert (
            image.name and ".." not in image.name and not image.name.startswith("/") and " " not in image.host
        )


@given(st.text(max_size=40))
def test_any_cloud_address_is_a_place_or_invalid(text: str) -> None:
    for scheme, env in (("az", {"AZURE_STORAGE_ACCOUNT": "acct"}), ("https", {})):
        with contextlib.suppress(Invalid):
            assert place_of(f"{scheme}://{text}", env).endpoint.startswith("https://")
    with contextlib.suppress(Invalid):
        assert "/" not in gcs.parse(f"gs://{text}")[0]


@given(st.dictionaries(st.sampled_from(["name", "size", "generation", "md5Hash", "contentEncoding"]), SCALAR))
def test_any_entry_of_a_bucket_is_a_file_or_an_error_of_ours(item: dict[str, object]) -> None:
    with contextlib.suppress(ForebayError):
        file = gcs._file(item, 0)
        assert file.size is None or file.size >= 0


SECTIONS = st.sampled_from(["auths", "credsStore", "credHelpers", "h.example"])
LOGINS = JSON | st.just({"h.example": {"auth": "bWU6eA=="}})


@given(
    st.binary(max_size=80)
    | (JSON | st.dictionaries(SECTIONS, LOGINS)).map(lambda body: json.dumps(body).encode())
)
@settings(deadline=None)
def test_any_docker_config_is_a_login_or_invalid(body: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_bytes(body)
        with contextlib.suppress(Invalid):
            login_for({"DOCKER_CONFIG": folder}, "h.example", "a/b")


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda t: f"<R><Blobs>{t}</Blobs></R>".encode()))
def test_any_listing_of_blobs_is_read_or_refused(body: bytes) -> None:
    from xml.etree import ElementTree

    place = Place("https://a.example", "acct", "c", "")
    with contextlib.suppress(ElementTree.ParseError):
        for item in ElementTree.fromstring(body).iter("Blob"):
            with contextlib.suppress(ForebayError):
                azure._file(place, item, 0)


NAME = st.sampled_from(
    [
        "models/a",
        "models/b/c",
        "models/b",
        "models/.wh.a",
        "models/b/.wh..wh..opq",
        "models/A",
        "models/../../x",
        "/models/a",
        "models/.wh.",
        "models//a",
        "other",
        "./models/d",
        ".wh.models",
        "models",
        "models/b/../a",
    ]
)
ENTRY = st.tuples(NAME, st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]),
                  st.binary(max_size=20), NAME)  # fmt: skip


def tar_of(entries: list[tuple[str, bytes, bytes, str]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as pack:
        for name, kind, body, link in entries:
            item = tarfile.TarInfo(name)
            item.type, item.linkname = kind, link
            item.size = len(body) if kind == tarfile.REGTYPE else 0
            pack.addfile(item, io.BytesIO(body) if item.size else None)
    return out.getvalue()


def as_overlay(layers: list[list[tuple[str, bytes, bytes, str]]]) -> dict[str, bytes]:
    """What the layers mean, the plain way: from the lowest up, writing and deleting. Files only."""
    tree: dict[str, bytes] = {}
    for entries in layers:
        for name, _, _, _ in entries:  # whiteouts speak of what lies below, wherever they stand in the layer
            folder, _, last = name.rpartition("/")
            if last == ".wh..wh..opq":
                # The folder is there in this layer: it takes the place of a file, too.
                tree = {p: b for p, b in tree.items() if p != folder and not p.startswith(folder + "/")}
            elif last.startswith(".wh."):
                gone = f"{folder}/{last[4:]}".lstrip("/")
                tree = {p: b for p, b in tree.items() if p != gone and not p.startswith(gone + "/")}
        for name, _, body, _ in entries:
            if not name.rpartition("/")[2].startswith(".wh."):
                tree = {p: b for p, b in tree.items() if not p.startswith(name + "/")}
                parents = [name[:i] for i, c in enumerate(name) if c == "/"]
                tree = {p: b for p, b in tree.items() if p not in parents} | {name: body}
    return {p.removeprefix("models/"): b for p, b in tree.items() if p.startswith("models/")}


def unpacked(root: Path, layers: list[bytes]) -> dict[str, bytes]:
    held, files = {}, []
    for place, body in enumerate(layers):
        held[f"l{place}"] = root / f"l{place}"
        held[f"l{place}"].write_bytes(body)
        files.append(RemoteFile(f"l{place}", len(body), sha256=f"{place:064x}"))
    paths = unpack_listing(
        Listing("oci://x", "r", tuple(files), unpack=True, folder="models"), held, root / "out"
    )
    found = [p for p in root.rglob("*") if p.is_file() and p.parent != root]
    assert all(p.is_relative_to(root / "out") for p in found)
    assert sorted(paths) == sorted(p.relative_to(root / "out").as_posix() for p in found)
    return {path: (root / "out" / path).read_bytes() for path in paths}


@given(st.lists(st.binary(max_size=600) | st.lists(ENTRY, max_size=5).map(tar_of), min_size=1, max_size=3))
@settings(deadline=None)
def test_any_layers_stay_in_their_folder_or_are_refused(layers: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(ForebayError):
        unpacked(Path(folder), layers)


PLAIN = st.tuples(
    st.sampled_from(
        [
            "models/a",
            "models/b/c",
            "models/b/d",
            "models/b",
            "models/.wh.a",
            "models/.wh.b",
            "models/b/.wh..wh..opq",
            ".wh.models",
            "models/b/.wh.c",
            "x/y",
        ]
    ),
    st.just(tarfile.REGTYPE),
    st.binary(max_size=4),
    st.just(""),
)


@given(st.lists(st.lists(PLAIN, max_size=5, unique_by=lambda e: e[0]), min_size=1, max_size=4))
@settings(deadline=None, max_examples=150)
def test_layers_from_the_top_give_what_layers_from_the_bottom_mean(
    layers: list[list[tuple[str, bytes, bytes, str]]],
) -> None:
    for entries in layers:  # a layer in which a path is both file and folder does not come from a file system
        names = {e[0] for e in entries if "/.wh." not in e[0]}
        if any(f"{name}/" in other for name in names for other in names):
            return
    meant = as_overlay(layers)
    with tempfile.TemporaryDirectory() as folder:
        try:
            assert unpacked(Path(folder), [tar_of(entries) for entries in layers]) == meant
        except ForebayError:
            assert not meant
