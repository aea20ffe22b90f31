"""The envelope of every API object.

A `Resource` wraps the JSON object exactly as the server holds it, so what we do not know survives a round
trip (promise S7). Kinds are subclasses that carry their names; typed specs of our own kinds are pydantic
models beside them.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Self, TypeVar

Json = dict[str, Any]
J = TypeVar("J")


def json_copy(value: J) -> J:
    """A copy of a JSON value that shares nothing with it, in a fifth of copy.deepcopy's time."""
    if isinstance(value, dict):
        return {key: json_copy(item) for key, item in value.items()}  # type: ignore[return-value]
    if isinstance(value, list):
        return [json_copy(item) for item in value]  # type: ignore[return-value]
    return value


class Key(NamedTuple):
    """Identity of an object within its kind; `namespace` is "" for cluster-scoped kinds."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Resource:
    """One object of the API; `raw` is its JSON form and the only state."""

    api_version: ClassVar[str] = ""  # "v1", "apps/v1"
    group: ClassVar[str] = ""
    version: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    plural: ClassVar[str] = ""
    singular: ClassVar[str] = ""
    namespaced: ClassVar[bool] = True
    has_status: ClassVar[bool] = True  # has a status subresource
    has_scale: ClassVar[bool] = False
    short: ClassVar[tuple[str, ...]] = ()
    categories: ClassVar[tuple[str, ...]] = ()

    __slots__ = ("raw",)

    def __init_subclass__(cls, *, api: str = "", plural: str = "", kind: str = "", **more: Any) -> None:
        super().__init_subclass__()
        if not api:
            return
        cls.api_version = api
        cls.group, _, cls.version = api.rpartition("/")
        cls.kind = kind or cls.__name__
        cls.plural = plural or cls.kind.lower() + "s"
        cls.singular = cls.kind.lower()
        for name, value in more.items():
            setattr(cls, name, value)

    def __init__(self, raw: Json) -> None:
        self.raw = raw

    @classmethod
    def new(cls, name: str, namespace: str = "", *, labels: dict[str, str] | None = None,
            annotations: dict[str, str] | None = None, **top: Any) -> Self:  # fmt: skip
        """An object as a client would post it: `Pod.new("a", "default", spec={...})`."""
        meta: Json = {"name": name}
        if namespace:
            meta["namespace"] = namespace
        if labels:
            meta["labels"] = dict(labels)
        if annotations:
            meta["annotations"] = dict(annotations)
        return cls({"apiVersion": cls.api_version, "kind": cls.kind, "metadata": meta, **top})

    @property
    def meta(self) -> Json:
        return self.raw.setdefault("metadata", {})  # type: ignore[no-any-return]

    @property
    def name(self) -> str:
        return str(self.meta.get("name", ""))

    @property
    def namespace(self) -> str:
        return str(self.meta.get("namespace", ""))

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)

    @property
    def uid(self) -> str:
        return str(self.meta.get("uid", ""))

    @property
    def revision(self) -> str:
        """metadata.resourceVersion; opaque, and numeric in both homes."""
        return str(self.meta.get("resourceVersion", ""))

    @property
    def generation(self) -> int:
        return int(self.meta.get("generation", 0))

    @property
    def labels(self) -> dict[str, str]:
        """Labels as a mapping that may be read; use `meta` to write."""
        return self.meta.get("labels") or {}

    @property
    def annotations(self) -> dict[str, str]:
        return self.meta.get("annotations") or {}

    @property
    def finalizers(self) -> list[str]:
        return self.meta.get("finalizers") or []

    @property
    def owners(self) -> list[Json]:
        return self.meta.get("ownerReferences") or []

    @property
    def deleting(self) -> bool:
        return bool(self.meta.get("deletionTimestamp"))

    @property
    def spec(self) -> Json:
        return self.raw.get("spec") or {}

    @property
    def status(self) -> Json:
        return self.raw.get("status") or {}

    def copy(self) -> Self:
        """A deep copy that may be changed freely."""
        return type(self)(json_copy(self.raw))

    def owner_reference(self, *, controller: bool = True, block: bool = True) -> Json:
        """An entry for the `ownerReferences` of a child."""
        return {
            "apiVersion": self.api_version, "kind": self.kind, "name": self.name, "uid": self.uid,
            "controller": controller, "blockOwnerDeletion": block,
        }  # fmt: skip

    def controller_uid(self) -> str:
        """uid of the owner that controls this object, or ""."""
        return next((str(o["uid"]) for o in self.owners if o.get("controller")), "")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash((self.api_version, self.kind, self.namespace, self.name))

    def __repr__(self) -> str:
        return f"{self.kind}({self.key}@{self.revision})"


def dynamic_kind(
    *, api: str, kind: str, plural: str, singular: str = "", namespaced: bool = True,
    has_status: bool = False, has_scale: bool = False, short: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
) -> type[Resource]:  # fmt: skip
    """A kind that is only known at run time (a posted CustomResourceDefinition)."""

    class Dynamic(
        Resource, api=api, kind=kind, plural=plural, namespaced=namespaced, has_status=has_status,
        has_scale=has_scale, short=short, categories=categories, singular=singular or kind.lower(),
    ):  # fmt: skip
        __slots__ = ()

    Dynamic.__name__ = Dynamic.__qualname__ = kind
    return Dynamic
