"""What KServe's storage initializer does and people rely on: each case was seen there first.

Local folders and claims, patterns, and which files an address means; archives have a file of their own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from forebay.errors import Absent, Invalid
from forebay.pull import Settings, pull_to
from forebay.pull.command import storage_initializer
from forebay.sources.settings import patterns
from tests.conformance.origins import write_tree
from tests.conformance.test_sources import tree_of

NAME = "STORAGE_ALLOW_PATTERNS"


@pytest.mark.parametrize(("text", "expected"), [
    ('["*.bin", "a"]', ("*.bin", "a")), ("*.bin, a,", ("*.bin", "a")), ('"*.bin"', ("*.bin",)),
    ('[" *.bin ", "", " "]', ("*.bin",)), ('[""]', ()), ("[]", ()), ("  ", ()), (None, ()),
    ("[mM]odel*,*.json", ("[mM]odel*", "*.json")), ("[a-c]*", ("[a-c]*",)),
])  # fmt: skip
def test_patterns_are_read_as_kserve_reads_them(text: str | None, expected: tuple[str, ...]) -> None:
    assert patterns({} if text is None else {NAME: text}, NAME) == expected


@pytest.mark.parametrize("text", ['["*.bin"', '[ "a" "b"]', "[1]", '[["a"]]', '["a", null]'])
def test_an_array_that_is_none_is_refused_and_not_taken_for_a_pattern(text: str) -> None:
    with pytest.raises(Invalid, match=NAME):
        patterns({NAME: text}, NAME)


# --- folders and claims ---

ODD = ["h#1", "q?1", "a%41", "a%20b", "sp ace", "tök", "br[1]"]


def initialized(source: object, dest: Path, **env: str) -> int:
    return storage_initializer([str(source), str(dest)], env)


@pytest.mark.parametrize("name", ODD)
def test_a_local_name_means_what_it_says(tmp_path: Path, name: str) -> None:
    """`#` and `?` cut the name off, and a%41 gave what lies in the folder aA."""
    write_tree(tmp_path / "m", {f"{name}/w.bin": name.encode(), "aA/other": b"no", "h/other": b"no"})
    for place, uri in enumerate((tmp_path / "m" / name, f"file://{tmp_path}/m/{name}")):
        assert initialized(uri, tmp_path / f"out{place}") == 0
        assert tree_of(tmp_path / f"out{place}") == {"w.bin": name.encode()}


def test_a_file_address_may_be_encoded_and_a_bare_path_may_not(tmp_path: Path) -> None:
    write_tree(tmp_path, {"sp ace/w.bin": b"1"})
    assert initialized(f"file://{tmp_path}/sp%20ace", tmp_path / "out") == 0
    assert initialized(f"{tmp_path}/sp%20ace", tmp_path / "bare") == Absent("").exit_code


def test_a_claim_without_the_folder_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It said that /mnt/pvc/none has no scheme."""
    assert initialized(tmp_path / "none", tmp_path / "out") == Absent("").exit_code
    assert f"{tmp_path}/none is not there" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert initialized(tmp_path / "empty", tmp_path / "out") == Absent("").exit_code
    assert "holds no files" in capsys.readouterr().err
    assert initialized("x" * 5000, tmp_path / "out") == Invalid("").exit_code


def test_a_folder_linked_into_itself_stays_as_it_is(tmp_path: Path) -> None:
    write_tree(tmp_path, {"m/w.bin": b"1", "else": b"2"})
    (tmp_path / "m" / "link").symlink_to(tmp_path / "else")
    assert initialized(tmp_path / "m", tmp_path / "m") == 0
    assert tree_of(tmp_path / "m") == {"w.bin": b"1", "link": b"2"}


def test_patterns_choose_what_of_a_claim_is_linked(tmp_path: Path) -> None:
    """They made it a copy: a claim of a hundred gigabytes went into the pod's own disk."""
    write_tree(tmp_path / "m", {"w.bin": b"1", "sub/x.json": b"2", "sub/y.bin": b"3"})
    assert initialized(tmp_path / "m", tmp_path / "out", STORAGE_IGNORE_PATTERNS="sub/*.bin") == 0
    assert tree_of(tmp_path / "out") == {"w.bin": b"1", "sub/x.json": b"2"}
    assert all((tmp_path / "out" / p).is_symlink() for p in ("w.bin", "sub/x.json"))


def test_links_are_not_made_through_a_link_that_leads_elsewhere(tmp_path: Path) -> None:
    write_tree(tmp_path, {"m/w.bin": b"1", "m/sub/x": b"2", "elsewhere/keep": b"3"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Invalid, match="leads out of"):
        pull_to(f"file://{tmp_path}/m", tmp_path / "out", env={NAME: "sub/x"}, settings=Settings())
    assert [p.name for p in (tmp_path / "elsewhere").iterdir()] == ["keep"]
