"""An init container that brings the weights into the engine's own form before the server starts; pure.

A runtime asks for it with the annotation `forebay.dev/prepare`: "true" for every model, or the suffixes of
files that need it (".safetensors"). Its own image is run as `prepare MODEL_DIR PREPARED_DIR`, reads the
model's volume and writes into an emptyDir of the pod. Where it is known that there is no such file, a pod is
spared the start of a program.
"""

from __future__ import annotations

import copy

from forebay.api import names
from forebay.api.meta import Json, Resource
from forebay.control.credentials import merged_env
from forebay.control.inferenceservice.template import main_container

VOLUME, FOLDER = "prepared-model", "/mnt/prepared"


def prepared(
    template: Json, runtime: Resource | None, mount: str, suffixes: frozenset[str] | None = None
) -> Json:
    """The template with the preparation, where the runtime asks for it and `mount` holds the model.

    `suffixes` are those of all the model's files in lower case (".gguf"), or None where they are not known.
    """
    if runtime is None or not mount or not _is_asked(runtime, suffixes):
        return template
    found = copy.deepcopy(template)
    spec = found["spec"]
    main = main_container(spec)
    model = [m for m in main.get("volumeMounts") or [] if m.get("mountPath") == mount]
    if not model or main.get("command"):  # a program of the user's own knows nothing of `prepare`
        return found
    container: Json = {
        "name": "prepare",
        "image": main["image"],
        "args": ["prepare", mount, FOLDER],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{**model[0], "readOnly": True}, {"name": VOLUME, "mountPath": FOLDER}],
    }
    if main.get("resources"):
        container["resources"] = copy.deepcopy(main["resources"])
    spec["initContainers"] = [*(spec.get("initContainers") or []), container]
    spec.setdefault("volumes", []).append({"name": VOLUME, "emptyDir": {}})
    main["volumeMounts"].append({"name": VOLUME, "mountPath": FOLDER, "readOnly": True})
    main["env"] = merged_env(main.get("env") or [], [{"name": "FOREBAY_PREPARED_DIR", "value": FOLDER}])
    return found


def _is_asked(runtime: Resource, suffixes: frozenset[str] | None) -> bool:
    told = runtime.annotations.get(names.PREPARE, "").strip().lower()
    if told in ("", "false", "true") or suffixes is None:
        return told not in ("", "false")
    return any(part.strip() in suffixes for part in told.split(","))
