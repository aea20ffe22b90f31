"""Manifests as people have them: what is wrong is told with its line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.cli.errors import of_the_system
from forebay.cli.manifests import read
from forebay.errors import Absent, Denied, Exhausted, ForebayError, Invalid, Unavailable

GOOD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: b\n c: d\n", "line 2, column 3: not YAML"), ('a: "b\n', "line 2, column 1: not YAML"),
        (GOOD + "---\nkind: x\n", "line 5: an object needs apiVersion and kind"),
        ("[1]", "line 1: an object needs"),
        ("apiVersion: v1\nkind: ConfigMap\n", "ConfigMap has no metadata.name"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: x\n", "ConfigMap has no metadata.name"),
        ("apiVersion: v1\nkind: Nonsense\nmetadata: {name: a}\n", "line 1: v1 Nonsense is not known here"),
        ("", "no objects in"), ("# nothing\n---\n", "no objects in"),
        ("a: !!python/name:os.system x", "line 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(Invalid) as caught:
        read([str(path)])
    assert told in caught.value.message and str(path) in caught.value.message
    assert "\n" not in caught.value.message


@given(st.text(max_size=200))
def test_no_text_makes_the_reader_itself_fail(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(Invalid):
        read([str(path)])


def test_lists_dates_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "\ufeffapiVersion: v1\nkind: ConfigMapList\nitems:\n- {apiVersion: v1, kind: ConfigMap, "
        "metadata: {name: a, creationTimestamp: 2020-01-01T00:00:00Z}}\n"
        "- {apiVersion: v1, kind: Secret, metadata: {name: b}}\n"
    )
    first, second = read([str(path)])
    assert (first.name, second.kind) == ("a", "Secret")
    assert first.meta["creationTimestamp"] == "2020-01-01T00:00:00Z"


def test_folders_are_read_in_order_and_deeper_when_asked(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.yaml", "a.json", "sub/c.yml"):
        (tmp_path / name).write_text(GOOD.replace("{name: c}", f"{{name: {Path(name).stem}}}"))
    (tmp_path / "README.md").write_text("not: [")
    assert [item.name for item in read([str(tmp_path)])] == ["a", "b"]
    assert [item.name for item in read([str(tmp_path)], recursive=True)] == ["a", "b", "c"]


def test_what_is_not_a_manifest_at_all_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"curl -fsSL https://host/x.yaml \| forebay apply -f -"):
        read(["https://host/x.yaml"])
    with pytest.raises(Absent, match=r"none\.yaml: No such file"):
        read([str(tmp_path / "none.yaml")])
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Invalid, match="is no UTF-8"):
        read([str(tmp_path / "binary.yaml")])
    (tmp_path / "kustomization.yaml").write_text("resources: []\n")
    with pytest.raises(Invalid, match="kubectl apply -k"):
        read([str(tmp_path)])


@pytest.mark.parametrize(
    ("number", "family"),
    [
        (errno.ENOSPC, Exhausted), (errno.EDQUOT, Exhausted), (errno.EACCES, Denied), (errno.EROFS, Denied),
        (errno.ENOENT, Absent), (errno.EIO, Unavailable),
    ],
)  # fmt: skip
def test_an_error_of_the_system_has_a_family_and_names_the_file(
    number: int, family: type[ForebayError]
) -> None:
    found, message = of_the_system(OSError(number, os.strerror(number), "/some/file"))
    assert found is family and "/some/file" in message and os.strerror(number) in message
