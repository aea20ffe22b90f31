"""Look-ups that several controllers need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from forebay.api import names
from forebay.api.kinds import ConfigMap, Secret, ServiceAccount
from forebay.api.meta import Key, Resource
from forebay.control.config import Credentials, Settings, settings_from
from forebay.control.credentials import Sources, account_secrets
from forebay.control.trust import COPY, NO_TRUST, Trust
from forebay.errors import Absent
from forebay.store.protocol import Store

T = TypeVar("T", bound=Resource)


async def maybe(store: Store, kind: type[T], key: Key) -> T | None:
    """The object, or None where there is none."""
    try:
        return await store.get(kind, key)
    except Absent:
        return None


async def settings(store: Store, system_namespace: str) -> Settings:
    """The settings as they are now; defaults where there is no ConfigMap. Raises Invalid."""
    found = await maybe(store, ConfigMap, Key(system_namespace, names.CONFIG_MAP))
    return settings_from((found.raw.get("data") or {}) if found else {})


async def credential_sources(
    store: Store, namespace: str, config: Credentials, *, account: str, storage: dict[str, object] | None,
    secret_name: str = "",
) -> Sources:  # fmt: skip
    """Everything of one namespace that credentials may come from; Secrets by name only, never listed."""
    key = (storage or {}).get("key")
    found = await maybe(store, ServiceAccount, Key(namespace, account)) if account else None
    wanted: Iterable[str] = account_secrets(found)
    if key is not None:
        wanted = [config.storage_secret]
    elif secret_name:
        wanted = [secret_name]
    secrets = {}
    for name in wanted:
        secret = await maybe(store, Secret, Key(namespace, name))
        if secret is not None:
            secrets[name] = secret
    parameters = (storage or {}).get("parameters")
    return Sources(
        account=account, found_account=found, secrets=secrets, secret_name=secret_name,
        storage_key=str(key) if key is not None else None,
        parameters={str(k): str(v) for k, v in (parameters if isinstance(parameters, dict) else {}).items()},
    )  # fmt: skip


async def trust(store: Store, config: Settings, system_namespace: str, namespace: str) -> Trust:
    """The administrator's CA bundle, as pods in `namespace` see it."""
    if not config.ca_bundle:
        return NO_TRUST
    home = Key(system_namespace, config.ca_bundle)
    name = config.ca_bundle if namespace == system_namespace else COPY
    return Trust(
        namespace=namespace, name=name, wanted=str(home),
        source=await maybe(store, ConfigMap, home),
        there=await maybe(store, ConfigMap, Key(namespace, name)),
    )  # fmt: skip


class Known:
    """Keys a controller has seen of its own kind, so that a shared object can wake them all."""

    def __init__(self) -> None:
        self._keys: dict[Key, None] = {}

    def own(self, item: Resource) -> Iterable[Key]:
        """Wakes of the controller's own kind: remembers the key."""
        self._keys[item.key] = None
        return (item.key,)

    def everyone(self, _: Resource) -> Iterable[Key]:
        """Wakes of a kind that concerns every object."""
        return tuple(self._keys)

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._keys.pop(key, None)
