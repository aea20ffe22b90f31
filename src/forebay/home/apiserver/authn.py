"""Who asks: the bearer token of a request."""

from __future__ import annotations

from forebay.home import tokens
from forebay.home.apiserver.status import Refusal
from forebay.home.tokens import User

ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
_OPEN_TO_ALL = frozenset({"/healthz", "/livez", "/readyz", "/version", "/version/"})


class Authenticator:
    """Checks tokens against the data folder's key."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._known: dict[str, tuple[str, User]] = {}

    def user(self, authorization: str, path: str) -> User:
        """The user of an Authorization header; anonymous ones see only what tells health and version.

        Raises Refusal (401).
        """
        scheme, _, token = authorization.partition(" ")
        if not authorization and path in _OPEN_TO_ALL:
            return ANONYMOUS
        user = tokens.verify(self.key, token.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            raise Refusal("Unauthorized", "Unauthorized")
        return user

    def review(self, token: str) -> User | None:
        """Whose token this is (TokenReview)."""
        return tokens.verify(self.key, token)


def impersonated(user: User, name: str, groups: list[str]) -> User:
    """Whom an admin speaks for (`--as`, `--as-group`). Raises Refusal (403)."""
    if tokens.MASTERS not in user.groups:
        told = f'User "{user.name}" cannot impersonate resource "users" in API group "" at the cluster scope'
        raise Refusal("Forbidden", f'users "{name}" is forbidden: {told}')
    parts = name.split(":")
    if not groups and len(parts) == 4 and parts[:2] == ["system", "serviceaccount"]:
        return tokens.service_account(parts[2], parts[3])
    return User(name, (*groups, tokens.AUTHENTICATED))
