"""What `kubectl logs` shows of a container's log files."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.api.kinds import Pod
from forebay.errors import Invalid
from forebay.home.kubelet import logs
from forebay.home.kubelet.logs import LogQuery, read_logs
from forebay.home.kubelet.settings import pod_log_dir

POD = Pod.new("web", "default", spec={"nodeName": "n", "containers": [{"name": "main"}]})
POD.meta["uid"] = "u1"


def folder(data: Path) -> Path:
    path = pod_log_dir(data, "n", ("default", "web", "u1")) / "main"
    path.mkdir(parents=True, exist_ok=True)
    return path


def record(text: str, flag: str = "F", second: int = 0) -> str:
    return f"2026-01-31T12:00:{second:02d}.000000000Z stdout {flag} {text}\n"


def shown(data: Path, pod: Pod = POD, **query: object) -> str:
    async def body() -> str:
        asked = LogQuery(**query)  # type: ignore[arg-type]
        return b"".join([chunk async for chunk in read_logs(data, pod, asked)]).decode()

    return asyncio.run(body())


def test_lines_and_pieces_of_lines_come_back_as_they_were_written(tmp_path: Path) -> None:
    (folder(tmp_path) / "0.log").write_text(record("a") + record("b", "P") + record("c") + record("", "F"))
    assert shown(tmp_path) == "a\nbc\n\n"
    assert shown(tmp_path, timestamps=True).startswith("2026-01-31T12:00:00.000000000Z a\n2026")


@given(
    lines=st.lists(st.text("ab P", max_size=5), max_size=12),
    cut=st.integers(0, 12),
    tail=st.integers(0, 14),
    chunk=st.integers(1, 200),
)
def test_the_tail_is_the_last_lines_across_a_rotation(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], cut: int, tail: int, chunk: int
) -> None:
    data = tmp_path_factory.mktemp("logs")
    before, logs.CHUNK = logs.CHUNK, chunk
    try:
        (folder(data) / "0.log.1").write_text("".join(record(line) for line in lines[:cut]))
        (folder(data) / "0.log").write_text("".join(record(line) for line in lines[cut:]))
        assert shown(data, tail=tail) == "".join(
            f"{line}\n" for line in lines[len(lines) - min(tail, len(lines)) :]
        )
    finally:
        logs.CHUNK = before


def test_previous_is_the_run_before_or_the_newest_while_backing_off(tmp_path: Path) -> None:
    (folder(tmp_path) / "3.log").write_text(record("third"))
    (folder(tmp_path) / "4.log").write_text(record("fourth"))
    assert shown(tmp_path) == "fourth\n"
    assert shown(tmp_path, previous=True) == "third\n"
    waiting = POD.copy()
    waiting.raw["status"] = {
        "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]
    }
    assert shown(tmp_path, waiting, previous=True) == "fourth\n"


def test_what_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="waiting to start: ContainerCreating"):
        shown(tmp_path)
    (folder(tmp_path) / "0.log").write_text(record("a"))
    with pytest.raises(Invalid, match='previous terminated container "main"'):
        shown(tmp_path, previous=True)
    with pytest.raises(Invalid, match="container other is not valid for pod web"):
        shown(tmp_path, container="other")


def test_a_limit_cuts_and_since_skips(tmp_path: Path) -> None:
    (folder(tmp_path) / "0.log").write_text(record("abc") + record("def"))
    assert shown(tmp_path, limit_bytes=5) == "abc\nd"
    assert shown(tmp_path, since_s=60) == ""
    assert shown(tmp_path, since_s=10**9) == "abc\ndef\n"


def test_following_ends_with_the_run_and_loses_nothing_at_a_rotation(tmp_path: Path) -> None:
    path = folder(tmp_path) / "0.log"
    path.write_text(record("one"))

    async def body() -> str:
        got = b""
        async with asyncio.timeout(10):
            async for chunk in read_logs(tmp_path, POD, LogQuery(follow=True)):
                got += chunk
                if got == b"one\n":
                    with path.open("a") as file:
                        file.write(record("two"))
                    path.rename(tmp_path / "moved")
                    path.write_text(record("three"))
                    (folder(tmp_path) / "0.log.end").touch()
        return got.decode()

    assert asyncio.run(body()) == "one\ntwo\nthree\n"
