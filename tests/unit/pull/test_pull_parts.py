"""The pure corners of pulls: how many connections, limits, proxies, names of variables, words for people."""

from __future__ import annotations

import json
import threading

import pytest

from forebay.errors import Invalid
from forebay.pull.limits import Bucket, Limits
from forebay.pull.model import Report, Settings
from forebay.pull.show import explanation, limited_by, size_text, summary
from forebay.pull.tuner import Sight, Tuner
from forebay.sources.file import local_path
from forebay.sources.hf import parse
from forebay.sources.http import HttpSource
from forebay.sources.peer import peers_from
from forebay.sources.s3env import s3_settings
from forebay.sources.s3objects import parse as parse_s3
from forebay.sources.types import Listing, RemoteFile
from forebay.sources.wire.heads import headers_after, where
from forebay.sources.wire.proxy import proxy_for


def rate_of(connections: int, *, each: float, ceiling: float) -> float:
    return min(connections * each, ceiling)


def tuned(*, each: float, ceiling: float, network: float = 1.0, wanting: bool = True, start: int = 4) -> int:
    """Where a tuner ends up on a line where each connection brings `each` up to `ceiling`."""
    tuner, now, moved, spent = Tuner(start, 64), 100.0, 0, 0.0
    for _ in range(200):
        now += 0.1
        moved += int(rate_of(tuner.target, each=each, ceiling=ceiling) * 0.1)
        spent += 0.1
        tuner.seen(Sight(now, moved, wanting, spent * network, spent * (1 - network)))
    return tuner.target


def test_a_far_origin_gets_as_many_connections_as_pay() -> None:
    assert 16 <= tuned(each=75e6, ceiling=1.2e9) <= 32


def test_a_near_origin_keeps_one_connection_per_file() -> None:
    assert tuned(each=1e9, ceiling=1.5e9) == 4


def test_nobody_is_added_when_disk_or_hashing_is_what_is_waited_for() -> None:
    assert tuned(each=75e6, ceiling=1e12, network=0.3) == 4


def test_nobody_is_added_without_work() -> None:
    assert tuned(each=75e6, ceiling=1e12, wanting=False) == 4


def test_a_far_origin_gets_ten_at_once() -> None:
    tuner = Tuner(4, 64)
    assert tuner.seen(Sight(1.0, 0, True, 0, 0, round_trip_s=0.04)) == 10


def bursts(each: int, *, apart: float, seconds: float) -> list[int]:
    """The numbers of a tuner at a server that sends `each` bytes at once and then waits a second, for every
    connection by itself, begun `apart` of the one before."""
    tuner, now, moved, began, seen = Tuner(1, 64), 100.0, 0, [100.0], [1]
    while now < 100 + seconds:
        now += 0.1
        began += [now + apart * n for n in range(tuner.target - len(began))]
        due = (int(now - at + 1) - int(now - at + 0.9) for at in began[: tuner.target] if now > at)
        moved += each * sum(due)
        pace = each if now > 102 else 0.0
        seen.append(tuner.seen(Sight(now, moved, True, now * tuner.target, 0.0, pace=pace)))
    return seen


@pytest.mark.parametrize("apart", [0.0, 0.03, 0.3])
def test_a_server_that_throttles_each_connection_gets_many_soon(apart: float) -> None:
    """Its bursts, one a second, looked like growth that did not pay: a file came from two connections."""
    assert bursts(500_000, apart=apart, seconds=16)[-1] == 64


def far(pace: float) -> int:
    """Connections to an origin that is 40 ms away, with 40 MB of memory for four files, after some growth."""
    tuner, moved = Tuner(4, 64), 0
    for n in range(20):
        tuner.seen(Sight(n * 1.0, moved, True, n, 0, 0.04, room=40 << 20, files=4, pace=pace))
        moved += tuner.target * 10**9
    return tuner.target


def test_from_afar_only_as_many_as_memory_can_put_in_order() -> None:
    assert far(75e6) == 10  # each has 6 MB on the way, and the next 6 asked for
    assert far(25e6) == 22
    assert far(5e6) == 42


def test_growth_that_only_fills_the_disk_with_early_bytes_is_taken_back() -> None:
    tuner = Tuner(4, 64)
    tuner.seen(Sight(1.0, 0, True, 0, 0))
    assert tuner.seen(Sight(2.0, 10**9, True, 1, 0)) == 8
    assert tuner.seen(Sight(3.0, 3 * 10**9, True, 2, 0, spilled=10**9)) == 4


def test_nobody_is_added_while_bytes_come_too_early() -> None:
    tuner = Tuner(4, 64)
    tuner.seen(Sight(1.0, 0, True, 0, 0))
    assert tuner.seen(Sight(2.0, 10**9, True, 1, 0, spilled=10**9)) == 4


def test_a_busy_origin_halves_them_and_they_do_not_grow_at_once() -> None:
    tuner = Tuner(16, 64)
    tuner.seen(Sight(1.0, 0, True, 0, 0))
    assert tuner.slow_down(1.1) == 8
    assert tuner.seen(Sight(2.0, 10**9, True, 1, 0)) == 8


def test_a_bucket_lets_its_rate_through_and_not_more() -> None:
    now = [0.0]
    bucket = Bucket(1000, clock=lambda: now[0])
    for _ in range(50):
        now[0] += bucket.wait_s(100)
    assert 4.5 <= now[0] <= 5.1


def test_a_limit_that_yields_goes_down_and_comes_back() -> None:
    limits = Limits(1_000_000)
    limits.yield_to(80_000)
    assert limits.piece("any", 4 << 20) < 16_384
    limits.yield_to(None)
    assert limits.piece("any", 4 << 20) > 100_000
    assert Limits().piece("any", 4 << 20) == 4 << 20
    assert Limits(per_origin={"slow": 8e5}).piece("fast", 4 << 20) == 4 << 20
    assert Limits().wait("any", 1 << 30, threading.Event()) == 0


@pytest.mark.parametrize(("url", "env", "expected"), [
    ("http://a.example/x", {"http_proxy": "http://p:8080"}, ("p", 8080)),
    ("https://a.example/x", {"http_proxy": "http://p:8080"}, None),
    ("https://a.example/x", {"HTTPS_PROXY": "p:3128"}, ("p", 3128)),
    ("https://a.example/x", {"ALL_PROXY": "http://p"}, ("p", 80)),
    ("https://a.example/x", {"HTTPS_PROXY": "http://p", "NO_PROXY": "example"}, None),
    ("https://a.example/x", {"HTTPS_PROXY": "http://p", "NO_PROXY": ".example"}, None),
    ("https://aexample/x", {"HTTPS_PROXY": "http://p", "NO_PROXY": "example"}, ("p", 80)),
    ("https://a.example:8443/x", {"HTTPS_PROXY": "http://p", "NO_PROXY": "a.example:443"}, ("p", 80)),
    ("https://10.1.2.3/x", {"HTTPS_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8"}, None),
    ("https://a.example/x", {"HTTPS_PROXY": "http://p", "NO_PROXY": "*"}, None),
])  # fmt: skip
def test_proxies_are_chosen_as_curl_does(
    url: str, env: dict[str, str], expected: tuple[str, int] | None
) -> None:
    proxy = proxy_for(where(url), env)
    assert (None if proxy is None else (proxy.host, proxy.port)) == expected


@pytest.mark.parametrize("odd", ["http://p:abc", "http://[x", "p:99999", "socks5h://p", "http://"])
def test_an_address_that_is_none_is_a_setting_to_put_right(odd: str) -> None:
    """And no bug of ours, which a ValueError was taken for."""
    with pytest.raises(Invalid, match="check HTTP_PROXY") as refused:
        proxy_for(where("http://a.example/x"), {"http_proxy": odd.replace("://", "://me:sesame@")})
    assert "sesame" not in refused.value.message
    for ask in (
        lambda: peers_from({"FOREBAY_PEERS": odd}, Listing("u", "r", ()), "k"),
        lambda: s3_settings({"AWS_ENDPOINT_URL": odd if "://" in odd else f"http://{odd}"}),
        lambda: local_path(odd.replace("http", "file")),
    ):
        with pytest.raises(Invalid):
            ask()


def test_only_neutral_headers_cross_to_another_host_or_port() -> None:
    headers = {
        "Authorization": "Bearer x",
        "Cookie": "c",
        "X-Key": "k",
        "Range": "bytes=0-1",
        "User-Agent": "f",
    }
    here = where("https://hub.example/a")
    assert headers_after(headers, here, where("https://hub.example/b")) == headers
    for other in ("https://cdn.example/a", "https://hub.example:8443/a"):
        assert headers_after(headers, here, where(other)) == {"Range": "bytes=0-1", "User-Agent": "f"}


def test_hub_names() -> None:
    assert parse("hf://org/name") == parse("hf://org/name/") == ("org/name", "")
    assert parse("hf://org/na.me-1:refs/pr/1") == ("org/na.me-1", "refs/pr/1")
    for bad in ("hf://org", "hf://org/name/more", "hf://org/..", "hf://org/name:a b", "hf://-x/y"):
        with pytest.raises(Invalid):
            parse(bad)


def test_s3_names_and_settings() -> None:
    assert parse_s3("s3://b/k/x") == ("b", "k/x", "")
    assert parse_s3("s3://b/k?versionId=v1") == ("b", "k", "v1")
    amazon = s3_settings({"AWS_DEFAULT_REGION": "eu-west-1"})
    assert (amazon.endpoint, amazon.virtual) == ("https://s3.eu-west-1.amazonaws.com", True)
    kserve = s3_settings({"S3_ENDPOINT": "minio:9000", "S3_USE_HTTPS": "0", "awsAnonymousCredential": "true"})
    assert (kserve.endpoint, kserve.virtual, kserve.anonymous) == ("http://minio:9000", False, True)
    over = s3_settings({
        "STORAGE_CONFIG": '{"type": "s3", "endpoint_url": "http://a", "region": "x", "verify_ssl": "0"}',
        "STORAGE_OVERRIDE_CONFIG": '{"endpoint_url": "http://b"}',
    })  # fmt: skip
    assert (over.endpoint, over.region, over.verify) == ("http://b", "x", False)
    with pytest.raises(Invalid):
        s3_settings({"STORAGE_CONFIG": "[]"})


def test_a_region_or_a_path_does_not_make_another_host_amazons():
    """What comes from Amazon stands under a key that everybody shares."""
    for region in ("evil.example/", "x@evil.example/", "evil.example:9000/#", "x.y", "\n"):
        with pytest.raises(Invalid, match="is no region of Amazon's"):
            s3_settings({"STORAGE_CONFIG": json.dumps({"region": region})})
    assert not s3_settings({"AWS_ENDPOINT_URL": "https://evil.example/.amazonaws.com"}).is_default
    assert s3_settings({"AWS_ENDPOINT_URL": "https://s3.eu-west-1.amazonaws.com/"}).is_default


def test_credentials_in_an_address_become_a_header_and_leave_the_address() -> None:
    source = HttpSource({})
    request = source.request(
        Listing("u", "r", ()), RemoteFile("f", 1, locator="https://me:p%40ss@h.example/f")
    )
    assert request.url == "https://h.example/f" and request.headers["Authorization"] == "Basic bWU6cEBzcw=="
    assert "Basic" not in repr(request)


def test_settings_come_from_the_environment_and_refuse_nonsense() -> None:
    assert (
        Settings.from_env({"FOREBAY_PULL_CONNECTIONS": "7", "S3_CONNECT_TIMEOUT": "3"}).connections_max == 7
    )
    for bad in ("x", "-1", "nan"):
        with pytest.raises(Invalid, match="FOREBAY_PULL_CONNECTIONS"):
            Settings.from_env({"FOREBAY_PULL_CONNECTIONS": bad})


def test_a_report_tells_people_what_came_and_what_held_it_back() -> None:
    report = Report(files=3, bytes_total=4_300_000_000, bytes_by_origin={"hf": 4_300_000_000}, wall_s=2.5,
                    wall={"network": 1.5, "disk": 0.4, "hash": 0.6}, cpu_s=1.0)  # fmt: skip
    assert summary(report) == "3 files, verified and durable: 4.3 GB from hf; 2.5 s, 1.7 GB/s"
    assert limited_by(report) == ("network", "the network, or how fast the source sends (60 % of the time)")
    assert "receiving" in explanation(report) and "from hf: 4.3 GB" in explanation(report)
    assert summary(Report(files=2, files_had=2, wall_s=0.01)).startswith("2 files were there already")
    assert summary(Report(files=1, files_had=1, wall_s=0.01)).startswith("1 file was there already")
    assert size_text(999) == "999 B" and size_text(1500) == "1.5 kB"
