"""The machine's own faults during a pull, and roads that are not straight: proxies, private authorities,
quotas."""

from __future__ import annotations

import contextlib
import datetime
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.fakes.plain_user import plain_user
from tests.faults.lying_server import Lie, LyingServer, until
from tests.faults.pulling import Folder, quick, some_bytes

from forebay.errors import Clash, Denied, Exhausted, Unavailable
from forebay.pull import Report, Settings, journal, pull_to
from forebay.pull.board import Board
from forebay.pull.folder import Watching
from forebay.pull.limits import Limits
from forebay.pull.state import Transfer
from forebay.sources.http import HttpSource

BODY = some_bytes(900_001)
PULL_CHILD = """
import sys
from pathlib import Path
from forebay.pull.command import PullOptions, pull_command
raise SystemExit(pull_command(PullOptions(sys.argv[1], Path(sys.argv[2])), {}))
"""
QUOTA_CHILD = """
import resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
from forebay.pull.command import PullOptions, pull_command
raise SystemExit(pull_command(PullOptions(sys.argv[1], Path(sys.argv[2])), {}))
"""


@pytest.mark.parametrize("room", [4096, 300_000, 899_999])
def test_a_full_disk_is_exhausted_and_nothing_is_published(tmp_path: Path, room: int) -> None:
    """A file size limit stands in for the disk: writes fail in the same place and with the same class of
    error."""
    with LyingServer(BODY) as server:
        command = [sys.executable, "-c", QUOTA_CHILD, server.url, str(tmp_path / "out"), str(room)]
        child = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)
        assert child.returncode == Exhausted.exit_code, child.stderr
        assert "free space" in child.stderr
        assert not (tmp_path / "out" / "model.bin").exists()
        report = pull_to(server.url, tmp_path / "out", env={}, settings=Settings())
    assert (tmp_path / "out" / "model.bin").read_bytes() == BODY
    assert ("what came is kept" in child.stderr) == (report.bytes_resumed > 0)


def test_on_a_full_disk_it_is_said_that_bytes_are_kept_where_they_are(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with LyingServer(BODY) as server:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
            with pytest.raises(Exhausted, match=r"quota; what came is kept$"):
                folder.pull(server.url, settings=quick(connections_start=1, connections_max=1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert folder.pull(server.url).bytes_resumed > 0


def test_a_folder_that_cannot_be_written_is_denied(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    with LyingServer(BODY) as server:
        command = [sys.executable, "-c", PULL_CHILD, server.url, str(tmp_path / "out")]
        child = subprocess.run(
            command, capture_output=True, text=True, timeout=40, check=False, preexec_fn=plain_user
        )
    assert child.returncode == Denied.exit_code, child.stderr
    assert "check the mount" in child.stderr


def test_a_link_in_the_target_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    from forebay.engines.hub import Hub, HubSettings
    from forebay.errors import Invalid

    repo = tmp_path / "hub" / "acme" / "tiny" / "sub"
    repo.mkdir(parents=True)
    (repo / "x.json").write_bytes(b"1")
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    with Hub(HubSettings(tmp_path / "hub")) as hub, pytest.raises(Invalid, match="leads out"):
        pull_to("hf://acme/tiny", tmp_path / "out", env={"HF_ENDPOINT": hub.url}, settings=Settings())
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_that_changed_since_it_was_listed_is_a_clash(tmp_path: Path) -> None:
    folder, told = Folder(tmp_path), list[Report]()
    with LyingServer(BODY, Lie(change_after=0), promise=False) as server:
        source = HttpSource({})
        listing = source.resolve(server.url)
        with pytest.raises(Clash, match="since it was listed"):
            folder.fetch(listing, source, on_report=told.append)
    assert folder.names() == []
    assert (told[0].files, told[0].files_had) == (1, 0)  # it was not there, and it is not


def test_a_journal_that_is_written_late_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has its name already when the state of a moment ago is noted."""
    folder, real, real_good, saving = Folder(tmp_path), journal.save, Board.good, threading.Event()

    def good(self: Board, transfer: Transfer) -> None:
        assert saving.wait(10)
        real_good(self, transfer)

    def save(path: Path, entry: journal.Entry) -> None:
        saving.set()
        until(lambda: not [thread for thread in threading.enumerate() if thread.name == "forebay-pull"])
        real(path, entry)

    monkeypatch.setattr(journal, "save", save)
    monkeypatch.setattr(Board, "good", good)
    with LyingServer(BODY) as server:
        folder.pull(server.url)
    assert folder.names() == ["model.bin"] and list(folder.parts.iterdir()) == []


def test_of_two_pulls_at_once_one_fetches_though_nobody_promised_a_digest(tmp_path: Path) -> None:
    """The second waits for the part, and believes the record that the first has written meanwhile."""
    limits = [Limits(1_500_000), Limits(1_500_000)]
    with LyingServer(BODY, promise=False) as server, ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda limit: pull_to(
            server.url, tmp_path / "out", env={}, settings=quick(connections_max=1),
            watching=Watching(limits=limit)), limits))  # fmt: skip
        assert (tmp_path / "out" / "model.bin").read_bytes() == BODY
        assert server.sent == len(BODY)
    assert sorted((r.bytes_network, r.files_had) for r in reports) == [(0, 1), (len(BODY), 0)]


class Tunnel:
    """A proxy that knows CONNECT and plain GET; `asked` is what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://me:sesame@127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += peer.recv(4096)
        first = head.split(b"\r\n", 1)[0].decode()
        self.asked.append(first + (" with credentials" if b"Basic bWU6c2VzYW1l" in head else ""))
        method, target, _ = first.split(" ")
        where = target if method == "CONNECT" else target.removeprefix("http://").split("/", 1)[0]
        host, _, port = where.rpartition(":")
        with contextlib.suppress(OSError), socket.create_connection((host, int(port))) as far:
            if method == "CONNECT":
                peer.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                far.sendall(head.replace(f"http://{where}".encode(), b"", 1))
            threading.Thread(target=_pump, args=(peer, far), daemon=True).start()
            _pump(far, peer)
        peer.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def test_a_plain_proxy_is_used_with_its_credentials_and_no_proxy_is_honoured(tmp_path: Path) -> None:
    proxy = Tunnel()
    with LyingServer(BODY) as server:
        env = {"http_proxy": proxy.url}
        pull_to(server.url, tmp_path / "a", env=env, settings=quick(connections_max=1))
        assert proxy.asked and all(a.endswith("with credentials") for a in proxy.asked)
        count = len(proxy.asked)
        pull_to(server.url, tmp_path / "b", env={**env, "NO_PROXY": "127.0.0.0/8"}, settings=quick())
        assert len(proxy.asked) == count
    proxy.close()
    assert (tmp_path / "a" / "model.bin").read_bytes() == BODY


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    import ipaddress

    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "authority.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(cert.public_bytes(serialization.Encoding.PEM) + private)
    return pem


@contextlib.contextmanager
def over_tls(server: LyingServer, pem: Path, *, ask_client: bool) -> Iterator[str]:
    """A TLS front of a plain server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    if ask_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(pem)
    listener = socket.create_server(("127.0.0.1", 0))

    def one(raw: socket.socket) -> None:
        with contextlib.suppress(OSError):
            peer = context.wrap_socket(raw, server_side=True)
            far = socket.create_connection(("127.0.0.1", server.port))
            threading.Thread(target=_pump, args=(peer, far), daemon=True).start()
            _pump(far, peer)
            peer.close()
            far.close()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                raw, _ = listener.accept()
                threading.Thread(target=one, args=(raw,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}/model.bin"
    listener.close()


def test_a_private_authority_is_trusted_only_when_it_is_named(tmp_path: Path, authority: Path) -> None:
    with LyingServer(BODY) as server, over_tls(server, authority, ask_client=False) as url:
        with pytest.raises(Unavailable, match="not trusted"):
            pull_to(url, tmp_path / "a", env={}, settings=quick())
        mount = {"CA_BUNDLE_CONFIGMAP_NAME": "ca", "CA_BUNDLE_VOLUME_MOUNT_POINT": str(tmp_path)}
        authority.rename(tmp_path / "cabundle.crt")
        pull_to(url, tmp_path / "b", env=mount, settings=quick())
    assert (tmp_path / "b" / "model.bin").read_bytes() == BODY


def test_a_client_certificate_is_shown_when_it_is_set(tmp_path: Path, authority: Path) -> None:
    with LyingServer(BODY) as server, over_tls(server, authority, ask_client=True) as url:
        env = {"SSL_CERT_FILE": str(authority), "FOREBAY_CLIENT_CERT": str(authority)}
        pull_to(url, tmp_path / "a", env=env, settings=quick())
    assert (tmp_path / "a" / "model.bin").read_bytes() == BODY


@contextlib.contextmanager
def ending_by_closing(pem: Path, *, politely: bool) -> Iterator[str]:
    """A TLS server that tells no length: the end of the connection is the body's end, announced or not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def accept() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), context.wrap_socket(raw, server_side=True) as peer:
                asked = peer.recv(4096)
                peer.sendall(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nConnection: close\r\n\r\n')
                peer.sendall(b"" if asked.startswith(b"HEAD") else BODY[: len(BODY) // 2])
                if politely or asked.startswith(b"HEAD"):
                    peer.unwrap()

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}/model.bin"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


def test_a_body_that_is_cut_within_tls_is_not_taken_for_whole(tmp_path: Path, authority: Path) -> None:
    """Without a length only the end of the TLS session tells the end from a cut (RFC 9112, 9.8)."""
    env = {"SSL_CERT_FILE": str(authority)}
    with ending_by_closing(authority, politely=False) as url:
        with pytest.raises(Unavailable, match="goodbye"):
            pull_to(url, tmp_path / "a", env=env, settings=quick(attempts_max=2))
        assert not (tmp_path / "a" / "model.bin").exists()
    with ending_by_closing(authority, politely=True) as url:
        pull_to(url, tmp_path / "b", env=env, settings=quick())
        assert (tmp_path / "b" / "model.bin").read_bytes() == BODY[: len(BODY) // 2]


def test_a_tunnel_through_a_proxy_carries_tls(tmp_path: Path, authority: Path) -> None:
    proxy = Tunnel()
    with LyingServer(BODY) as server, over_tls(server, authority, ask_client=False) as url:
        env = {"https_proxy": proxy.url, "SSL_CERT_FILE": str(authority)}
        pull_to(url, tmp_path / "a", env=env, settings=quick(connections_max=1))
        # The proxy's password is the proxy's: what goes through the tunnel is for the server alone.
        assert server.seen and not [s for s in server.seen if "proxy-authorization" in s.headers]
    proxy.close()
    assert all(a.startswith("CONNECT 127.0.0.1:") and a.endswith("with credentials") for a in proxy.asked)
    assert (tmp_path / "a" / "model.bin").read_bytes() == BODY


def test_a_termination_signal_ends_a_pull_with_a_word(tmp_path: Path) -> None:
    with LyingServer(BODY, Lie(stall_at=1000)) as server:
        child = subprocess.Popen(
            [sys.executable, "-c", PULL_CHILD, server.url, str(tmp_path / "out")],
            stderr=subprocess.PIPE,
            text=True,
        )
        from tests.faults.lying_server import until

        until(lambda: bool(server.gets))
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate(timeout=10)
    assert child.returncode == Unavailable.exit_code and "pull again" in said
