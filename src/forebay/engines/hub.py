"""A small Hugging Face Hub over a folder, on loopback: for the demo, for tests, and as a mirror without
internet.

`python -m forebay.engines.hub FOLDER [--port P] [--gated ORG/NAME] [--token T] ...` serves
FOLDER/ORG/NAME/files as
repositories with the branch `main`. It speaks what the Hub's own client asks for (recorded from its
requests):
revision, tree with pages, paths-info, HEAD and GET of resolve, X-Repo-Commit, X-Linked-Etag and X-Linked-
Size with a
redirect to another host name for large files, Range, and X-Error-Code for what is gated, private or absent.
Bodies go
out by sendfile from threads. `GET /_hub/requests` tells what was asked, for tests that count bytes.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import secrets
import signal
import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from forebay.engines.fileserver import FileBody, FileServer, Reply, Request
from forebay.engines.hubfiles import Entry, HubFiles
from forebay.errors import Absent


@dataclass
class HubSettings:
    """What a hub holds and who may have it. Repository names are compared without case.

    As on the public hub, everybody may list a gated repository; its files are refused. `refs` are further
    branches, tags and refs/pr/N: (repository, name of the ref) to the repository that holds its files.
    """

    folder: Path
    gated: frozenset[str] = frozenset()
    private: frozenset[str] = frozenset()
    tokens: frozenset[str] = frozenset()
    renamed: dict[str, str] = field(default_factory=dict)
    refs: dict[tuple[str, str], str] = field(default_factory=dict)
    lfs_bytes: int = 1 << 20  # files from here on are large, whatever they are called
    cdn_host: str = "localhost"  # another name for this machine: credentials must not follow there
    page: int = 1000
    address_life_s: float = 3600.0


class Hub:
    """The hub's answers; `server` moves the bytes. `requests` is the log of (method, path, status, bytes
    sent)."""

    def __init__(
        self,
        settings: HubSettings,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.settings = settings
        self._files = HubFiles(settings.folder, settings.lfs_bytes)
        self._key = secrets.token_bytes(16)
        self.server = FileServer(self.answer, host=host, port=port, tls=tls)

    @property
    def url(self) -> str:
        """What HF_ENDPOINT should be."""
        return self.server.url

    def __enter__(self) -> Hub:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    def answer(self, request: Request) -> Reply:
        """One request: pure but for reading the folder."""
        path = unquote(urlsplit(request.target).path)
        if path == "/_hub/requests":
            return Reply.json(200, [entry.__dict__ for entry in self.server.log])
        if path.startswith("/_cdn/"):
            return self._cdn(request, path)
        if path.startswith("/api/models/"):
            return self._api(request, path.removeprefix("/api/models/"))
        head, mark, tail = urlsplit(request.target).path.lstrip("/").partition("/resolve/")
        if mark and head.count("/") == 1:
            revision, _, name = tail.partition("/")  # a revision with slashes comes quoted
            return self._resolve(request, unquote(head), unquote(revision), unquote(name))
        return Reply.json(404, {"error": "no such page"})

    # --- repositories ---

    def _api(self, request: Request, path: str) -> Reply:
        parts = path.split("/")
        if len(parts) < 2:
            return Reply.json(404, {"error": "no such page"})
        repo = "/".join(parts[:2])
        what = parts[2] if len(parts) > 2 else "revision"
        refusal = self._refusal(request, repo, f"/api/models/{{}}/{'/'.join(parts[2:])}", files=False)
        if refusal is not None:
            return refusal
        name = self._named(repo)
        # A revision may hold slashes when it is quoted; the folder of a tree request comes after it.
        revision = "/".join(parts[3:]) or "main"
        if what == "tree":
            revision = parts[3] if len(parts) > 3 else "main"
        tree = self._files.listed(name, revision)
        if tree is None:
            at = self._at(name, revision)
            if at is None:
                return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            tree = self._files.tree(at)
        entries, commit = list(tree.entries.values()), tree.commit
        if what == "tree":
            return self._tree(request, name, entries, commit)
        if what == "paths-info":
            return Reply.json(200, [_item(e) for e in entries if e.path in _paths(request)])
        siblings = [{"rfilename": e.path} for e in entries]
        gated = "manual" if name.lower() in {r.lower() for r in self.settings.gated} else False
        body = {"id": name, "modelId": name, "sha": commit, "private": False, "gated": gated,
                "siblings": siblings, "tags": [], "downloads": 0, "likes": 0}  # fmt: skip
        return Reply.json(200, body)

    def _tree(self, request: Request, name: str, entries: list[Entry], commit: str) -> Reply:
        query = parse_qs(urlsplit(request.target).query)
        start = int(query.get("cursor", ["0"])[0])
        page = self.settings.page
        reply = Reply.json(200, [_item(e) for e in entries[start : start + page]])
        if start + page < len(entries):
            path = f"/api/models/{name}/tree/{commit}?recursive=true&expand=false&cursor={start + page}"
            link = self.url + path
            reply.headers["Link"] = f'<{link}>; rel="next"'
        return reply

    def _resolve(self, request: Request, repo: str, revision: str, path: str) -> Reply:
        refusal = self._refusal(request, repo, f"/{{}}/resolve/{quote(revision, safe='')}/{quote(path)}")
        if refusal is not None:
            return refusal
        name, commit = self._named(repo), revision
        entry = self._files.at(name, commit, path)
        if entry is None:
            at = self._at(name, revision)
            if at is None:
                return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            name, tree = at, self._files.tree(at)
            entry, commit = tree.entries.get(path), tree.commit
        if entry is None:
            return _error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if not entry.sha256:
            return Reply(200, {**headers, "ETag": f'"{entry.git}"'}, FileBody(self._folder(name) / path))
        headers |= {"X-Linked-Etag": f'"{entry.sha256}"', "X-Linked-Size": str(entry.size)}
        headers["Location"] = self._address(name, entry)
        return Reply(302, headers)

    def _address(self, name: str, entry: Entry) -> str:
        until = int(self.server.now() + self.settings.address_life_s)
        path = f"/_cdn/{name}/{quote(entry.path)}"
        base = f"{self.server.scheme}://{self.settings.cdn_host}:{self.server.port}{path}"
        return f"{base}?until={until}&sig={self._sign(path, until)}"

    def _sign(self, path: str, until: int) -> str:
        return hmac.new(self._key, f"{path} {until}".encode(), "sha256").hexdigest()

    def _cdn(self, request: Request, path: str) -> Reply:
        parts = urlsplit(request.target)
        query = parse_qs(parts.query)
        until = int(query.get("until", ["0"])[0])
        good = hmac.compare_digest(query.get("sig", [""])[0], self._sign(parts.path, until))
        if not good or until < self.server.now():
            return Reply.json(403, {"error": "the address has expired"})
        if "authorization" in request.headers:
            return Reply.json(400, {"error": "a credential followed the redirect"})
        owner, name, file = path.removeprefix("/_cdn/").split("/", 2)
        full = self._folder(f"{owner}/{name}") / file
        return Reply(
            200, {"ETag": f'"{self._files.digest(full)[1]}"', "Accept-Ranges": "bytes"}, FileBody(full)
        )

    def _at(self, name: str, revision: str) -> str | None:
        """The repository whose files a revision of `name` means."""
        refs = {"main": name} | {ref: of for (repo, ref), of in self.settings.refs.items() if repo == name}
        commits = (of for of in refs.values() if self._files.tree(of).commit == revision)
        return refs.get(revision) or next(commits, None)

    def _refusal(self, request: Request, repo: str, again: str, *, files: bool = True) -> Reply | None:
        moved = {k.lower(): v for k, v in self.settings.renamed.items()}.get(repo.lower())
        if moved is not None:
            return Reply(307, {"Location": again.format(moved)})
        key, token = repo.lower(), request.headers.get("authorization", "").removeprefix("Bearer ")
        known = token in self.settings.tokens
        if key in {r.lower() for r in self.settings.private} and not known:
            return _error(401, "RepoNotFound", "Repository not found")
        if not self._folder(self._named(repo)).is_dir() or ".." in repo:
            return _error(404 if known else 401, "RepoNotFound", "Repository not found")
        if files and key in {r.lower() for r in self.settings.gated} and not known:
            status = 403 if token else 401
            return _error(status, "GatedRepo", f"Access to model {repo} is restricted")
        return None

    def _named(self, repo: str) -> str:
        """The repository's own spelling of a name."""
        owner, _, name = repo.partition("/")
        for found in _folders(self.settings.folder):
            if found.name.lower() == owner.lower():
                for model in _folders(found):
                    if model.name.lower() == name.lower():
                        return f"{found.name}/{model.name}"
        return repo

    def _folder(self, name: str) -> Path:
        return self.settings.folder / name


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []


def _item(entry: Entry) -> dict[str, object]:
    item: dict[str, object] = {"type": "file", "oid": entry.git, "size": entry.size, "path": entry.path}
    if entry.sha256:
        item["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": 134}
    return item


def _paths(request: Request) -> list[str]:
    text = request.body.decode("utf-8", "replace")
    if text.startswith("{"):
        return list(json.loads(text).get("paths", []))
    return parse_qs(text).get("paths", [])


def _error(status: int, code: str, message: str, more: dict[str, str] | None = None) -> Reply:
    reply = Reply.json(status, {"error": message})
    reply.headers |= {"X-Error-Code": code, "X-Error-Message": message, **(more or {})}
    return reply


def main(argv: list[str] | None = None) -> int:
    """Serve until a signal comes; prints `listening on URL` first."""
    parser = argparse.ArgumentParser(
        prog="forebay hub", description="a small Hugging Face Hub over a folder, on loopback"
    )
    parser.add_argument("folder", type=Path, help="holds ORG/NAME/files of each model")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: any)")
    for what, means in (("gated", "wants a token and says so"), ("private", "is not there without a token")):
        parser.add_argument(
            f"--{what}", action="append", default=[], metavar="ORG/NAME", help=f"{means}; repeatable"
        )
    parser.add_argument("--token", action="append", default=os.environ.get("HUB_TOKENS", "").split(),
                        help="opens gated and private models; repeatable (default: $HUB_TOKENS)")  # fmt: skip
    parser.add_argument(
        "--cdn-host", default="localhost", help="host of the links to files (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    if not options.folder.is_dir():
        raise Absent(f"there is no folder {options.folder}; make it, with ORG/NAME folders of models in it")
    settings = HubSettings(options.folder, frozenset(options.gated), frozenset(options.private),
                           frozenset(options.token), cdn_host=options.cdn_host)  # fmt: skip
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with Hub(settings, port=options.port) as hub:
        print(f"listening on {hub.url}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
