"""Every kind that the store holds: the built-in ones and those that users defined."""

from __future__ import annotations

from forebay.api.kinds import ALL, CustomResourceDefinition, EventV1, HorizontalPodAutoscalerV1
from forebay.api.meta import Resource, dynamic_kind
from forebay.store.protocol import Store

_SECOND_NAMES = (EventV1, HorizontalPodAutoscalerV1)  # of objects that another kind lists
BUILT_IN = tuple(kind for kind in ALL if kind not in _SECOND_NAMES)


async def kinds(store: Store) -> tuple[type[Resource], ...]:
    """Built-in kinds, then one per CustomResourceDefinition. Raises what the store raises."""
    taken = {(kind.group, kind.plural) for kind in BUILT_IN}
    defined = (await store.list(CustomResourceDefinition)).items
    return (
        *BUILT_IN,
        *(kind for crd in defined if (kind := of(crd)) and (kind.group, kind.plural) not in taken),
    )


def of(definition: CustomResourceDefinition) -> type[Resource] | None:
    """The kind that a definition defines, in its storage version; None if it is not readable."""
    spec = definition.spec
    names = spec.get("names") or {}
    version = next((v["name"] for v in spec.get("versions") or [] if v.get("storage")), None)
    if not version or not names.get("kind") or not names.get("plural") or not spec.get("group"):
        return None
    return dynamic_kind(
        api=f"{spec['group']}/{version}", kind=names["kind"], plural=names["plural"],
        namespaced=spec.get("scope") != "Cluster",
    )  # fmt: skip
