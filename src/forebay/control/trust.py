"""The administrator's CA bundle where a downloader runs; pure.

As in KServe: `storageInitializer.caBundleConfigMapName` names a ConfigMap of the system namespace with the
key `cabundle.crt`; other namespaces get a copy called `global-kserve-ca-bundle`, which their pods mount.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from forebay.api.kinds import ConfigMap
from forebay.api.meta import Json
from forebay.control.actions import Action, Create, Replace
from forebay.control.config import Settings
from forebay.control.credentials import merged_env

COPY, FILE, VOLUME = "global-kserve-ca-bundle", "cabundle.crt", "cabundle-cert"


@dataclass(frozen=True)
class Trust:
    """The bundle that is configured (`source`), and what stands for it in the pods' namespace (`there`)."""

    namespace: str = ""  # of the pods
    name: str = ""  # of the ConfigMap that they mount; "" where no bundle is configured
    source: ConfigMap | None = None
    there: ConfigMap | None = None
    wanted: str = ""  # namespace/name of the source

    @property
    def problem(self) -> str:
        """Why nothing must be downloaded yet, or ""."""
        if self.name and FILE not in (self.source.raw.get("data") or {} if self.source else {}):
            where = f"ConfigMap {self.wanted} (storageInitializer.caBundleConfigMapName)"
            return f"{where} does not exist with a key {FILE}; create it, or take it out of the configuration"
        return ""

    def copying(self) -> list[Action]:
        """Bring the copy to what the source says; nothing where the pods mount the source itself."""
        if self.source is None or f"{self.namespace}/{self.name}" == self.wanted:
            return []
        data = {FILE: self.source.raw["data"][FILE]}
        if self.there is None:
            return [Create(ConfigMap.new(self.name, self.namespace, data=data))]
        item = self.there.copy()
        item.raw["data"] = data
        return [] if item.raw == self.there.raw else [Replace(item)]


NO_TRUST = Trust()


def mount(
    trust: Trust, settings: Settings, container: Json, volumes: list[Json], *, own: bool = True
) -> None:
    """Let the container trust the bundle; `container` and `volumes` change.

    As in KServe a Secret's own ConfigMap (annotation s3-cabundle-configmap, of the pod's namespace) takes the
    place of the configured one, and its s3-cabundle names the file: the folder is mounted there. Not `own`:
    the pod runs in a namespace that the Secret is not of.
    """
    said = {str(e.get("name")): str(e.get("value") or "") for e in container.get("env") or []}
    named = said.get("AWS_CA_BUNDLE_CONFIGMAP", "") if own else ""
    if not (named or trust.name):
        return
    above = str(PurePosixPath(said.get("AWS_CA_BUNDLE", "")).parent)
    folder = above if len(above) > 1 and above.startswith("/") else settings.ca_bundle_mount
    source = {"name": named, "optional": True} if named else {"name": trust.name}  # what lacks, the pull says
    volumes.append({"name": VOLUME, "configMap": source})
    mounts = container.get("volumeMounts") or []
    container["volumeMounts"] = [*mounts, {"name": VOLUME, "mountPath": folder, "readOnly": True}]
    told = {"CA_BUNDLE_CONFIGMAP_NAME": named or trust.name, "CA_BUNDLE_VOLUME_MOUNT_POINT": folder}
    env = [{"name": k, "value": v} for k, v in told.items()]
    container["env"] = merged_env(container.get("env") or [], env)
