"""Origins of the source suite that are registries and clouds: real servers where there are some, or fakes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.conformance.origins import ONE, TREE, Origin, _free_port, _wait_for, s3_filled, write_tree
from tests.fakes.clouds import FakeAzure, FakeGcs, blob_sas

NANIO = str(Path(sys.executable).with_name("nanio"))
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CLOUD_TREE = {f"tiny/{p}": b for p, b in TREE.items()} | {"tiny-other/no.bin": b"not of tiny"}
_HTPASSWD = "me:$2b$04$sjhrhQMLer4FnHDbbgNMPevHh3X3GxNJO0fiH3F8F9lnAm0jAGr7O\n"  # sesame


def program(variable: str, name: str) -> str:
    """Path of a server that a variable names or that is installed, or ""."""
    return os.environ.get(variable) or shutil.which(name) or ""


@contextmanager
def running(command: list[str], port: int, env: dict[str, str] | None = None) -> Iterator[None]:
    child = subprocess.Popen(command, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        _wait_for(port)
        yield
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def send(method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None) -> dict[str, str]:
    """One request of a test's own; raises for anything but 2xx."""
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    with urllib.request.urlopen(request, timeout=20) as reply:
        reply.read()
        return {name.lower(): value for name, value in reply.headers.items()}


# --- registries ---


class Pusher:
    """What a client of a registry does to upload: blobs, then a manifest that names them."""

    def __init__(self, url: str, name: str, headers: dict[str, str]) -> None:
        self.base, self.headers = f"{url}/v2/{name}", headers

    def blob(self, body: bytes, media: str, **notes: str) -> dict[str, object]:
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        at = send("POST", f"{self.base}/blobs/uploads/", headers=self.headers)["location"]
        kind = {"Content-Type": "application/octet-stream"}
        send("PUT", f"{at}{'&' if '?' in at else '?'}digest={digest}", body, self.headers | kind)
        descriptor: dict[str, object] = {"mediaType": media, "digest": digest, "size": len(body)}
        return descriptor | (
            {"annotations": {n.replace("_", "."): v for n, v in notes.items()}} if notes else {}
        )

    def manifest(self, tag: str, body: dict[str, object]) -> dict[str, object]:
        raw, media = json.dumps(body).encode(), str(body["mediaType"])
        send("PUT", f"{self.base}/manifests/{tag}", raw, self.headers | {"Content-Type": media})
        return {"mediaType": media, "digest": "sha256:" + hashlib.sha256(raw).hexdigest(), "size": len(raw)}

    def image(
        self, tag: str, layers: list[dict[str, object]], config: str = "image.config"
    ) -> dict[str, object]:
        media = f"application/vnd.oci.{config}.v1+json"
        oci = "application/vnd.oci.image.manifest.v1+json"
        return self.manifest(tag, {"schemaVersion": 2, "mediaType": oci, "config": self.blob(b"{}", media),
                                   "layers": layers})  # fmt: skip


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def docker_config(path: Path, host: str, user: str, password: str) -> str:
    auth = basic(user, password)["Authorization"].removeprefix("Basic ")
    path.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return str(path)


@contextmanager
def registry(root: Path, auth: str) -> Iterator[str]:
    """Debian's docker-registry with `auth` (a YAML section); yields host:port."""
    port = _free_port()
    root.mkdir(parents=True, exist_ok=True)
    (root / "htpasswd").write_text(_HTPASSWD)
    config = root / "config.yml"
    lines = [
        "version: 0.1",
        "log: {level: error}",
        f"storage: {{filesystem: {{rootdirectory: {root}/data}}}}",
    ]
    lines += [f"http: {{addr: '127.0.0.1:{port}', secret: s}}", auth, ""]
    config.write_text("\n".join(lines))
    with running([program("DOCKER_REGISTRY", "docker-registry"), "serve", str(config)], port):
        yield f"127.0.0.1:{port}"


def htpasswd(root: Path) -> str:
    return f"auth: {{htpasswd: {{realm: test, path: {root}/htpasswd}}}}"


@contextmanager
def oci_origin(root: Path) -> Iterator[Origin]:
    """An artifact as `oras push` makes it, behind a password."""
    with registry(root, htpasswd(root)) as host:
        push = Pusher(f"http://{host}", "team/tiny", basic("me", "sesame"))
        file = "application/vnd.oci.image.layer.v1.tar"  # oras gives this type to every file
        layers = [push.blob(b, file, org_opencontainers_image_title=p) for p, b in TREE.items()]
        push.image("v1", layers, "empty")
        env = {"KSERVE_OCI_INSECURE_REGISTRY": "true"}
        good = env | {"KSERVE_OCI_DOCKER_CONFIG": docker_config(root / "good.json", host, "me", "sesame")}
        wrong = env | {"KSERVE_OCI_DOCKER_CONFIG": docker_config(root / "bad.json", host, "me", "wrong0000")}
        yield Origin(f"oci://{host}/team/tiny:v1", TREE, good, wrong, f"oci://{host}/team/tiny:v2", root)


# --- web servers ---


@contextmanager
def nginx_origin(root: Path) -> Iterator[Origin]:
    """A file behind a password, as a web server of many hands it out."""
    port = _free_port()
    write_tree(root / "www", ONE)
    (root / "htpasswd").write_text("me:{PLAIN}sesame\n")
    temporary = "".join(
        f"{name}_temp_path {root};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    place = f"location / {{root {root}/www; auth_basic x; auth_basic_user_file {root}/htpasswd;}}"
    (root / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {root}/pid; error_log stderr crit; events {{}}\n"
        f"http {{access_log off; sendfile on; {temporary} server {{listen 127.0.0.1:{port}; {place}}}}}\n"
    )
    netrc = root / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password sesame\n")
    netrc.chmod(0o600)
    command = [program("NGINX", "nginx"), "-p", str(root), "-e", "stderr", "-c", str(root / "nginx.conf")]
    with running(command, port):
        url = f"http://127.0.0.1:{port}"
        env = {"NETRC": str(netrc)}
        yield Origin(f"{url}/model-00001.safetensors", ONE, env, {}, f"{url}/nothing.bin", root / "www")


# --- clouds ---


@contextmanager
def seaweed_origin(root: Path) -> Iterator[Origin]:
    """SeaweedFS checks signatures and preconditions as Amazon does; it takes some seconds to come up."""
    ports = [_free_port() for _ in range(4)]
    who = {"accessKey": "AKIAEXAMPLE", "secretKey": "open sesame"}
    rights = ["Admin", "Read", "List", "Write"]
    (root / "keys.json").write_text(
        json.dumps({"identities": [{"name": "me", "credentials": [who], "actions": rights}]})
    )
    (root / "data").mkdir()
    names = ("-s3.port", "-master.port", "-volume.port", "-filer.port")
    command = [program("WEED", "weed"), "server", f"-dir={root}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
               "-s3", f"-s3.config={root}/keys.json", "-filer", "-volume.max=10",
               "-master.volumeSizeLimitMB=64",
               *(f"{n}={p}" for n, p in zip(names, ports, strict=True))]  # fmt: skip
    keys = {"NANIO_ACCESS_KEY": who["accessKey"], "NANIO_SECRET_KEY": who["secretKey"]}
    url = f"http://127.0.0.1:{ports[0]}"
    with running(command, ports[0]), s3_filled(url, keys, root) as origin:
        yield origin


def service_account(path: Path, token_uri: str) -> rsa.RSAPublicKey:
    """Write a key file as Google hands them out; returns the public half."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    facts = {"type": "service_account", "client_email": "puller@p.example", "private_key_id": "k1"}
    path.write_text(json.dumps({**facts, "private_key": pem, "token_uri": token_uri}))
    return key.public_key()


@contextmanager
def gcs_origin(root: Path) -> Iterator[Origin]:
    write_tree(root / "models" / "team" / "tiny", TREE)
    write_tree(root / "models" / "team" / "tiny-other", {"no.bin": b"not of tiny"})
    with FakeGcs(root) as cloud:
        assert isinstance(cloud, FakeGcs)
        good, bad = root.parent / "gcloud-application-credentials.json", root.parent / "other.json"
        cloud.accounts["puller@p.example"] = service_account(good, f"{cloud.server.url}/token")
        service_account(bad, f"{cloud.server.url}/token")
        env = {"STORAGE_EMULATOR_HOST": cloud.server.url, "GOOGLE_APPLICATION_CREDENTIALS": str(good)}
        wrong = env | {"GOOGLE_APPLICATION_CREDENTIALS": str(bad)}
        yield Origin(
            "gs://models/team/tiny", TREE, env, wrong, "gs://models/team/none", root / "models/team/tiny"
        )


@contextmanager
def fake_gcs_server_origin(root: Path) -> Iterator[Origin]:
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [program("FAKE_GCS_SERVER", "fake-gcs-server"), "-scheme", "http", "-host", "127.0.0.1",
               "-port", str(port), "-backend", "filesystem", "-filesystem-root", str(root), "-public-host",
               f"127.0.0.1:{port}", "-external-url", url]  # fmt: skip
    with running(command, port):
        kind = {"Content-Type": "application/json"}
        send("POST", f"{url}/storage/v1/b?project=p", b'{"name": "models"}', kind)
        for path, body in CLOUD_TREE.items():
            name = quote(f"team/{path}", safe="")
            send("POST", f"{url}/upload/storage/v1/b/models/o?uploadType=media&name={name}", body,
                 {"Content-Type": "application/octet-stream"})  # fmt: skip
        env = {"STORAGE_EMULATOR_HOST": url}
        yield Origin("gs://models/team/tiny", TREE, env, env, "gs://models/team/none", root)


@contextmanager
def azure_origin(root: Path) -> Iterator[Origin]:
    write_tree(root / "models" / "team" / "tiny", TREE)
    write_tree(root / "models" / "team" / "tiny-other", {"no.bin": b"not of tiny"})
    with FakeAzure(root, AZURITE_KEY) as cloud:
        assert isinstance(cloud, FakeAzure)
        cloud.folders.add("team/tiny/sub folder")
        yield _azure(cloud.url, root / "models" / "team" / "tiny")


@contextmanager
def azurite_origin(root: Path) -> Iterator[Origin]:
    port = _free_port()
    command = [program("AZURITE_BLOB", "azurite-blob"), "--blobHost", "127.0.0.1", "--blobPort", str(port),
               "--location", str(root), "--silent", "--skipApiVersionCheck"]  # fmt: skip
    with running(command, port):
        url = f"http://127.0.0.1:{port}/devstoreaccount1"
        _shared_key("PUT", f"{url}/models", "restype:container", "?restype=container")
        sas = blob_sas("devstoreaccount1", AZURITE_KEY, "models", ends=_in_an_hour(), rights="racwl")
        for path, body in CLOUD_TREE.items():
            at = f"{url}/models/{quote(f'team/{path}')}?{sas}"
            send("PUT", at, body, {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"})
        yield _azure(url, root)


def _azure(url: str, folder: Path) -> Origin:
    env = {"AZURE_STORAGE_ENDPOINT": url, "AZURE_STORAGE_ACCESS_KEY": AZURITE_KEY}
    wrong = env | {"AZURE_STORAGE_ACCESS_KEY": base64.b64encode(b"wrong0000").decode()}
    return Origin("az://models/team/tiny", TREE, env, wrong, "az://models/team/none", folder)


def _in_an_hour() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))


def _shared_key(method: str, url: str, resource: str, query: str) -> None:
    """A request with no body signed in its header (Microsoft: Authorize with Shared Key)."""
    now = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    path = url.partition("/devstoreaccount1")[2]
    # The emulator's account is in the path and in front of it: its name comes twice.
    to_sign = (f"{method}\n\n\n\n\napplication/octet-stream\n\n\n\n\n\n\n"
               f"x-ms-date:{now}\nx-ms-version:2021-12-02\n"
               f"/devstoreaccount1/devstoreaccount1{path}\n{resource}").encode()  # fmt: skip
    signature = base64.b64encode(hmac.digest(base64.b64decode(AZURITE_KEY), to_sign, "sha256")).decode()
    headers = {"x-ms-date": now, "x-ms-version": "2021-12-02", "Content-Type": "application/octet-stream",
               "Authorization": f"SharedKey devstoreaccount1:{signature}"}  # fmt: skip
    send(method, url + query, b"", headers)
