"""Who asks: the bearer token of a request."""

from __future__ import annotations

from forebay.api.kinds import Node, Pod, Secret, ServiceAccount
from forebay.api.meta import Key, Resource
from forebay.errors import Absent
from forebay.home import tokens
from forebay.home.apiserver.status import Refusal
from forebay.home.tokens import User
from forebay.store.protocol import Store

ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
BINDABLE: dict[str, type[Resource]] = {"Pod": Pod, "Secret": Secret, "Node": Node}  # besides its account
_ENDED_BY: dict[str, type[Resource]] = {
    "serviceaccount": ServiceAccount,
    "pod": Pod,
    "secret": Secret,
    "node": Node,
}
_OPEN_TO_ALL = frozenset({"/healthz", "/livez", "/readyz", "/version", "/version/"})


class Authenticator:
    """Checks tokens against the data folder's key."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    async def user(self, authorization: str, path: str, store: Store) -> User:
        """The user of an Authorization header; anonymous ones see only what tells health and version.

        Raises Refusal (401).
        """
        scheme, _, token = authorization.partition(" ")
        if not authorization and path in _OPEN_TO_ALL:
            return ANONYMOUS
        user = await self.review(token.strip(), store) if scheme.lower() == "bearer" else None
        if user is None:
            raise Refusal("Unauthorized", "Unauthorized")
        return user

    async def review(self, token: str, store: Store) -> User | None:
        """Whose token this is (TokenReview); None once an object that it is bound to has gone."""
        user = tokens.verify(self.key, token)
        if user is None or not user.bound:
            return user
        namespace = user.name.split(":")[2]
        for kind, name, uid in user.bound:
            found = _ENDED_BY[kind]
            try:
                there = await store.get(found, Key(namespace if found.namespaced else "", name))
            except Absent:
                return None
            if there.uid != uid:
                return None
        return user


def impersonated(user: User, name: str, groups: list[str]) -> User:
    """Whom an admin speaks for (`--as`, `--as-group`). Raises Refusal (403)."""
    if tokens.MASTERS not in user.groups:
        told = f'User "{user.name}" cannot impersonate resource "users" in API group "" at the cluster scope'
        raise Refusal("Forbidden", f'users "{name}" is forbidden: {told}')
    parts = name.split(":")
    if not groups and len(parts) == 4 and parts[:2] == ["system", "serviceaccount"]:
        return tokens.service_account(parts[2], parts[3])
    return User(name, (*groups, tokens.AUTHENTICATED))
