"""What keeps a cache from being downloaded at all, in words for its Ready condition; pure."""

from __future__ import annotations

from collections.abc import Mapping

from forebay.api import names
from forebay.api.conditions import Condition, no
from forebay.control.modelcache.job import sourceless
from forebay.control.modelcache.model import Seen
from forebay.control.volumes import root_path


def trouble(seen: Seen, homes: Mapping[str, str]) -> Condition | None:
    """The first thing that people have to mend. `homes` maps nodes to the group that holds the copy there."""
    if not seen.settings.enabled:
        where = f"ConfigMap {names.CONFIG_MAP}"
        return no("Ready", "Disabled", f"localModel.enabled is false in {where}; set it to true")
    absent = [g for g in seen.group_names if g not in seen.groups]
    if absent:
        told = f"LocalModelNodeGroup {', '.join(absent)} does not exist"
        return no("Ready", "NodeGroupNotFound", f"{told}; create it or take it out of spec.nodeGroups")
    if seen.job_namespace_missing:
        told = f"namespace {seen.settings.job_namespace} for the downloads is missing"
        return no("Ready", "JobNamespaceMissing", f"{told}; create it")
    stopped = blocked(seen)
    if stopped is None and not homes:
        told = f"no node matches nodeAffinity.required of the groups {', '.join(seen.group_names)}"
        return no("Ready", "NoMatchingNode", f"{told}; label a node or correct the groups")
    return stopped


def blocked(seen: Seen) -> Condition | None:
    """Why no download starts although there is where to; one would only fail."""
    if without := pathless(seen):
        told = f"persistentVolumeSpec of LocalModelNodeGroup {', '.join(sorted(without))} names no folder"
        return no("Ready", "NodeGroupIncomplete", f"{told}; give it local.path or hostPath.path")
    if why := sourceless(seen):
        return no("Ready", "NoSource", why)
    if seen.credentials.problem:
        return no("Ready", "CredentialsMissing", seen.credentials.problem)
    if seen.trust.problem:
        return no("Ready", "CaBundleMissing", seen.trust.problem)
    return None


def pathless(seen: Seen) -> set[str]:
    """Groups whose volumes would have no folder."""
    return {name for name, group in seen.groups.items() if not root_path(group)}
