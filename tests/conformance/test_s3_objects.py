"""S3's objects: odd names, many of them, versions, checksums, other regions, and the right to read."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote_plus, unquote, urlsplit

import pytest

from forebay.engines.fileserver import Reply, Request
from forebay.errors import Absent, Damaged, Denied
from forebay.kit.crc import Crc32c, Crc64Nvme
from forebay.pull import Settings, pull_to
from forebay.sources.s3 import S3Source
from forebay.sources.table import resolve
from tests.conformance import origins
from tests.conformance.clouds import seaweed_origin
from tests.conformance.origins import Origin, s3_origin
from tests.conformance.test_http import ranged, serving
from tests.conformance.test_sources import ORIGINS, tree_of

BODY = bytes(range(253)) * 4000


@pytest.fixture(scope="module", params=[pytest.param(s3_origin, marks=ORIGINS["s3"][1:], id="nanio"),
                                        pytest.param(seaweed_origin, marks=ORIGINS["s3-seaweedfs"][1:],
                                                     id="seaweedfs")])  # fmt: skip
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    root = tmp_path_factory.mktemp("s3") / "root"
    root.mkdir()
    with request.param(root) as origin:
        yield origin


SEAWEED = pytest.mark.parametrize(
    "server", [pytest.param(seaweed_origin, marks=ORIGINS["s3-seaweedfs"][1:])], indirect=True
)


@pytest.fixture
def client(server: Origin) -> Iterator[object]:
    keys = {"NANIO_ACCESS_KEY": server.env["AWS_ACCESS_KEY_ID"],
            "NANIO_SECRET_KEY": server.env["AWS_SECRET_ACCESS_KEY"]}  # fmt: skip
    made = origins._client(server.env["AWS_ENDPOINT_URL"], keys)
    yield made
    made.close()


ODD = [
    "a b",
    "100%",
    "tök 模",
    "q?x=1&y#z",
    "<&>",
    "it's",
    "~t-i.l_de",
    "a=b;c,d",
    "(1)[2]{3}",
    "empty",
]


def test_names_with_odd_characters_come_as_they_are(server: Origin, client: object, tmp_path: Path) -> None:
    want = {f"x/{name}": b"" if name == "empty" else name.encode() for name in ODD}
    for name, body in want.items():
        client.put_object(Bucket="models", Key=f"odd/{name}", Body=body)  # type: ignore[attr-defined]
    pull_to("s3://models/odd", tmp_path / "all", env=server.env, settings=Settings())
    assert tree_of(tmp_path / "all") == want
    for place, name in enumerate(ODD):
        pull_to(f"s3://models/odd/x/{name}", tmp_path / str(place), env=server.env, settings=Settings())
        assert tree_of(tmp_path / str(place)) == {name: want[f"x/{name}"]}


def test_a_prefix_is_a_folder_or_one_object_never_the_beginning_of_a_name(
    server: Origin, client: object
) -> None:
    for name in ("pre/w.bin", "pre/w.bin.bak", "prefix/w.bin", "pre/sub/x"):
        client.put_object(Bucket="models", Key=name, Body=b"1")  # type: ignore[attr-defined]
    found = {uri: {f.path for f in resolve(f"s3://models/{uri}", server.env)[1].files}
             for uri in ("pre", "pre/", "pre/w.bin", "pre/sub")}  # fmt: skip
    both = {"w.bin", "w.bin.bak", "sub/x"}
    assert found == {"pre": both, "pre/": both, "pre/w.bin": {"w.bin"}, "pre/sub": {"x"}}
    with pytest.raises(Absent):
        resolve("s3://models/pr", server.env)


def test_an_object_of_several_parts_has_no_md5_and_comes_whole(
    server: Origin, client: object, tmp_path: Path
) -> None:
    parts = [bytes([n]) * (5 << 20) for n in (1, 2)]
    made = client.create_multipart_upload(Bucket="models", Key="parts/w.bin")  # type: ignore[attr-defined]
    at = {"Bucket": "models", "Key": "parts/w.bin", "UploadId": made["UploadId"]}
    sent = [client.upload_part(**at, PartNumber=n, Body=body) for n, body in enumerate(parts, 1)]  # type: ignore[attr-defined]
    listed = [{"PartNumber": n, "ETag": item["ETag"]} for n, item in enumerate(sent, 1)]
    client.complete_multipart_upload(**at, MultipartUpload={"Parts": listed})  # type: ignore[attr-defined]
    _, listing = resolve("s3://models/parts", server.env)
    assert "-" in listing.files[0].etag and not listing.files[0].md5
    pull_to("s3://models/parts", tmp_path / "out", env=server.env, settings=Settings())
    assert tree_of(tmp_path / "out") == {"w.bin": b"".join(parts)}


@SEAWEED
def test_a_version_of_a_versioned_bucket_stays_what_it_was(
    server: Origin, client: object, tmp_path: Path
) -> None:
    states = {"Status": "Enabled"}
    client.put_bucket_versioning(Bucket="models", VersioningConfiguration=states)  # type: ignore[attr-defined]
    made = {}
    for body in (b"first", b"other!"):
        answer = client.put_object(Bucket="models", Key="kept/w.bin", Body=body)  # type: ignore[attr-defined]
        made[answer["VersionId"]] = body
    for version, body in made.items():
        uri = f"s3://models/kept/w.bin?versionId={version}"
        pull_to(uri, tmp_path / version, env=server.env, settings=Settings())
        assert tree_of(tmp_path / version) == {"w.bin": body}
    assert tree_of_pull("s3://models/kept", tmp_path / "now", server.env) == {"w.bin": b"other!"}


@SEAWEED
def test_more_than_a_thousand_objects_are_all_listed(server: Origin, client: object) -> None:
    count = 1003
    for number in range(count):
        client.put_object(Bucket="models", Key=f"many/{number:04}", Body=b"")  # type: ignore[attr-defined]
    assert len(resolve("s3://models/many", server.env)[1].files) == count


def tree_of_pull(uri: str, out: Path, env: dict[str, str]) -> dict[str, bytes]:
    pull_to(uri, out, env=env, settings=Settings())
    return tree_of(out)


# --- what no server here does: answered by the service's documentation ---


class Bucket:
    """One bucket with one object `team/w.bin` in parts; `more` are headers of its HEAD and GET."""

    def __init__(self, more: dict[str, str] | None = None) -> None:
        self.more, self.body, self.algorithm = more or {}, BODY, "CRC64NVME"
        self.seen: list[Request] = []
        self.refuse: Callable[[Request], Reply | None] = lambda _: None
        self.extra, self.etag = "", "abc-2"

    def __call__(self, request: Request) -> Reply:
        self.seen.append(request)
        refused = self.refuse(request)
        if refused is not None:
            return refused
        if "list-type" not in request.target:
            return ranged(request, self.body, {"ETag": '"abc-2"', **self.more})
        size, algorithm = len(BODY), f"<ChecksumAlgorithm>{self.algorithm}</ChecksumAlgorithm>"
        entry = (f"<Contents><Key>team/w.bin</Key><Size>{size}</Size><ETag>&quot;{self.etag}&quot;</ETag>"
                 f"{algorithm}</Contents>")  # fmt: skip
        return Reply(200, {}, f"<ListBucketResult>{entry}{self.extra}</ListBucketResult>".encode())


def crc(kind: type[Crc32c] | type[Crc64Nvme], body: bytes) -> bytes:
    made = kind()
    made.update(memoryview(body))
    return bytes.fromhex(made.hexdigest())


SUMS = {"sha256": lambda b: hashlib.sha256(b).digest(), "crc32": lambda b: zlib.crc32(b).to_bytes(4, "big"),
        "crc32c": lambda b: crc(Crc32c, b), "crc64nvme": lambda b: crc(Crc64Nvme, b)}  # fmt: skip


def anonymous(url: str, **more: str) -> dict[str, str]:
    return {"AWS_ENDPOINT_URL": url, "awsAnonymousCredential": "true", **more}


@pytest.mark.parametrize("name", SUMS)
def test_a_checksum_of_the_whole_object_is_checked(tmp_path: Path, name: str) -> None:
    bucket = Bucket({f"x-amz-checksum-{name}": base64.b64encode(SUMS[name](BODY)).decode(),
                     "x-amz-checksum-type": "FULL_OBJECT"})  # fmt: skip
    with serving(bucket) as server:
        env = anonymous(server.url)
        assert tree_of_pull("s3://bucket/team", tmp_path / "out", env) == {"w.bin": BODY}
        assert any(r.headers.get("x-amz-checksum-mode") == "ENABLED" for r in bucket.seen)
        bucket.body = BODY[:1000] + b"!" + BODY[1001:]
        with pytest.raises(Damaged):
            tree_of_pull("s3://bucket/team", tmp_path / "bad", env)
    assert tree_of(tmp_path / "bad") == {}


@pytest.mark.parametrize("more", [
    {"x-amz-checksum-crc32": "AAAAAA==-2", "x-amz-checksum-type": "COMPOSITE"},
    {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-type": "COMPOSITE"},
    {"x-amz-checksum-crc32c": "AAAAAA==-2"},
    {"x-amz-checksum-sha256": "%%%"},
])  # fmt: skip
def test_a_checksum_over_checksums_promises_nothing_about_the_bytes(
    tmp_path: Path, more: dict[str, str]
) -> None:
    with serving(Bucket(more)) as server:
        assert tree_of_pull("s3://bucket/team", tmp_path / "out", anonymous(server.url)) == {"w.bin": BODY}


@pytest.mark.parametrize("kind", ["aws:kms", "aws:kms:dsse", "AES256"])
@pytest.mark.parametrize("names", [("w.bin",), ("a.json", "b.json", "c.json")], ids=["large", "small"])
def test_the_etag_of_an_object_under_a_key_of_its_own_is_no_md5(
    tmp_path: Path, names: tuple[str, ...], kind: str
) -> None:
    """32 hex digits they are all the same; only the answer to a GET says so. Under Amazon's own key they are
    the MD5, and what differs from it is damaged."""
    etag = "0123456789abcdef" * 2
    entries = "".join(f"<Contents><Key>team/{name}</Key><Size>{len(BODY)}</Size>"
                      f"<ETag>&quot;{etag}&quot;</ETag></Contents>" for name in names)  # fmt: skip

    def answer(request: Request) -> Reply:
        if "list-type" in request.target:
            return Reply(200, {}, f"<ListBucketResult>{entries}</ListBucketResult>".encode())
        return ranged(request, BODY, {"ETag": f'"{etag}"', "x-amz-server-side-encryption": kind})

    with serving(answer) as server:
        env = anonymous(server.url)
        if kind == "AES256":
            with pytest.raises(Damaged, match="md5 is"):
                tree_of_pull("s3://bucket/team", tmp_path / "out", env)
        else:
            assert tree_of_pull("s3://bucket/team", tmp_path / "out", env) == dict.fromkeys(names, BODY)


def test_small_objects_under_amazons_own_key_come_once(tmp_path: Path) -> None:
    """Amazon encrypts every object and says so in every answer: that alone is no reason to ask twice."""
    small, asked = BODY[:5000], list[Request]()
    entries = "".join(
        f"<Contents><Key>team/{n}.json</Key><Size>{len(small)}</Size>"
        f"<ETag>&quot;{hashlib.md5(small).hexdigest()}&quot;</ETag></Contents>"
        for n in range(9)
    )

    def answer(request: Request) -> Reply:
        if "list-type" in request.target:
            return Reply(200, {}, f"<ListBucketResult>{entries}</ListBucketResult>".encode())
        asked.extend([request] if request.method == "GET" else [])
        return ranged(request, small, {"x-amz-server-side-encryption": "AES256"})

    with serving(answer) as server:
        assert len(tree_of_pull("s3://bucket/team", tmp_path / "out", anonymous(server.url))) == 9
    assert len(asked) == 9


@pytest.mark.parametrize("said", ["header", "body"])
def test_a_bucket_in_another_region_is_asked_there(tmp_path: Path, said: str) -> None:
    """Amazon answers 301 without an address, or 400, and names the region; signatures carry it."""
    bucket = Bucket()

    def elsewhere(request: Request) -> Reply | None:
        if "/eu-central-1/" in request.headers.get("authorization", ""):
            return None
        if said == "header":
            return Reply(301, {"x-amz-bucket-region": "eu-central-1"})
        text = "<Code>AuthorizationHeaderMalformed</Code><Region>eu-central-1</Region>"
        return Reply(400, {}, b"" if request.method == "HEAD" else f"<Error>{text}</Error>".encode())

    bucket.refuse = elsewhere
    with serving(bucket) as server:
        env = {"AWS_ENDPOINT_URL": server.url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        assert tree_of_pull("s3://bucket/team", tmp_path / "out", env) == {"w.bin": BODY}
    assert sum("/us-east-1/" in r.headers.get("authorization", "") for r in bucket.seen) == 1


def test_amazons_own_address_follows_the_region(tmp_path: Path) -> None:
    bucket, hosts = Bucket(), []

    def elsewhere(request: Request) -> Reply | None:
        hosts.append(urlsplit(request.target).hostname)
        here = "eu-north-1" in str(hosts[-1])
        return None if here else Reply(301, {"x-amz-bucket-region": "eu-north-1"})

    bucket.refuse = elsewhere
    with serving(bucket) as proxy:
        env = {"awsAnonymousCredential": "1", "http_proxy": proxy.url, "AWS_DEFAULT_REGION": "us-west-2",
               "AWS_ENDPOINT_URL": "http://s3.us-west-2.amazonaws.com"}  # fmt: skip
        source = S3Source(env)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("forebay.sources.s3env._amazon", lambda region: f"http://s3.{region}.amazonaws.com")
            listing = source.resolve("s3://bucket/team")
    assert hosts[0] == "bucket.s3.us-west-2.amazonaws.com" and set(hosts[1:]) == {
        "bucket.s3.eu-north-1.amazonaws.com"
    }
    assert listing.endpoint == ""  # the same model, wherever its bucket lives
    assert "eu-north-1" in source.request(listing, listing.files[0]).url


@pytest.mark.parametrize("etag", ["abc-2", "0123456789abcdef" * 2], ids=["in-parts", "md5"])
def test_who_may_list_but_not_read_is_denied_when_it_is_resolved(tmp_path: Path, etag: str) -> None:
    bucket = Bucket()
    bucket.etag = etag
    bucket.refuse = lambda request: None if "list-type" in request.target else Reply(403)
    with serving(bucket) as server, pytest.raises(Denied, match=r"team/w\.bin"):
        resolve("s3://bucket/team", anonymous(server.url))


def test_who_may_read_but_not_list_gets_the_one_object(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.refuse = lambda request: Reply(403) if "list-type" in request.target else None
    with serving(bucket) as server:
        env = anonymous(server.url)
        assert tree_of_pull("s3://bucket/team/w.bin", tmp_path / "out", env) == {"w.bin": BODY}
        with pytest.raises(Denied, match="awsAnonymousCredential"):
            resolve("s3://bucket/team/", env)


def test_the_requester_pays_when_told_so(tmp_path: Path) -> None:
    bucket = Bucket()

    def unpaid(request: Request) -> Reply | None:
        paid = request.headers.get("x-amz-request-payer") == "requester"
        signed = "x-amz-request-payer" in request.headers.get("authorization", "")
        return None if paid and signed else Reply(403)

    bucket.refuse = unpaid
    with serving(bucket) as server:
        env = {"AWS_ENDPOINT_URL": server.url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        with pytest.raises(Denied):
            resolve("s3://bucket/team", env)
        env["AWS_REQUEST_PAYER"] = "requester"
        assert tree_of_pull("s3://bucket/team", tmp_path / "out", env) == {"w.bin": BODY}


def test_folder_markers_and_leading_slashes(tmp_path: Path) -> None:
    """Keys that servers here refuse, but Amazon stores; in pages of two, with a token of odd characters."""
    keys: dict[str, bytes] = {"/lead/": b"", "/lead/w.bin": b"lead", "team/a+b": b"plus",
                              "team/%41": b"%", "team/": b"", "team/sub/": b"",
                              "team/sub/x": b""}  # fmt: skip

    def answer(request: Request) -> Reply:
        parts = urlsplit(request.target)
        query = {n: v[0] for n, v in parse_qs(parts.query).items()}
        if "list-type" not in query:
            body = keys.get(unquote(parts.path).removeprefix("/bucket/"))
            return Reply(404) if body is None else ranged(request, body, {"ETag": '"e-1"'})
        found = [key for key in keys if key.startswith(query.get("prefix", ""))]
        start = int(query.get("continuation-token", "+0/=").strip("+/="))
        more = f"<NextContinuationToken>+{start + 2}/=</NextContinuationToken><IsTruncated>true</IsTruncated>"
        more = more if start + 2 < len(found) else "<IsTruncated>false</IsTruncated>"
        found = found[start : start + 2]
        entries = "".join(
            f"<Contents><Key>{quote_plus(k)}</Key><Size>{len(keys[k])}</Size></Contents>" for k in found
        )
        return Reply(200, {}, f"<R><EncodingType>url</EncodingType>{more}{entries}</R>".encode())

    with serving(answer) as server:
        env = anonymous(server.url)
        assert tree_of_pull("s3://bucket/team", tmp_path / "a", env) == {
            "a+b": b"plus",
            "%41": b"%",
            "sub/x": b"",
        }
        assert tree_of_pull("s3://bucket//lead", tmp_path / "b", env) == {"w.bin": b"lead"}
        # What would be an absolute path loses its slash, as with KServe.
        paths = {f.path for f in resolve("s3://bucket/", env)[1].files}
        assert paths == {"lead/w.bin", "team/a+b", "team/%41", "team/sub/x"}


def test_a_bucket_with_dots_is_named_in_the_path_over_tls() -> None:
    url = S3Source({"awsAnonymousCredential": "1"})._url("a.b", "k", {})
    assert url == "https://s3.us-east-1.amazonaws.com/a.b/k"
    assert (
        S3Source({"AWS_REGION": "cn-north-1"})
        ._url("ab", "k", {})
        .startswith("https://ab.s3.cn-north-1.amazonaws.com.cn/")
    )


def test_settings_of_kserve_choose_profile_less_keys_first(tmp_path: Path) -> None:
    """STORAGE_CONFIG's `anonymous` and `region`, as storage.parameters give them."""
    bucket = Bucket()
    with serving(bucket) as server:
        config = {"type": "s3", "endpoint_url": server.url, "anonymous": "true", "region": "eu-west-1",
                  "verify_ssl": "false"}  # fmt: skip
        env = {
            "STORAGE_OVERRIDE_CONFIG": json.dumps(config),
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "y",
        }
        assert tree_of_pull("s3://bucket/team", tmp_path / "out", env) == {"w.bin": BODY}
    assert all("authorization" not in request.headers for request in bucket.seen)
