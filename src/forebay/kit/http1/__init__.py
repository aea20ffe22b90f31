"""An HTTP/1.1 proxy core on raw asyncio protocols: parses, forwards, retries, waits; a `Site` decides what
goes where.
"""

from forebay.kit.http1.backend import Backend
from forebay.kit.http1.exchange import Exchange
from forebay.kit.http1.field import FieldFinder
from forebay.kit.http1.group import Group
from forebay.kit.http1.messages import Forward, Limits, NeedBody, NeedField, Plan, Reply, Request, Site
from forebay.kit.http1.server import ProxyServer

__all__ = [
    "Backend", "Exchange", "FieldFinder", "Forward", "Group", "Limits", "NeedBody", "NeedField", "Plan",
    "ProxyServer", "Reply", "Request", "Site",
]  # fmt: skip
