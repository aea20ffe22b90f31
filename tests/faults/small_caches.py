"""Small models on their way into a cache: pulls, an agent that grants, and what must lie there before and
after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from tests.fakes.cache_promises import assert_promises, shown
from tests.faults.pulling import KIB, some_bytes
from tests.faults.small_models import BIG, SETTINGS, THREE, LateFirst, an_archive_of, sha256

from forebay.cache import blobs, gc, open_root, reservations, views
from forebay.cache.root import Root, translated
from forebay.engines.hub import Hub, HubSettings
from forebay.errors import ForebayError
from forebay.pull import Settings
from forebay.pull.cached import pull_cached

Tree = dict[str, bytes]
A = {"big.safetensors": BIG, "config.json": b"{}", "sub/odd.bin": BIG[: 20 * KIB]}
A2 = {**A, "config.json": b'{"new": 1}', "sub/odd.bin": some_bytes(20 * KIB, 2), "more.json": b"[]"}
B = {"shared.safetensors": BIG, "config.json": b"[1]", "own.bin": some_bytes(24 * KIB, 3)}


@dataclass
class CacheStory:
    """`pull(root)` makes of the models `before`, by key, the models `after`."""

    pull: Callable[[Path], None]
    after: dict[str, Tree]
    before: dict[str, Tree] = field(default_factory=dict)
    prepare: Callable[[Path], None] = open_root


@dataclass
class Agent:
    """The node's agent, whose turn comes whenever a pull waits for it; then a moment has passed."""

    root: Root
    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += 60.0
        with suppress(OSError, ForebayError):  # its next turn tries again
            for said in reservations.find_all(self.root):
                reservations.answer(self.root, said.id, "granted")


def pull(uri: str, key: str, root: Path, env: dict[str, str], settings: Settings = SETTINGS) -> None:
    """A Job's pull, and what the agent does beside it and after it."""
    wish = {"FOREBAY_CACHE_ROOT": str(root), "FOREBAY_STORAGE_KEY": key, "FOREBAY_MODEL": key, **env}
    cache = open_root(root)
    agent = Agent(cache)
    time = SimpleNamespace(monotonic=agent.monotonic, sleep=agent.sleep)
    with (
        mock.patch.object(reservations, "time", time),
        mock.patch.object(Settings, "from_env", lambda env: settings),
    ):
        pull_cached(uri, wish)
    with translated("the view"):
        views.publish(cache, key)


@contextmanager
def a_hub(tmp: Path) -> Iterator[tuple[Callable[[str, Tree], None], dict[str, str]]]:
    """A hub, and how a repository of it becomes another."""

    def holds(name: str, tree: Tree) -> None:
        repo = tmp / "hub" / "acme" / name
        for path in [p for p in repo.rglob("*") if p.is_file()]:
            path.unlink()
        for path, body in tree.items():
            (repo / path).parent.mkdir(parents=True, exist_ok=True)
            (repo / path).write_bytes(body)

    holds("a", A)
    holds("b", B)
    with Hub(HubSettings(tmp / "hub")) as hub:
        yield holds, {"HF_ENDPOINT": hub.url}


@contextmanager
def first(tmp: Path) -> Iterator[CacheStory]:
    """The first model of a cache that has its folders."""
    with a_hub(tmp) as (_, env):
        yield CacheStory(lambda root: pull("hf://acme/a", "a", root, env), {"a": A})


@contextmanager
def shares(tmp: Path) -> Iterator[CacheStory]:
    """A second model, whose largest file is there already."""
    with a_hub(tmp) as (_, env):
        yield CacheStory(
            lambda root: pull("hf://acme/b", "b", root, env), {"a": A, "b": B}, {"a": A},
            lambda root: pull("hf://acme/a", "a", root, env),
        )  # fmt: skip


@contextmanager
def refresh(tmp: Path) -> Iterator[CacheStory]:
    """A model becomes another revision of itself; a second one shares what stays."""
    with a_hub(tmp) as (holds, env):

        def prepare(root: Path) -> None:
            holds("a", A)
            pull("hf://acme/a", "a", root, env)
            pull("hf://acme/b", "b", root, env)
            holds("a", A2)

        again = {**env, "FOREBAY_REFRESH": "1", "FOREBAY_REFRESH_FOR": "now"}
        yield CacheStory(
            lambda root: pull("hf://acme/a", "a", root, again), {"a": A2, "b": B}, {"a": A, "b": B}, prepare
        )


@contextmanager
def archive(tmp: Path) -> Iterator[CacheStory]:
    """What is in an archive goes into the blobs."""
    with an_archive_of(A) as url:
        yield CacheStory(lambda root: pull(url, "a", root, {}), {"a": A})


@contextmanager
def holes(tmp: Path) -> Iterator[CacheStory]:
    """Three connections, pieces out of order, and nobody who promises a digest."""
    body = some_bytes(14 * 16 * KIB + 99)
    with LateFirst(body, promise=False) as server:

        def prepare(root: Path) -> None:
            open_root(root)
            server.seen.clear()
            server.late, server.dest = frozenset({"first", "second"}), root

        yield CacheStory(
            lambda root: pull(server.url, "a", root, {}, THREE), {"a": {"model.bin": body}}, {}, prepare
        )


STORIES = {"first": first, "shares": shares, "refresh": refresh, "archive": archive, "holes": holes}


def shows(root: Root, key: str, tree: Tree | None) -> bool:
    """Whether the view of a model is this tree; None: no view."""
    return shown(root, key) == (None if tree is None else {p: sha256(body) for p, body in tree.items()})


def after_a_fault(story: CacheStory, root: Root, where: str) -> None:
    """The agent starts again: C1 to C3 hold, models that nobody touched stand, the others are old, new or
    not shown."""
    done = gc.recover(root)
    assert not [line for line in done if "set the manifest" in line], f"{where}: C2: {done}"
    assert_promises(root)
    for key, tree in story.after.items():
        old = story.before.get(key)
        if old == tree:
            assert shows(root, key, tree), f"{where}: {key} was not concerned"
        else:
            assert any(shows(root, key, t) for t in (None, old, tree)), f"{where}: C3: {key}"


def goes_on(story: CacheStory, root: Root, where: str) -> None:
    """The next pull ends well (C7); then collecting leaves what is named (C4), and nothing was bad (C5)."""
    story.pull(root.layout.root)
    assert_promises(root)
    gc.collect(root, keep_parts=())
    assert_promises(root)
    for key, tree in story.after.items():
        assert shows(root, key, tree), f"{where}: {key}"
    wanted = {sha256(body) for tree in story.after.values() for body in tree.values()}
    assert set(blobs.digests(root)) == wanted, where
    for folder in (root.layout.trash, root.layout.parts):
        assert root.disk.list(folder) == [], f"{where}: {folder.name}"
    aside = root.disk.list(
        root.layout.damaged
    )  # a part that lost bytes may be there, nothing that had a name
    assert not [name for name in aside if name.endswith((".blob", ".json"))], f"{where}: C5: {aside}"
    assert reservations.find_all(root) == [], where
