"""hf://owner/model[:revision]: the Hugging Face Hub, a mirror of it, or anything that speaks its protocol.

The two listing endpoints are asked directly: importing huggingface_hub costs half a second and 30 MB in each
pull, and its client reads proxies and certificates from process-wide state. Its client and this adapter are
held together by the conformance suite, which runs both against the same hub.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from forebay.errors import Absent, Denied, ForebayError, Invalid, Unavailable
from forebay.kit.foreign import count
from forebay.kit.redact import Secret, redacted
from forebay.sources.settings import check_wanted, endpoint_of, flag, trust_from
from forebay.sources.types import Listing, RemoteFile, Request
from forebay.sources.wire.client import Client, Reply, refused

DEFAULT_ENDPOINT = "https://huggingface.co"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}")
_URI = re.compile(r"hf://([^/:@]+)/([^/:@]+)(?:[:@](.*)|/)?")
_NEXT = re.compile(r"<([^>]+)>\s*;\s*rel=\"?next\"?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubSource:
    """One hub. Reads HF_ENDPOINT, HF_TOKEN (or the token file of HF_HOME), proxies and CA bundles from
    `env`."""

    scheme: ClassVar[str] = "hf"
    name: ClassVar[str] = "hf"

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._endpoint = endpoint_of(env.get("HF_ENDPOINT") or DEFAULT_ENDPOINT, "HF_ENDPOINT")
        self._trust = trust_from(env)
        self._client = Client(env, trust=self._trust)
        self._token = token_of(env)

    def resolve(self, uri: str, *, revision: str = "") -> Listing:
        """The commit that `uri` means now, and its files. Raises Invalid, Denied, Absent, Unavailable."""
        repo, asked = parse(uri)
        with closing(self._client):
            return self._resolve(uri, repo, revision or asked or "main")

    def _resolve(self, uri: str, repo: str, at: str) -> Listing:
        info = self._json(f"/api/models/{repo}/revision/{quote(at, safe='')}", repo, at)
        commit = info.get("sha") if isinstance(info, dict) else None
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise Unavailable(
                f"{self._endpoint} did not name a commit for {repo}@{at}; is HF_ENDPOINT a hub?"
            )
        # The id that the hub answers with is the canonical one: a renamed or differently spelt repository.
        named = info.get("id") if isinstance(info, dict) else None
        repo = named if isinstance(named, str) and _is_repo(named) else repo
        files = tuple(self._tree(repo, commit))
        check_wanted((f.path for f in files), self._env)
        endpoint = "" if self._endpoint == DEFAULT_ENDPOINT else self._endpoint
        listing = Listing(uri, commit, tuple(sorted(files, key=lambda f: f.path)), endpoint)
        if isinstance(info, dict) and info.get("gated"):
            self._prove(listing, repo)
        return listing

    def request(self, listing: Listing, file: RemoteFile) -> Request:
        """GET of one file at the listing's commit; the hub redirects large ones."""
        url = (
            f"{self._endpoint}/{file.locator}/resolve/{listing.revision}/{quote(file.path, errors='replace')}"
        )
        return Request(url, self._headers(), self._trust.ca_file, self._trust.client_cert, self._trust.verify)

    def _prove(self, listing: Listing, repo: str) -> None:
        """The public hub lists a gated repository to everyone and refuses only its files: what a listing says
        is no right to read. Large files first: a model card may be open."""
        for file in sorted(listing.files, key=lambda f: (not f.sha256, f.size))[:1]:
            request = self.request(listing, file)
            reply = self._client.get(request.url, request.headers, method="HEAD")
            if reply.first.status >= 400:  # what a store behind the hub says of HEAD does not matter
                raise self._error(reply, repo, listing.revision)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token.reveal()}"} if self._token else {}

    def _tree(self, repo: str, commit: str) -> list[RemoteFile]:
        path = f"/api/models/{repo}/tree/{commit}?recursive=true&expand=false"
        files: list[RemoteFile] = []
        for _ in range(1000):
            reply = self._get(path, repo, commit)
            items = reply.json()
            if not isinstance(items, list):
                raise Unavailable(f"{self._endpoint} did not list the files of {repo}")
            files += [_file(repo, item) for item in items if not _is_folder(item)]
            link = _NEXT.search(reply.head.get("link"))
            if not link:
                return files
            # Mirrors pass on the hub's own address; the token stays with the endpoint that was named.
            path = "/api/models/" + link[1].partition("/api/models/")[2]
        raise Unavailable(f"{self._endpoint} lists {repo} without end")

    def _json(self, path: str, repo: str, revision: str) -> Any:
        return self._get(path, repo, revision).json()

    def _get(self, path: str, repo: str, revision: str) -> Reply:
        reply = self._client.get(self._endpoint + path, self._headers())
        if reply.status != 200:
            raise self._error(reply, repo, revision)
        return reply

    def _error(self, reply: Reply, repo: str, revision: str) -> ForebayError:
        """The hub's X-Error-Code in words; it answers 401 for what is private and for what does not exist."""
        code, status = reply.head.get("x-error-code"), reply.status
        if code == "GatedRepo":
            how = "the token was not accepted for it" if self._token else "no token was given"
            text = f"{repo} is gated and {how}: ask for access at {self._endpoint}/{repo} and set HF_TOKEN"
            return Denied(text, reason="gated")
        if code == "RevisionNotFound":
            return Absent(f"{repo} has no revision {revision!r}: name a branch, tag or commit that exists")
        if code == "EntryNotFound":
            return Absent(f"{repo}@{revision} has no such file")
        if "access to this resource is disabled" in reply.head.get("x-error-message").lower():
            return Denied(
                f"{self._endpoint} has disabled {repo}: nobody gets it; ask its owner or choose another"
            )
        if status == 401 and self._token:
            return Denied(f"{self._endpoint} refused the token in HF_TOKEN; put a valid one there")
        if status == 403:
            how = "the token in HF_TOKEN may not read" if self._token else "without a token nobody reads"
            hint = "give it read access to this repository" if self._token else "set HF_TOKEN"
            return Denied(f"{how} {repo} on {self._endpoint} (403): {hint}")
        if code == "RepoNotFound" or status in (401, 404):
            hint = "check the name" if self._token else "check the name, and set HF_TOKEN if it is private"
            return Absent(f"{repo} is not on {self._endpoint}, or private: {hint}")
        return refused(f"{self._endpoint} ({repo}@{revision})", status, hint="check HF_TOKEN and HF_ENDPOINT")


def parse(uri: str) -> tuple[str, str]:
    """(owner/model, revision or "") of an hf:// URI. Raises Invalid."""
    match = _URI.fullmatch(uri)
    if not match or not _is_repo(f"{match[1]}/{match[2]}"):
        raise Invalid(f"{redacted(uri)!r} is not hf://owner/model or hf://owner/model:revision")
    if match[3] and re.search(r"[\x00-\x20\x7f?#]|\.\.", match[3]):
        raise Invalid(f"{redacted(uri)!r} names a revision that no repository can have")
    return f"{match[1]}/{match[2]}", match[3] or ""


def _is_repo(text: str) -> bool:
    return text.count("/") == 1 and all(
        _NAME.fullmatch(part) and ".." not in part for part in text.split("/")
    )


def _is_folder(item: object) -> bool:
    return isinstance(item, dict) and item.get("type") != "file"


def _file(repo: str, item: dict[str, Any]) -> RemoteFile:
    try:
        lfs = item.get("lfs") or {}
        sha256 = str(lfs.get("oid", "")).lower().removeprefix("sha256:")
        git = "" if lfs else str(item["oid"]).lower()
        size = count(lfs.get("size", item["size"]))
        if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise ValueError("its digest")
        return RemoteFile(str(item["path"]), size, sha256=sha256, git_sha1=git, locator=repo)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unavailable(f"the hub's file list of {repo} cannot be read ({error})") from error


def token_of(env: Mapping[str, str]) -> Secret | None:
    """HF_TOKEN, HUGGING_FACE_HUB_TOKEN, the file HF_TOKEN_PATH, or HF_HOME/token (HF_HOME defaults to
    huggingface below XDG_CACHE_HOME or ~/.cache), as huggingface_hub looks for it; none of them with
    HF_HUB_DISABLE_IMPLICIT_TOKEN=1."""
    if flag(env, "HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        return None
    text = env.get("HF_TOKEN", "").strip() or env.get("HUGGING_FACE_HUB_TOKEN", "").strip()
    if not text:
        cache = env.get("XDG_CACHE_HOME") or (f"{env['HOME']}/.cache" if env.get("HOME") else "")
        home = env.get("HF_HOME") or (f"{cache}/huggingface" if cache else "")
        path = env.get("HF_TOKEN_PATH") or (f"{home}/token" if home else "")
        try:
            text = Path(path).read_text() if path else ""
        except (OSError, UnicodeDecodeError):
            text = ""
    return Secret(text.strip()) if text.strip() else None
