"""The node's agent on a real root folder, with a store in process; pulls are the real ones, in a thread."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import inspect
import logging
import os
import threading
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from forebay.api.admission import Rules
from forebay.api.kinds import (
    Job,
    LocalModelNode,
    LocalModelNodeGroup,
    Namespace,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
)  # fmt: skip
from forebay.api.meta import Key
from forebay.api.names import storage_key
from forebay.cache import blobs, damage, find, find_all, open_root, pins, set_pinned, views
from forebay.errors import Denied, Exhausted, Unavailable
from forebay.kit.clock import SystemClock
from forebay.node import agent
from forebay.node.agent import run_agent
from forebay.pull.cached import pull_cached
from forebay.store.protocol import edit
from forebay.store.sqlite import SqliteStore

NODE, GROUP, JOBS = "n1", "workers", "kserve-localmodel-jobs"


class World:
    """A store, a root and an agent, and the doings of control and kubelet around it."""

    def __init__(self, store, folder: Path):
        self.store, self.folder = store, folder
        self.root = open_root(folder / "root")

    async def begin(self, limit="1Gi"):
        for name in (JOBS, "default"):
            await self.store.create(Namespace.new(name))
        template = {"hostPath": {"path": "/models"}, "capacity": {"storage": "1Gi"}}
        await self.store.create(LocalModelNodeGroup.new(GROUP, spec={
            "storageLimit": limit, "persistentVolumeSpec": template,
            "persistentVolumeClaimSpec": {"accessModes": ["ReadWriteOnce"]},
        }))  # fmt: skip
        await self.store.create(LocalModelNode.new(NODE, spec={"localModels": []}))

    def source(self, name, **files: bytes) -> str:
        folder = self.folder / "origin" / name
        folder.mkdir(parents=True)
        for path, body in files.items():
            (folder / path).write_bytes(body)
        return f"file://{folder}"

    async def want(self, **models: str):
        entries = [{"modelName": n, "sourceModelUri": uri, "nodeGroup": GROUP} for n, uri in models.items()]
        await edit(
            self.store,
            LocalModelNode,
            Key("", NODE),
            lambda item: item.raw["spec"].update(localModels=entries),
        )

    def pull(self, model, uri, **more: str):
        """The body of a download Job."""
        env = {**os.environ, "FOREBAY_CACHE_ROOT": str(self.folder / "root"), "FOREBAY_MODEL": model,
               "FOREBAY_STORAGE_KEY": storage_key(uri), "FOREBAY_ROOM_WAIT_S": "10", **more}  # fmt: skip
        return asyncio.to_thread(pull_cached, uri, env)

    async def job(self, model, *, conditions=(), subpath="", attempt=1):
        mount = {"name": "v", "mountPath": "/mnt/models", **({"subPath": subpath} if subpath else {})}
        made = await self.store.create(Job.new(
            f"{model}-{NODE}-{attempt}", JOBS,
            labels={"model": model, "node": NODE, "forebay.dev/attempt": str(attempt)},
            spec={"template": {"spec": {"restartPolicy": "Never",
                  "containers": [{"name": "c", "image": "i", "volumeMounts": [mount]}],
                  "volumes": [{"name": "v", "emptyDir": {}}]}}},
        ))  # fmt: skip
        made.raw["status"] = {"conditions": [{"type": c, "status": "True", "message": m} for c,
        m in conditions],
                              "active": 0 if conditions else 1}  # fmt: skip
        await self.store.update_status(made)

    async def pod(self, name, key, *, phase="Running"):
        made = await self.store.create(Pod.new(name, "default", spec={
            "nodeName": NODE, "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "m", "hostPath": {"path": f"/models/models/{key}"}}],
        }))  # fmt: skip
        made.raw["status"] = {"phase": phase, "conditions": [{"type": "Ready", "status": "True"}]}
        await self.store.update_status(made)

    async def status(self):
        return (await self.store.get(LocalModelNode, Key("", NODE))).status

    async def state(self, model):
        return (await self.status()).get("modelStatus", {}).get(model)

    async def said(self, model):
        return (await self.status()).get("models", {}).get(model, {})

    async def until(self, what, *, within_s=15):
        try:
            async with asyncio.timeout(within_s):
                while True:
                    found = what()
                    if inspect.isawaitable(found):
                        found = await found
                    if found:
                        return found
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"it did not come: status is {await self.status()}") from None

    def until_state(self, model, state, **more):
        async def there():
            return await self.state(model) == state

        return self.until(there, **more)

    def shown(self, uri):
        view = self.folder / "root" / "models" / storage_key(uri)
        return {p.name: p.read_bytes() for p in view.iterdir()} if view.exists() else None

    @asynccontextmanager
    async def agent(self):
        task = asyncio.create_task(
            run_agent(self.store, node=NODE, group=GROUP, root=self.folder / "root", clock=SystemClock())
        )
        try:
            yield
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Complaints(logging.Handler):
    """What the agent warns of; a story that expects nothing must hear nothing."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.heard = []

    def emit(self, record):
        self.heard.append(record.getMessage())


def in_world(tmp_path, story, *, expects="", **more):
    complaints = Complaints()
    logging.getLogger("forebay.node").addHandler(complaints)
    try:
        _in_world(tmp_path, story, **more)
    finally:
        logging.getLogger("forebay.node").removeHandler(complaints)
    assert [text for text in complaints.heard if not (expects and expects in text)] == []


def _in_world(tmp_path, story, **more):
    async def main():
        store = SqliteStore(tmp_path / "db", Rules())
        await store.open()
        try:
            world = World(store, tmp_path)
            await world.begin(**more)
            async with world.agent():
                await story(world)
        finally:
            await store.close()

    asyncio.run(main())


def test_an_entry_is_pulled_published_and_reported(tmp_path):
    async def story(world):
        uri = world.source("a", f=b"content")
        await world.want(a=uri)
        await world.until_state("a", "ModelDownloadPending")
        assert world.shown(uri) is None
        manifest = await world.pull("a", uri)
        await world.until_state("a", "ModelDownloaded")
        assert world.shown(uri) == {"f": b"content"}
        said = await world.said("a")
        assert (said["revision"], said["bytesTotal"], said["source"]) == (manifest.revision, 7, "file")
        assert (await world.status())["groups"][GROUP]["limit"] == 1 << 30

    in_world(tmp_path, story)


def test_a_second_cache_of_the_same_uri_waits_for_its_own_credentials(tmp_path):
    async def story(world):
        uri = world.source("a", f=b"content")
        await world.want(a=uri, b=uri)
        await world.pull("a", uri)
        await world.until_state("a", "ModelDownloaded")
        await world.until_state("b", "ModelDownloadPending")
        assert "own credentials" in (await world.said("b"))["message"]
        await world.pull("b", uri)
        await world.until_state("b", "ModelDownloaded")
        assert len(find_all(world.root)) == 1

    in_world(tmp_path, story)


def test_the_least_recently_used_goes_for_a_new_model_but_never_what_is_in_use_or_pinned(tmp_path):
    async def story(world):
        uris = {name: world.source(name, f=name.encode() * 400_000) for name in "abcd"}
        await world.want(**uris)
        for name in "abc":
            await world.pull(name, uris[name])
            await world.until_state(name, "ModelDownloaded")
        await world.pod("p", storage_key(uris["a"]))
        await world.until(lambda: pins.users(world.root, storage_key(uris["a"])))
        set_pinned(world.root, storage_key(uris["b"]), True)
        await world.pull("d", uris["d"])
        await world.until_state("d", "ModelDownloaded")
        await world.until_state("c", "ModelDownloadPending")
        assert {n for n in "abcd" if world.shown(uris[n])} == {"a", "b", "d"}
        assert "made room for d" in (await world.said("c"))["message"]
        await world.job("c", conditions=[("Failed", "no room")])
        with pytest.raises(Exhausted, match="no room for c"):
            await world.pull("c", uris["c"], FOREBAY_ROOM_WAIT_S="0.5")
        assert {n for n in "abcd" if world.shown(uris[n])} == {"a", "b", "d"}
        await world.until_state("c", "ModelDownloadError")
        assert "no room for c" in (await world.said("c"))["message"]

    in_world(tmp_path, story, limit="1300k")


def test_what_leaves_the_spec_goes_once_no_pod_uses_it_and_unknown_folders_stay(tmp_path):
    async def story(world):
        uri = world.source("a", f=b"content")
        key = storage_key(uri)
        foreign = tmp_path / "root" / "models" / "somebody-elses"
        foreign.mkdir(parents=True)
        await world.want(a=uri)
        await world.pull("a", uri)
        await world.until_state("a", "ModelDownloaded")
        await world.pod("p", key)
        await world.until(lambda: pins.users(world.root, key))
        await world.want()
        await world.until(lambda: asyncio.ensure_future(_has_message(world, "default/p")))
        assert world.shown(uri) == {"f": b"content"}
        await world.store.delete(Pod, Key("default", "p"), grace_s=0)
        await world.until(lambda: world.shown(uri) is None and find(world.root, key) is None)
        await world.until_state("a", None)
        assert foreign.exists()

    async def _has_message(world, word):
        return word in (await world.said("a")).get("message", "")

    in_world(tmp_path, story)


def test_a_cache_of_the_same_name_made_anew_has_to_show_its_credentials_again(tmp_path):
    async def story(world):
        uri = world.source("a", f=b"content")
        await world.want(a=uri)
        await world.pull("a", uri)
        await world.until_state("a", "ModelDownloaded")
        await world.pod("p", storage_key(uri))
        await world.until(lambda: pins.users(world.root, storage_key(uri)))
        await world.want()
        await world.until(lambda: asyncio.ensure_future(_goes(world)))
        await world.want(a=uri)
        await world.until_state("a", "ModelDownloadPending")
        await world.pull("a", uri)
        await world.until_state("a", "ModelDownloaded")

    async def _goes(world):
        return "goes when" in (await world.said("a")).get("message", "")

    in_world(tmp_path, story)


def test_a_pod_that_mounts_the_serving_claim_keeps_the_model(tmp_path):
    async def story(world):
        uri = world.source("a", f=b"content")
        key = storage_key(uri)
        await world.want(a=uri)
        await world.pull("a", uri)
        await world.until_state("a", "ModelDownloaded")
        await world.store.create(PersistentVolume.new("v", spec={
            "hostPath": {"path": f"/models/models/{key}"}, "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadOnlyMany"]}))  # fmt: skip
        await world.store.create(PersistentVolumeClaim.new("c", "default", spec={
            "volumeName": "v", "accessModes": ["ReadOnlyMany"], "storageClassName": "",
            "resources": {"requests": {"storage": "1Gi"}}}))  # fmt: skip
        await world.store.create(Pod.new("p", "default", spec={
            "nodeName": NODE, "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "m", "persistentVolumeClaim": {"claimName": "c"}}]}))  # fmt: skip
        await world.until(lambda: pins.users(world.root, key) == ["default/p"])

    in_world(tmp_path, story)


def test_what_a_foreign_downloader_wrote_is_adopted_when_its_job_has_succeeded(tmp_path):
    async def story(world):
        uri = "gs://bucket/a"
        await world.want(a=uri)
        await world.job("a", subpath=f".forebay/staging/{storage_key(uri)}")
        await world.until_state("a", "ModelDownloadPending")
        staged = world.root.layout.staged(storage_key(uri)) / "sub"
        staged.mkdir(parents=True)
        (staged / "f").write_bytes(b"foreign")
        await world.want(a=uri, other="gs://bucket/b")  # any event: a foreign downloader tells nothing
        await world.until_state("a", "ModelDownloading")
        await world.job(
            "a", subpath=f".forebay/staging/{storage_key(uri)}", attempt=2, conditions=[("Complete", "")]
        )
        await world.until_state("a", "ModelDownloaded")
        view = tmp_path / "root" / "models" / storage_key(uri)
        assert (view / "sub" / "f").read_bytes() == b"foreign"
        assert [file.promised for file in find(world.root, storage_key(uri)).files] == [False]
        await world.until(lambda: not staged.exists())

    in_world(tmp_path, story)


def test_a_failed_pull_says_why_in_the_status(tmp_path):
    async def story(world):
        uri = world.source("a", f=b"content")
        (tmp_path / "origin" / "a" / "f").chmod(0)
        gone = f"file://{tmp_path}/origin/nothing"
        await world.want(a=gone)
        with pytest.raises(Exception, match="nothing") as caught:
            await world.pull("a", gone)
        await world.job("a", conditions=[("Failed", "BackoffLimitExceeded")])
        await world.until_state("a", "ModelDownloadError")
        assert (await world.said("a"))["message"] == caught.value.message
        assert uri

    in_world(tmp_path, story)


def test_a_folder_in_the_way_is_named_and_left_alone(tmp_path):
    async def story(world):
        uri = world.source("a", f=b"content")
        there = tmp_path / "root" / "models" / storage_key(uri)
        there.mkdir()
        (there / "old").write_bytes(b"")
        await world.want(a=uri)
        await world.pull("a", uri)
        await world.until_state("a", "ModelDownloadError")
        assert "was not made by Forebay" in (await world.said("a"))["message"]
        assert (there / "old").exists()

    in_world(tmp_path, story)


def test_progress_of_a_waiting_pull_is_in_the_status(tmp_path):
    async def story(world):
        uri = world.source("big", f=b"x" * 3_000_000)
        await world.want(a=uri)
        with pytest.raises(Exhausted):
            await world.pull("a", uri, FOREBAY_ROOM_WAIT_S="1")
        message = (await world.until(lambda: asyncio.ensure_future(_refused(world))))["message"]
        assert "no room for a (needs 2.9 MiB, free" in message

    async def _refused(world):
        said = await world.said("a")
        return said if "no room" in said.get("message", "") else None

    in_world(tmp_path, story, limit="1M")


def test_an_agent_that_starts_again_finds_everything_and_writes_nothing_new(tmp_path):
    async def story(world):
        uri = world.source("a", f=b"content")
        await world.want(a=uri)
        await world.pull("a", uri)
        await world.until_state("a", "ModelDownloaded")
        before = (await world.store.get(LocalModelNode, Key("", NODE))).revision
        async with world.agent():
            await world.pod("p", storage_key(uri))
            await world.until(lambda: pins.users(world.root, storage_key(uri)))
            assert (await world.store.get(LocalModelNode, Key("", NODE))).revision == before
        assert views.standing(world.root) == {storage_key(uri)}

    in_world(tmp_path, story)


def test_a_denied_pull_of_cached_content_entitles_nobody(tmp_path, monkeypatch):
    async def story(world):
        uri = world.source("a", f=b"content")
        await world.want(a=uri, b=uri)
        await world.pull("a", uri)
        await world.until_state("a", "ModelDownloaded")

        def refuse(*_, **__):
            raise Denied("the token in secret hub was refused")

        monkeypatch.setattr("forebay.pull.cached.resolve", refuse)
        with pytest.raises(Denied):
            await world.pull("b", uri)
        await world.until(lambda: asyncio.ensure_future(_failed(world)))
        assert await world.state("b") != "ModelDownloaded"

    async def _failed(world):
        return "was refused" in (await world.said("b")).get("message", "")

    in_world(tmp_path, story)


def test_two_pulls_of_one_model_at_once_move_its_bytes_once(tmp_path):
    async def story(world):
        uri = world.source("a", f=b"content" * 100_000)
        await world.want(a=uri, b=uri)
        one, two = await asyncio.gather(world.pull("a", uri), world.pull("b", uri))
        assert one == two
        await world.until_state("a", "ModelDownloaded")
        await world.until_state("b", "ModelDownloaded")
        assert threading.active_count() < 40

    in_world(tmp_path, story)


def test_a_model_is_warmed_once_for_a_pod_that_starts(tmp_path, caplog):
    caplog.set_level(logging.INFO, "forebay.node")

    def warmed():
        return [r.getMessage() for r in caplog.records if r.getMessage().startswith("warmed model")]

    async def story(world):
        uri = world.source("a", f=b"content" * 1000)
        await world.want(a=uri)
        await world.pull("a", uri)
        await world.until_state("a", "ModelDownloaded")
        await world.store.create(Pod.new("p", "default", spec={
            "nodeName": NODE, "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "m", "hostPath": {"path": f"/models/models/{storage_key(uri)}"}}],
        }))  # fmt: skip
        await world.until(warmed)
        other = world.source("b", f=b"b")
        await world.want(a=uri, b=other)
        await world.until_state("b", "ModelDownloadPending")
        assert len(warmed()) == 1
        assert "7000 of 7000 bytes" in warmed()[0]

    in_world(tmp_path, story)


def test_a_disk_without_room_for_a_pods_pin_gives_room_all_the_same(tmp_path, monkeypatch):
    async def story(world):
        uri = world.source("a", f=b"content")
        await world.want(a=uri)
        await world.pull("a", uri)
        await world.until_state("a", "ModelDownloaded")

        def no_room(root, wanted):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(pins, "rebuild", no_room)
        await world.pod("p", storage_key("file:///elsewhere"))
        await world.want()
        await world.until(lambda: find(world.root, storage_key(uri)) is None)
        await world.until_state("a", None)

    in_world(tmp_path, story, expects="the pins: No space left on device; free space")


def test_a_root_that_cannot_be_set_right_is_said_in_our_words(tmp_path, monkeypatch):
    def no_writing(root):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(agent, "recover", no_writing)
    with pytest.raises(Unavailable, match="Read-only file system; check the disk"):
        asyncio.run(run_agent(None, node=NODE, group=GROUP, root=tmp_path / "root", clock=SystemClock()))


def test_what_is_whole_of_a_damaged_model_goes_with_its_cache(tmp_path):
    """It waits for the pull that heals the model, and that never comes."""

    async def story(world):
        uri = world.source("a", f=b"content", g=b"more")
        await world.want(a=uri)
        await world.pull("a", uri)
        await world.until_state("a", "ModelDownloaded")
        bad, whole = (hashlib.sha256(body).hexdigest() for body in (b"content", b"more"))
        damage.set_aside(world.root, bad, "test")
        await world.until_state("a", "ModelDownloadPending")
        assert blobs.digests(world.root).keys() == {whole}
        await world.want()
        await world.until(lambda: not blobs.digests(world.root))
        assert [name for name in world.root.disk.list(world.root.layout.damaged) if name.endswith(".blob")]

    in_world(tmp_path, story)
