"""Which bundle is trusted and which proxy is taken: tables over the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from forebay.errors import Invalid
from forebay.sources.settings import trust_from
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
