"""The promises S1 to S7 of the store, for every implementation of it.

Each case is a coroutine over a `World`: a store, a namespace of its own, and a notebook. What it notes
(outcomes and stored forms, with everything that a server makes up replaced by placeholders) is the case's
verdict; the verdict of the real kube-apiserver is checked in, and every other implementation must reproduce
it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from forebay.api.kinds import (
    ConfigMap,
    Deployment,
    InferenceService,
    LocalModelCache,
    LocalModelNode,
    Namespace,
    Pod,
    Secret,
)
from forebay.api.meta import Json, Key, Resource
from forebay.errors import Clash, ForebayError
from forebay.store.protocol import Event, Store, Where, edit, edit_status

DEADLINE_S = 20.0
MADE_UP = ("uid", "creationTimestamp", "resourceVersion", "deletionTimestamp")


@dataclass
class World:
    """A store, a namespace that only this case uses, and what the case noted."""

    store: Any
    ns: str
    notes: list[Any] = field(default_factory=list)

    def note(self, what: Any) -> None:
        """Write down an object (its stored form) or a plain value."""
        self.notes.append(self._placeheld(what.raw if isinstance(what, Resource) else what))

    async def refused(self, doing: Awaitable[Any]) -> None:
        """The call must fail; note the error's class and its causes' fields."""
        try:
            await doing
        except ForebayError as error:
            fields = sorted({path for path, _, _ in error.causes})
            self.note({"refused": error.code, "fields": fields})
        else:
            raise AssertionError("was accepted")

    def _placeheld(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: self._held(k, v) for k, v in value.items() if k != "managedFields"}
        if isinstance(value, list):
            return [self._placeheld(item) for item in value]
        return value.replace(self.ns, "<ns>") if isinstance(value, str) else value

    def _held(self, key: str, value: Any) -> Any:
        return f"<{key}>" if key in MADE_UP else self._placeheld(value)

    async def events(
        self, kind: type[Resource], count: int, *, since: str, where: Where | None = None
    ) -> list[Event[Any]]:
        """The next `count` events after `since`, bookmarks left out."""
        seen: list[Event[Any]] = []
        async with asyncio.timeout(DEADLINE_S):
            async for event in self.store.watch(kind, where or Where(namespace=self.ns), since=since):
                if event.type != "BOOKMARK":
                    seen.append(event)
                if len(seen) == count:
                    return seen
        raise AssertionError("the watch ended")

    def cache(self, name: str = "m", **spec: Any) -> LocalModelCache:
        uri = f"hf://{self.ns}/{name}"
        return LocalModelCache.new(
            f"{self.ns}-{name}", spec={"sourceModelUri": uri, "modelSize": "1Gi", "nodeGroups": ["g"], **spec}
        )

    def config(self, name: str = "c", **data: str) -> ConfigMap:
        return ConfigMap.new(name, self.ns, data=data or {"a": "1"})


Case = Callable[[World], Awaitable[None]]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Register a case under its own name."""
    CASES[function.__name__] = function
    return function


def said(events: list[Event[Any]]) -> list[list[str]]:
    """Events as [type, name] pairs."""
    return [[event.type, event.item.name] for event in events]


# --- S1: revisions, lists and watches -------------------------------------------------------------


@case
async def s1_a_list_is_where_a_watch_continues(w: World) -> None:
    await w.store.create(w.config("before"))
    page = await w.store.list(ConfigMap, Where(namespace=w.ns))
    await w.store.create(w.config("after"))
    w.note(said(await w.events(ConfigMap, 1, since=page.revision)))


@case
async def s1_revisions_grow(w: World) -> None:
    first = await w.store.create(w.config("a"))
    second = await w.store.create(w.config("b"))
    first.raw["data"]["a"] = "2"
    third = await w.store.update(first)
    assert int(first.revision) < int(second.revision) < int(third.revision)


@case
async def s1_each_change_is_seen_once_and_in_order(w: World) -> None:
    start = (await w.store.list(ConfigMap, Where(namespace=w.ns))).revision
    made = await w.store.create(w.config("a"))
    made.raw["data"]["a"] = "2"
    await w.store.update(made)
    await w.store.delete(ConfigMap, made.key)
    await w.store.create(w.config("fence"))
    w.note(said(await w.events(ConfigMap, 4, since=start)))


@case
async def s1_many_watchers_lose_nothing(w: World) -> None:
    start = (await w.store.list(ConfigMap, Where(namespace=w.ns))).revision
    watchers = [asyncio.create_task(w.events(ConfigMap, 20, since=start)) for _ in range(10)]
    for number in range(20):
        await w.store.create(w.config(f"c{number:02}"))
    for seen in await asyncio.gather(*watchers):
        assert [event.item.name for event in seen] == [f"c{number:02}" for number in range(20)]


@case
async def s1_leaving_a_selector_is_deleted_and_entering_is_added(w: World) -> None:
    where = Where(namespace=w.ns, labels="color=red")
    start = (await w.store.list(ConfigMap, where)).revision
    await w.store.create(w.config("a"))
    for color in ("red", "blue", "red"):
        await edit(
            w.store, ConfigMap, Key(w.ns, "a"), lambda c, color=color: c.meta.update(labels={"color": color})
        )
    await w.store.delete(ConfigMap, Key(w.ns, "a"))
    w.note(said(await w.events(ConfigMap, 4, since=start, where=where)))


@case
async def s1_selectors_narrow_a_list(w: World) -> None:
    for name, tier in (("a", "gold"), ("b", "silver"), ("c", "")):
        item = w.config(name)
        if tier:
            item.meta["labels"] = {"tier": tier}
        await w.store.create(item)
    for labels in ("tier", "!tier", "tier=gold", "tier!=gold", "tier in (gold,silver)", "tier notin (gold)"):
        page = await w.store.list(ConfigMap, Where(namespace=w.ns, labels=labels))
        w.note([labels, sorted(item.name for item in page.items if item.name in "abc")])
    page = await w.store.list(ConfigMap, Where(namespace=w.ns, fields="metadata.name=b"))
    w.note([item.name for item in page.items])


# --- S2: concurrency ------------------------------------------------------------------------------


@case
async def s2_an_update_with_an_old_revision_is_a_clash(w: World) -> None:
    old = await w.store.create(w.config())
    new = old.copy()
    new.raw["data"]["a"] = "2"
    await w.store.update(new)
    old.raw["data"]["a"] = "3"
    await w.refused(w.store.update(old))
    w.note((await w.store.get(ConfigMap, old.key)).raw["data"])


@case
async def s2_an_update_without_a_revision_wins(w: World) -> None:
    made = await w.store.create(w.config())
    made.meta.pop("resourceVersion")
    made.raw["data"]["a"] = "2"
    w.note((await w.store.update(made)).raw["data"])


@case
async def s2_a_write_that_changes_nothing_keeps_its_revision_and_wakes_nobody(w: World) -> None:
    made = await w.store.create(w.config())
    assert (await w.store.update(made)).revision == made.revision
    await w.store.create(w.config("fence"))
    w.note(said(await w.events(ConfigMap, 1, since=made.revision)))


@case
async def s2_a_taken_name_is_a_clash(w: World) -> None:
    await w.store.create(w.config())
    await w.refused(w.store.create(w.config()))


@case
async def s2_a_revision_on_create_is_invalid(w: World) -> None:
    item = w.config()
    item.meta["resourceVersion"] = "1"
    with pytest.raises(ForebayError):  # the real server answers 500 here, which is no example to follow
        await w.store.create(item)


@case
async def s2_what_is_not_there_is_absent(w: World) -> None:
    await w.refused(w.store.get(ConfigMap, Key(w.ns, "nobody")))
    await w.refused(w.store.update(w.config("nobody")))
    await w.refused(w.store.delete(ConfigMap, Key(w.ns, "nobody")))


@case
async def s2_edit_survives_a_second_writer(w: World) -> None:
    made = await w.store.create(w.config(n="0"))

    def more(item: ConfigMap) -> None:
        item.raw["data"]["n"] = str(int(item.raw["data"]["n"]) + 1)

    async def writer() -> None:
        for _ in range(4):
            await edit(w.store, ConfigMap, made.key, more)

    await asyncio.gather(*(writer() for _ in range(2)))
    w.note((await w.store.get(ConfigMap, made.key)).raw["data"])


# --- S3: spec, status, generation -----------------------------------------------------------------


@case
async def s3_update_ignores_status_and_update_status_ignores_the_rest(w: World) -> None:
    made = await w.store.create(w.cache())
    made.raw["status"] = {"copies": {"available": 7, "total": 7}}
    made.spec["nodeGroups"] = ["g", "h"]
    updated = await w.store.update(made)
    w.note(updated)
    updated.raw["status"] = {"copies": {"available": 1, "total": 2}}
    updated.spec["nodeGroups"] = ["other"]
    updated.meta["labels"] = {"from": "status"}
    w.note(await w.store.update_status(updated))


@case
async def s3_status_is_dropped_on_create(w: World) -> None:
    item = w.cache()
    item.raw["status"] = {"copies": {"available": 7, "total": 7}}
    w.note(await w.store.create(item))


@case
async def s3_generation_counts_specs_and_the_deletion_mark(w: World) -> None:
    item = w.cache()
    item.meta["finalizers"] = ["test.forebay.dev/hold"]
    made = await w.store.create(item)
    numbers = [made.generation]
    numbers.append((await edit_status(w.store, LocalModelCache, made.key, _two_copies)).generation)
    numbers.append(
        (
            await edit(w.store, LocalModelCache, made.key, lambda i: i.meta.update(labels={"a": "b"}))
        ).generation
    )
    numbers.append(
        (await edit(w.store, LocalModelCache, made.key, lambda i: i.spec.update(nodeGroups=["h"]))).generation
    )
    await w.store.delete(LocalModelCache, made.key)
    numbers.append((await w.store.get(LocalModelCache, made.key)).generation)
    w.note(numbers)
    await edit(w.store, LocalModelCache, made.key, lambda i: i.meta.pop("finalizers"))


def _two_copies(item: LocalModelCache) -> None:
    item.raw["status"] = {"copies": {"available": 2, "total": 2}}


@case
async def s3_kinds_without_generation_carry_none(w: World) -> None:
    made = await w.store.create(w.config())
    made.raw["data"]["a"] = "2"
    w.note("generation" in (await w.store.update(made)).meta)


# --- S4: deletion ---------------------------------------------------------------------------------


@case
async def s4_finalizers_hold_and_the_last_one_lets_go(w: World) -> None:
    item = w.config()
    item.meta["finalizers"] = ["test.forebay.dev/one", "test.forebay.dev/two"]
    made = await w.store.create(item)
    await w.store.delete(ConfigMap, made.key)
    held = await w.store.get(ConfigMap, made.key)
    w.note([held.deleting, held.finalizers])
    held.meta["finalizers"] = ["test.forebay.dev/two"]
    held = await w.store.update(held)
    w.note([held.deleting, held.finalizers])
    held.meta["finalizers"] = []
    await w.store.update(held)
    await w.refused(w.store.get(ConfigMap, made.key))


@case
async def s4_a_dying_object_takes_no_new_finalizer_and_blocks_its_name(w: World) -> None:
    item = w.config()
    item.meta["finalizers"] = ["test.forebay.dev/hold"]
    made = await w.store.create(item)
    await w.store.delete(ConfigMap, made.key)
    held = await w.store.get(ConfigMap, made.key)
    held.meta["finalizers"] = ["test.forebay.dev/hold", "test.forebay.dev/more"]
    await w.refused(w.store.update(held))
    await w.refused(w.store.create(w.config()))
    await edit(w.store, ConfigMap, made.key, lambda i: i.meta.pop("finalizers"))


@case
async def s4_delete_with_a_foreign_uid_is_a_clash(w: World) -> None:
    made = await w.store.create(w.config())
    await w.refused(w.store.delete(ConfigMap, made.key, uid="00000000-0000-0000-0000-000000000000"))
    await w.store.delete(ConfigMap, made.key, uid=made.uid)
    await w.refused(w.store.get(ConfigMap, made.key))


@case
async def s4_a_bound_pod_is_only_marked_until_its_grace_is_zero(w: World) -> None:
    pod = Pod.new("p", w.ns, spec={"containers": [{"name": "c", "image": "i"}], "nodeName": "nowhere"})
    made = await w.store.create(pod)
    await w.store.delete(Pod, made.key)
    held = await w.store.get(Pod, made.key)
    w.note([held.deleting, held.meta["deletionGracePeriodSeconds"]])
    await w.store.delete(Pod, made.key, grace_s=0)
    await w.refused(w.store.get(Pod, made.key))


@case
async def s4_an_unbound_pod_goes_at_once(w: World) -> None:
    made = await w.store.create(Pod.new("p", w.ns, spec={"containers": [{"name": "c", "image": "i"}]}))
    await w.store.delete(Pod, made.key)
    await w.refused(w.store.get(Pod, made.key))


@case
async def s4_foreground_deletion_leaves_its_finalizer(w: World) -> None:
    made = await w.store.create(w.config())
    await w.store.delete(ConfigMap, made.key, propagation="Foreground")
    held = await w.store.get(ConfigMap, made.key)
    w.note([held.deleting, held.finalizers])
    await edit(w.store, ConfigMap, made.key, lambda i: i.meta.pop("finalizers"))


# --- S5: old watches ------------------------------------------------------------------------------


@case
async def s5_a_watch_from_before_memory_is_a_clash(w: World) -> None:
    await w.store.create(w.config())
    if await forgets(w.store):  # what the real server forgets cannot be brought about from outside
        with pytest.raises(Clash):
            await _first(w.store.watch(ConfigMap, Where(namespace=w.ns), since="1"))


async def forgets(store: Any) -> bool:
    """Bring the store to forget revision 1, where that can be done from outside."""
    from forebay.store.sqlite import SqliteStore

    if not isinstance(store, SqliteStore):
        return False
    from forebay.store.database import KEEP_LOG_ROWS

    made = await store.create(ConfigMap.new("churn", "default"))
    for number in range(2 * KEEP_LOG_ROWS + 10):
        made.raw["data"] = {"n": str(number)}
        made = await store.update(made)
    return True


async def _first(events: Any) -> Event[Any]:
    async with asyncio.timeout(DEADLINE_S):
        async for event in events:
            return event  # type: ignore[no-any-return]
    raise AssertionError("ended")


# --- S6 and S7: defaults, validation, unknown fields ----------------------------------------------

POD_SPEC: Json = {
    "containers": [{"name": "c", "image": "registry.test/i:1", "ports": [{"containerPort": 80}]}]
}


@case
async def s6_a_pod_gets_its_defaults(w: World) -> None:
    made = await w.store.create(Pod.new("p", w.ns, spec=json.loads(json.dumps(POD_SPEC))))
    w.note(without_injected_token(made.raw))


def without_injected_token(raw: Json) -> Json:
    """A pod without what the ServiceAccount admission adds: the account, and a volume under a drawn name."""
    raw = json.loads(json.dumps(raw))
    drawn = re.compile(r"kube-api-access-\w+")
    raw["spec"]["volumes"] = [v for v in raw["spec"].get("volumes", []) if not drawn.match(v["name"])]
    for container in raw["spec"]["containers"]:
        container["volumeMounts"] = [
            m for m in container.get("volumeMounts", []) if not drawn.match(m["name"])
        ]
    raw["spec"] = {k: v for k, v in raw["spec"].items() if not k.startswith("serviceAccount") and v != []}
    for container in raw["spec"]["containers"]:
        if not container["volumeMounts"]:
            container.pop("volumeMounts")
    raw.pop("status", None)
    return raw


@case
async def s6_a_deployment_gets_its_defaults(w: World) -> None:
    labels = {"app": "a"}
    spec = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": POD_SPEC},
    }
    made = await w.store.create(Deployment.new("d", w.ns, spec=json.loads(json.dumps(spec))))
    made.raw.pop("status", None)
    w.note(made)


@case
async def s6_a_secret_gets_its_type_and_string_data_is_encoded(w: World) -> None:
    w.note(await w.store.create(Secret.new("s", w.ns, stringData={"token": "hi"})))


@case
async def s6_required_fields_are_named(w: World) -> None:
    await w.refused(
        w.store.create(LocalModelCache.new(f"{w.ns}-bad", spec={"nodeGroups": ["g"], "modelSize": "1"}))
    )
    await w.refused(w.store.create(Pod.new("p", w.ns, spec={"containers": [{"name": "c"}]})))


@case
async def s6_names_and_labels_are_checked(w: World) -> None:
    await w.refused(w.store.create(w.config("Not_A_Name")))
    item = w.config("fine")
    item.meta["labels"] = {"a b": "c"}
    await w.refused(w.store.create(item))
    await w.refused(w.store.create(Namespace.new("UPPER")))


@case
async def s6_a_caches_uri_does_not_change(w: World) -> None:
    made = await w.store.create(w.cache())
    made.spec["sourceModelUri"] = "hf://other/model"
    await w.refused(w.store.update(made))


@case
async def s6_an_unknown_enum_value_is_refused(w: World) -> None:
    made = await w.store.create(w.cache())
    made.raw["status"] = {"nodeStatus": {"n": "NodeOnFire"}}
    await w.refused(w.store.update_status(made))


@case
async def s7_unknown_fields_of_our_kinds_are_dropped(w: World) -> None:
    w.note(await w.store.create(w.cache(surprise=1)))


@case
async def s7_embedded_pod_fields_are_kept(w: World) -> None:
    model = {"modelFormat": {"name": "huggingface"}, "storageUri": "hf://a/b"}
    spec = {"predictor": {"model": model, "nodeSelector": {"disk": "nvme"}}}
    w.note((await w.store.create(InferenceService.new("i", w.ns, spec=spec))).spec)


@case
async def s7_a_round_trip_keeps_what_the_client_does_not_know(w: World) -> None:
    node = LocalModelNode.new(
        f"{w.ns}-n", spec={"localModels": [{"modelName": "m", "sourceModelUri": "hf://a/b"}]}
    )
    made = await w.store.create(node)
    read = await w.store.get(LocalModelNode, made.key)
    w.note((await w.store.update(read)).spec)
    await w.store.delete(LocalModelNode, made.key)


def suite_store(store: Store, ns: str) -> World:
    """A world for one case."""
    return World(store, ns)
