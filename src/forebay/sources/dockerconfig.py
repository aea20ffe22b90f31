"""Who one is at a registry: docker's configuration file, where docker, Kubernetes and podman put it."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forebay.errors import Invalid, Unavailable
from forebay.kit.foreign import parsed

HUB = "docker.io"
HUB_HOST = "registry-1.docker.io"
_HUB_KEY = "index.docker.io"
_HELPER_S = 30
WHERE = "put one that may pull into the image pull secret or the docker config (KSERVE_OCI_DOCKER_CONFIG)"


@dataclass(frozen=True)
class Login:
    """What a docker config says of one registry; all "" means nothing."""

    user: str = ""
    password: str = field(default="", repr=False)
    refresh: str = field(default="", repr=False)  # identity token: exchanged for access tokens
    bearer: str = field(default="", repr=False)  # registry token: used as it is

    @property
    def basic(self) -> str:
        """Value of the Authorization header, or ""."""
        pair = f"{self.user}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode() if self.user else ""


def login_for(env: Mapping[str, str], host: str, name: str) -> Login:
    """The login of the most particular entry: `host/org/name`, `host/org`, `host`. Raises Invalid."""
    path = _config(env)
    if path is None:
        return Login()
    try:
        body: Any = parsed(path.read_bytes())
        entries = body.get("auths", body if "credsStore" not in body else {})
        known = {_key(at): entry for at, entry in entries.items() if isinstance(entry, dict)}
        hosts = (HUB, _HUB_KEY, HUB_HOST) if host == HUB else (host,)
        parts = name.split("/")
        places = [[*parts[:depth]] for depth in range(len(parts), -1, -1)]
        for wanted in ("/".join([at, *place]) for place in places for at in hosts):
            if wanted in known and (login := _login(known[wanted])) != Login():
                return login
        helper = body.get("credHelpers", {}).get(host) or body.get("credsStore")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise Invalid(f"{path} cannot be read as a docker config ({type(error).__name__})") from error
    server = f"https://{_HUB_KEY}/v1/" if host == HUB else host
    return _asked(env, path, helper, server) if helper else Login()


def _asked(env: Mapping[str, str], path: Path, name: object, server: str) -> Login:
    """The login that the program `docker-credential-NAME` keeps for a server (its protocol: the server's name
    in, JSON out). A server that it does not know has no login."""
    program = f"docker-credential-{name}"
    found = shutil.which(program, path=env.get("PATH")) if re.fullmatch(r"[\w.-]{1,80}", str(name)) else None
    if found is None:
        raise Invalid(f"{path} keeps its logins in {program[:100]!r}, which is not installed; {WHERE}")
    try:
        ran = subprocess.run([found, "get"], input=server.encode(), capture_output=True, timeout=_HELPER_S,
                             env=dict(env), check=False)  # fmt: skip
        if ran.returncode:
            return Login()  # its words may hold what it keeps
        told = parsed(ran.stdout)
        user, secret = str(told["Username"]), str(told["Secret"])
    except subprocess.TimeoutExpired as error:
        raise Unavailable(
            f"{program} did not answer in {_HELPER_S} s; is it waiting for a person?"
        ) from error
    except (OSError, ValueError, KeyError, TypeError):
        text = f"{program} did not answer with a login for {server}; try `{program} get` by hand"
        raise Invalid(text) from None
    return Login(refresh=secret) if user == "<token>" else Login(user, secret)


def _config(env: Mapping[str, str]) -> Path | None:
    folder = env.get("DOCKER_CONFIG") or (f"{env['HOME']}/.docker" if env.get("HOME") else "")
    named = env.get("KSERVE_OCI_DOCKER_CONFIG")
    if named and not Path(named).exists():
        raise Invalid(f"KSERVE_OCI_DOCKER_CONFIG names {named}, which is not there; check the secret's mount")
    for text in (named, env.get("DOCKER_CONFIG") and folder, env.get("REGISTRY_AUTH_FILE"), folder):
        for path in (Path(text), Path(text, "config.json"), Path(text, ".dockerconfigjson")) if text else ():
            if path.is_file():
                return path
    return None


def _key(text: str) -> str:
    """An entry's name without scheme and the version part that docker login writes."""
    return re.sub(r"/v[12]/?$", "", re.sub(r"^https?://", "", text)).rstrip("/")


def _login(entry: Mapping[str, Any]) -> Login:
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth") and not user:
        pair = base64.b64decode(str(entry["auth"]) + "===").decode()
        user, _, password = pair.rstrip("\0").partition(":")
    refresh = str(entry.get("identitytoken") or "")
    if user == "<token>":  # how some registries' tools write an identity token into `auth`
        user, password, refresh = "", "", refresh or password
    return Login(user, password, refresh, str(entry.get("registrytoken") or ""))
