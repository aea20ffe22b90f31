"""Paths below a mount become real folders, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.home.kubelet.paths import Mounted, Translation

TRANSLATION = Translation([
    Mounted("/mnt/models", "/data/root/models/m1"), Mounted("/mnt/models/extra/", "/data/extra"),
    Mounted("/etc/app.conf", "/data/conf"), Mounted("/", "/data/whole"),
])  # fmt: skip


@pytest.mark.parametrize(
    ("text", "real"),
    [
        ("/mnt/models", "/data/root/models/m1"),
        ("/mnt/models/", "/data/root/models/m1/"),
        ("/mnt/models/a/b.gguf", "/data/root/models/m1/a/b.gguf"),
        ("--model_dir=/mnt/models", "--model_dir=/data/root/models/m1"),
        ("-m/mnt/models/a", "-m/data/root/models/m1/a"),
        ("/bin:/mnt/models/bin:/usr", "/bin:/data/root/models/m1/bin:/usr"),
        ("cp '/mnt/models/a' \"/mnt/models/b\"", "cp '/data/root/models/m1/a' \"/data/root/models/m1/b\""),
        ("file:///mnt/models/a", "file:///data/root/models/m1/a"),
        ("/mnt/models/extra/x", "/data/extra/x"),
        ("/mnt/models/extras", "/data/root/models/m1/extras"),
        ("cat /etc/app.conf;", "cat /data/conf;"),
        ("/mnt/models2", "/mnt/models2"),
        ("/mnt/models.bak", "/mnt/models.bak"),
        ("/srv/mnt/models", "/srv/mnt/models"),
        ("http://mnt/models", "http://mnt/models"),
        ("http://hub:80/mnt/models", "http://hub:80/mnt/models"),
        ("s3://bucket/mnt/models", "s3://bucket/mnt/models"),
        ("$(ROOT)/mnt/models", "$(ROOT)/mnt/models"),
        ("/", "/"),
        ("", ""),
    ],
)
def test_a_text(text: str, real: str) -> None:
    assert TRANSLATION.text(text) == real


@given(st.text("/mntodels=:. a", max_size=40))
def test_a_text_without_a_mount_path_stays_as_it_is(text: str) -> None:
    other = Translation([Mounted("/no/such", "/real")])
    assert other.text(text) == text
    assert Translation([]).text(text) == text


def test_a_real_path_that_contains_a_mount_path_is_not_translated_again() -> None:
    nested = Translation([Mounted("/data", "/data/nodes/n/root/data")])
    assert nested.text("/data/x") == "/data/nodes/n/root/data/x"


def test_a_probe_command_is_translated_and_an_http_path_is_not() -> None:
    assert TRANSLATION.probe({"exec": {"command": ["test", "-e", "/mnt/models/ok"]}}) == {
        "exec": {"command": ["test", "-e", "/data/root/models/m1/ok"]}
    }
    http = {"httpGet": {"path": "/mnt/models", "port": 80}}
    assert TRANSLATION.probe(http) == http
