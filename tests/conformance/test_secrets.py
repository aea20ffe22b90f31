"""No message, cause or report carries a credential, whatever a server answers."""

from __future__ import annotations

import base64
import json
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forebay.engines.fileserver import Reply, Request
from forebay.errors import ForebayError
from forebay.pull import Settings, pull_to
from forebay.sources.wire.client import Client
from tests.conformance.clouds import service_account
from tests.conformance.test_http import serving

MARK = "Sesame4711MARK"
B64 = base64.b64encode(f"me:{MARK}".encode()).decode().rstrip("=")
QUICK = Settings(
    attempts_max=2, patience_s=0.0, backoff_first_s=0.01, backoff_most_s=0.02, timeout_stall_s=2.0
)


def _docker(folder: Path, host: str) -> str:
    (folder / "docker.json").write_text(json.dumps({"auths": {host: {"username": "me", "password": MARK}}}))
    return str(folder / "docker.json")


def _google(folder: Path, url: str) -> str:
    service_account(folder / "key.json", f"{url}/token?key={MARK}")
    return str(folder / "key.json")


Make = Callable[[Path, str], tuple[str, dict[str, str]]]
KEY = base64.b64encode(MARK.encode()).decode()
SOURCES: dict[str, Make] = {
    "hf": lambda _, url: ("hf://a/b", {"HF_ENDPOINT": url, "HF_TOKEN": MARK}),
    "http address": lambda _, url: (url.replace("://", f"://me:{MARK}@") + "/w.bin", {}),
    "http query": lambda _, url: (f"{url}/w.bin?X-Amz-Signature={MARK}&token={MARK}", {}),
    "http headers": lambda _, url: (f"{url}/w.bin", {"127.0.0.1-headers": json.dumps({"X-Api-Key": MARK})}),
    "s3": lambda _, url: ("s3://models/a", {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "AKIAX",
                                            "AWS_SECRET_ACCESS_KEY": MARK, "AWS_SESSION_TOKEN": MARK}),
    "gs": lambda f, url: ("gs://models/a", {"STORAGE_EMULATOR_HOST": url,
                                            "GOOGLE_APPLICATION_CREDENTIALS": _google(f, url)}),
    "az key": lambda _, url: ("az://models/a", {"AZURE_STORAGE_ENDPOINT": f"{url}/acct",
                                                "AZURE_STORAGE_ACCESS_KEY": KEY}),
    "az sas": lambda _, url: (f"az://models/a?sv=1&sig={MARK}", {"AZURE_STORAGE_ENDPOINT": f"{url}/acct"}),
    "az client": lambda _, url: ("az://models/a", {
        "AZURE_STORAGE_ENDPOINT": f"{url}/acct", "AZURE_AUTHORITY_HOST": url, "AZURE_TENANT_ID": "t",
        "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": MARK}),
    "oci": lambda f, url: (f"oci://{url.removeprefix('http://')}/a/b:v1", {
        "KSERVE_OCI_INSECURE_REGISTRY": "true",
        "KSERVE_OCI_DOCKER_CONFIG": _docker(f, url.removeprefix("http://"))}),
    "proxy": lambda _, url: ("http://models.example/w.bin", {"HTTP_PROXY": url.replace("://", f"://me:{MARK}@")}),
}  # fmt: skip
# Addresses that are refused before anyone is asked.
REFUSED: dict[str, Make] = {
    "hf user": lambda _, url: ("hf://a/b", {"HF_ENDPOINT": url.replace("://", f"://me:{MARK}@")}),
    "s3 user": lambda _, url: ("s3://models/a", {"AWS_ENDPOINT_URL": url.replace("://", f"://me:{MARK}@")}),
    "gs user": lambda _, url: ("gs://models/a", {"STORAGE_EMULATOR_HOST": url.replace("://", f"://me:{MARK}@")}),
    "az user": lambda _, url: ("az://m/a", {"AZURE_STORAGE_ENDPOINT": url.replace("://", f"://me:{MARK}@")}),
    "oci user": lambda _, url: (f"oci://me:{MARK}@{url.removeprefix('http://')}/a/b:v1", {}),
    "file user": lambda _, url: (f"file://me:{MARK}@{url.removeprefix('http://')}/a", {}),
    "odd scheme": lambda _, url: (f"ftp://me:{MARK}@{url.removeprefix('http://')}/a", {}),
}  # fmt: skip

FAR = f"http://me:{MARK}@nowhere.invalid/?sig={MARK}"
CODES = (204, 301, 400, 401, 403, 404, 407, 409, 410, 412, 416, 418, 429, 500, 503)


def status(code: int) -> Callable[[Request], Reply]:
    return lambda _: Reply(code)


ANSWERS: dict[str, Callable[[Request], Reply]] = {
    **{str(code): status(code) for code in CODES},
    "nonsense": lambda _: Reply(200, {"Content-Type": "application/json"}, b"\xff{nonsense"),
    "empty object": lambda _: Reply.json(200, {}),
    "list": lambda _: Reply.json(200, [1, {"type": "file"}]),
    "xml": lambda _: Reply(200, {}, b"<R><Contents/></R>"),
    "far": lambda _: Reply(302, {"Location": FAR}),
    "file": lambda _: Reply(302, {"Location": "file:///etc/passwd"}),
    "bearer": lambda r: Reply(401, {"WWW-Authenticate":
                                    f'Bearer realm="http://{r.headers["host"]}/token?x=1",service="s"'}),
    "token": lambda r: Reply.json(200, {"access_token": MARK, "token": MARK, "expires_in": "soon"})
             if r.method == "POST" or "token" in r.target else Reply(403),
}  # fmt: skip


def told(error: BaseException) -> str:
    """All that a log could show of an error."""
    report = "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())
    own = [line for line in report.splitlines() if not line.startswith("    ")]
    return "\n".join([*own, repr(error), str(getattr(error, "causes", ""))])


@contextmanager
def quick_clients() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        plain = Client.__init__.__defaults__
        assert plain is not None
        patch.setattr("forebay.sources.wire.client.time.sleep", lambda _: None)
        patch.setattr(Client.__init__, "__defaults__", (*plain[:-3], 1, *plain[-2:]))
        yield


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("answer", ANSWERS)
def test_no_error_carries_a_secret(tmp_path: Path, source: str, answer: str) -> None:
    with serving(ANSWERS[answer]) as server, quick_clients():
        uri, env = SOURCES[source](tmp_path, server.url)
        try:
            pull_to(uri, tmp_path / "out", env=env, settings=QUICK)
        except ForebayError as error:
            said = told(error)
            assert MARK not in said and B64 not in said and KEY.rstrip("=") not in said


@pytest.mark.parametrize("source", [*SOURCES, *REFUSED])
def test_nobody_there_carries_no_secret_either(tmp_path: Path, source: str) -> None:
    """Refused, and ended in the middle of an answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]

        def hang_up() -> None:
            while True:
                try:
                    silent.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        for url in (f"http://127.0.0.1:{port}", "http://127.0.0.1:1"):
            uri, env = (SOURCES | REFUSED)[source](tmp_path, url)
            with quick_clients(), pytest.raises(ForebayError) as caught:
                pull_to(uri, tmp_path / "out", env=env, settings=QUICK)
            said = told(caught.value)
            assert MARK not in said and B64 not in said and KEY.rstrip("=") not in said
        silent.shutdown(socket.SHUT_RDWR)
