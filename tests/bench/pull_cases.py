"""What the pull bench measures, one function per group of demands; the table is made elsewhere."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.pull_measure import Bench, Tool, heat
from tests.bench.pull_peers import Peers

S3 = {"awsAnonymousCredential": "true"}
SHARDS = 4
CACHED = """
import os, sys, threading, time, json
from pathlib import Path
from forebay.cache import open_root, reservations
from forebay.pull.cached import pull_cached
root = open_root(Path(os.environ["FOREBAY_CACHE_ROOT"]))
def agent():
    while True:
        for said in reservations.find_all(root):
            reservations.answer(root, said.id, "granted")
        time.sleep(0.005)
threading.Thread(target=agent, daemon=True).start()
pull_cached(sys.argv[1], os.environ)
print("cached", flush=True)
sys.stdin.readline()
took = []
for _ in range(5):
    start = time.monotonic()
    pull_cached(sys.argv[1], os.environ)
    took.append(time.monotonic() - start)
print(json.dumps(took), flush=True)
"""


@dataclass(frozen=True)
class Origin:
    """An origin process. `told` says what it sent since the last question."""

    urls: dict[str, str]
    told: Callable[[], dict[str, int]]


@contextlib.contextmanager
def origin(bench: Bench, kind: str) -> Iterator[Origin]:
    """Start an origin for a while; its CPU is not counted as foreign."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bench_origins", str(bench.root), kind],
        stdout=subprocess.PIPE,
        text=True,
    )
    out = child.stdout
    assert out is not None

    def told() -> dict[str, int]:
        child.send_signal(signal.SIGUSR1)
        return dict(json.loads(out.readline()))

    try:
        bench.origin_pid = child.pid
        yield Origin(json.loads(out.readline()), told)
    finally:
        bench.origin_pid = 0
        child.kill()
        child.wait()
        out.close()


def make_model(bench: Bench) -> None:
    """Shards that are real safetensors files and seven small files, as a repository and as a bucket."""
    repo, bucket = bench.root / "hub" / "org" / "model", bench.root / "s3" / "bkt" / "m"
    sizes = {f"model-{n:05}.safetensors": int(bench.gb / SHARDS * 1e9) for n in range(1, SHARDS + 1)}
    sizes |= {f"part{n}.json": 3000 + n for n in range(6)} | {"tokenizer.json": 900_000}
    if {p.name: p.stat().st_size for p in repo.glob("*")} != sizes:
        for folder in (repo, bucket):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        for name, size in sizes.items():
            _shard(repo / name, size) if name.endswith("s") else (repo / name).write_bytes(os.urandom(size))
            os.link(repo / name, bucket / name)
    small = bench.root / "s3" / "bkt" / "small"
    if not small.exists():
        rng = random.Random(1)
        small.mkdir()
        for n in range(10_000):
            (small / f"f{n:05}.bin").write_bytes(rng.randbytes(rng.randint(1000, 100_000)))
    if not (bench.root / "tls.pem").exists():
        (bench.root / "tls.pem").write_bytes(certificate())
    heat(list(bucket.iterdir()))


def _shard(path: Path, size: int) -> None:
    """A safetensors file of exactly `size` bytes: sixteen tensors of random bytes."""
    room = size - 8 - 2048
    step = room // 16
    spans = {f"t{n}": [n * step, room if n == 15 else (n + 1) * step] for n in range(16)}
    about = {t: {"dtype": "U8", "shape": [b - a], "data_offsets": [a, b]} for t, (a, b) in spans.items()}
    head = json.dumps(about).encode().ljust(2048)
    with open(path, "wb") as out:
        out.write(len(head).to_bytes(8, "little") + head)
        while room:
            out.write(os.urandom(min(1 << 24, room)))
            room -= min(1 << 24, room)


def certificate() -> bytes:
    """A certificate for 127.0.0.1 and localhost that signs itself, with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=365))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    cert = builder.add_extension(x509.BasicConstraints(True, 0), critical=True).sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return cert.public_bytes(serialization.Encoding.PEM) + pem


def near(bench: Bench, peers: Peers) -> None:
    """D1 to D6."""
    with origin(bench, "near") as at:
        hub, s3 = at.urls["hub"], at.urls["s3"]
        urllib.request.urlopen(f"{hub}/api/models/org/model").read()  # the hub hashes its files once
        urls = [f"{s3}/bkt/m/{p.name}" for p in sorted((bench.root / "s3/bkt/m").iterdir())]
        blocks = str(int(bench.gb * 1e9) >> 22)
        dd = ("dd", "if=/dev/zero", f"of={bench.out}/x", "bs=4M", f"count={blocks}", "conv=fsync")
        env = {"HF_ENDPOINT": hub}
        bench.rounds_of([
            Tool("dd conv=fsync", dd),
            peers.forebay("forebay hf", "hf://org/model", env),
            peers.forebay("forebay s3", "s3://bkt/m", {**S3, "AWS_ENDPOINT_URL": s3}),
            peers.curl(urls, "curl, one stream"),
            *peers.s3_tools(s3, "m", ""),
            *peers.hub_tools(env),
        ])  # fmt: skip


def https(bench: Bench, peers: Peers) -> None:
    """D7."""
    trust = {"SSL_CERT_FILE": str(bench.root / "tls.pem"), "REQUESTS_CA_BUNDLE": str(bench.root / "tls.pem")}
    with origin(bench, "tls") as at:
        env = {"HF_ENDPOINT": at.urls["hub"], **trust}
        tools = [peers.forebay("tls forebay", "hf://org/model", env)]
        tools += peers.s3_tools(at.urls["s3"], "m", "tls ")
        tools += [t for t in peers.hub_tools(env, "tls ") if "kserve" not in t.name]
        bench.rounds_of([Tool(t.name, t.argv, {**t.env, **trust}, t.check) for t in tools])


def far(bench: Bench, peers: Peers) -> None:
    """D8; one stream is computed from the origin's own rate: it would take a minute a round."""
    with origin(bench, "far") as at:
        url = at.urls["s3"]
        env = {**S3, "AWS_ENDPOINT_URL": url}
        tools = [peers.forebay("far forebay", "s3://bkt/m", env)]
        tools += [
            t for t in peers.s3_tools(url, "m", "far ") if "obstore" not in t.name and "dal" not in t.name
        ]
        if shutil.which("aria2c"):
            listed = bench.root / "aria2.txt"
            shards = sorted((bench.root / "s3/bkt/m").iterdir())
            listed.write_text("".join(f"{url}/bkt/m/{p.name}\n" for p in shards))
            flags = ("-q", "-x16", "-s16", "-k1M", "-j4", "--file-allocation=none", "-d", str(bench.out))
            tools.append(Tool("far aria2", ("aria2c", *flags, "-i", str(listed)), check=peers.whole))
        bench.rounds_of(tools)


def small(bench: Bench, peers: Peers) -> None:
    """D11."""
    with origin(bench, "near") as at:
        url = at.urls["s3"]
        ours = peers.forebay("small forebay", "s3://bkt/small", {**S3, "AWS_ENDPOINT_URL": url})
        tools = peers.s3_tools(url, "small", "small ", streams=16)
        bench.rounds_of([Tool(ours.name, ours.argv, ours.env), *tools], of="small")


def killed(bench: Bench, peers: Peers) -> list[float]:
    """D9: what the origin sent in all, over the model's bytes, for a pull killed at half and repeated."""
    total, shares = bench.bytes, []
    with origin(bench, "near") as at:
        tool = peers.forebay("", "s3://bkt/m", {**S3, "AWS_ENDPOINT_URL": at.urls["s3"], "no_proxy": "*"})
        for _ in range(bench.rounds):
            shutil.rmtree(bench.out, ignore_errors=True)
            bench.out.mkdir()
            at.told()
            env = {**os.environ, **tool.env}
            child = subprocess.Popen(tool.argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while _on_disk(bench.out) < total / 2 and child.poll() is None:
                time.sleep(0.005)
            child.kill()
            child.wait()
            if any(p.suffix == ".safetensors" for p in bench.out.iterdir()):
                bench.notes.append("D9: a shard had its name already when the pull was killed")
            subprocess.run(tool.argv, env=env, check=True, capture_output=True)
            shares.append(at.told()["sent"] / total)
            print(f"  killed at half: {shares[-1]:.3f} of the bytes in all", flush=True)
    return shares


def _on_disk(folder: Path) -> int:
    found = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            found += path.stat().st_blocks * 512
    return found


def drops(bench: Bench, peers: Peers) -> list[float]:
    """D10: the bytes' share; the times are runs of their own."""
    shares = []
    for number in range(bench.rounds):
        for kind in random.Random(number).sample(["near", "drops"], 2):
            with origin(bench, kind) as at:
                env = {**S3, "AWS_ENDPOINT_URL": at.urls["s3"]}
                bench.run(peers.forebay(f"{kind} for D10", "s3://bkt/m", env))
                if kind == "drops":
                    shares.append(at.told()["sent"] / bench.bytes)
    return shares


def second(bench: Bench) -> tuple[list[float], int]:
    """D15: seconds of five more requests for a cached model, and the bytes of files that they moved."""
    shutil.rmtree(bench.root / "cache", ignore_errors=True)
    with origin(bench, "near") as at:
        env = {**os.environ, "HF_ENDPOINT": at.urls["hub"], "FOREBAY_CACHE_ROOT": str(bench.root / "cache"),
               "FOREBAY_MODEL": "bench", "no_proxy": "*"}  # fmt: skip
        child = subprocess.Popen(
            [sys.executable, "-c", CACHED, "hf://org/model"], env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert child.stdout is not None and child.stdin is not None
        first = child.stdout.readline()
        at.told()
        out, _ = child.communicate("\n")
        sent = at.told()["sent"]
    shutil.rmtree(bench.root / "cache", ignore_errors=True)
    if not first or child.returncode:
        bench.notes.append("D15: the cached pull failed")
        return [], 0
    return json.loads(out), sent
