"""What a node tells beyond the states of its models: kinds of files, and a summary for `kubectl get`."""

from __future__ import annotations

from forebay.api.meta import Json
from forebay.cache.evict import Space
from forebay.node.model import Copy, Entry, Seen
from forebay.node.sight import SUFFIXES_MAX, suffixes_of
from forebay.node.status import Report, applied, report


def test_each_kind_once_in_lower_case_and_none_where_there_are_too_many() -> None:
    assert suffixes_of(["a/Model.GGUF", "b.gguf", "README", ".hidden", "x.tar.gz"]) == ("", ".gguf", ".gz")
    assert suffixes_of(f"f.{n}" for n in range(SUFFIXES_MAX + 1)) == ()
    assert suffixes_of([]) == ()


def test_a_copy_tells_its_kinds_of_files_beside_its_size() -> None:
    for suffixes in ((".gguf", ".json"), ()):
        copy = Copy("k", "r", 7, {}, 0.0, suffixes=suffixes)
        seen = Seen(
            entries=(Entry("m", "hf://o/m", "k"),), space=Space(None, 0, 0, 0), copies={"k": copy},
            views=frozenset({"k"}), entitled=frozenset({("m", "k")}),
        )  # fmt: skip
        told = report(seen, "g").models["m"]
        assert told.get("suffixes") == (list(suffixes) or None)


def test_a_node_is_summed_up_over_its_groups() -> None:
    def after(before: Json, group: str, states: dict[str, str], used: int) -> Json:
        models = {model: {"group": group} for model in states}
        return applied(before, Report(states, models, {"used": used}), group, frozenset({"a", "b", "c"}))

    empty = after({}, "g", {}, 0)
    assert (empty["ready"], empty["state"], empty["bytes"]) == ("0/0", "", 0)
    one = after(empty, "g", {"a": "ModelDownloaded", "b": "ModelDownloading"}, 7)
    assert (one["ready"], one["state"], one["bytes"]) == ("1/2", "ModelDownloading", 7)
    both = after(one, "h", {"c": "ModelDownloadError"}, 5)
    assert (both["ready"], both["state"], both["bytes"]) == ("1/3", "ModelDownloadError", 12)
    assert after(both, "h", {"c": "ModelDownloaded"}, 5)["state"] == "ModelDownloading"
