"""Blobs, manifests, views, pins and eviction on one node's disk.

`open_root(path)` gives the `Root` that every function takes; the modules are named after what they keep.
Promises C1 to C7 are in DESIGN.md, each with its test.
"""

from __future__ import annotations

from forebay.cache.gc import collect, recover, usage
from forebay.cache.manifest import File, Manifest
from forebay.cache.manifests import find, find_all, publish, remove, set_pinned
from forebay.cache.prewarm import prewarm
from forebay.cache.root import Root, open_root
from forebay.cache.verify import check

__all__ = [
    "File",
    "Manifest",
    "Root",
    "check",
    "collect",
    "find",
    "find_all",
    "open_root",
    "prewarm",
    "publish",
    "recover",
    "remove",
    "set_pinned",
    "usage",
]
