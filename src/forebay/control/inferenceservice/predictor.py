"""One form for all ways to write a predictor; pure.

The older one-of fields (sklearn, xgboost, ...) become `model`, as KServe's defaulting does.
"""

from __future__ import annotations

from dataclasses import dataclass

from forebay.api import names
from forebay.api.kinds import InferenceService
from forebay.api.meta import Json
from forebay.api.states import LEGACY_PREDICTORS


@dataclass(frozen=True)
class Predictor:
    """A predictor in one form: `model` (None for a custom one), and what is wrong with it."""

    raw: Json
    model: Json | None
    problem: str = ""

    @property
    def model_format(self) -> Json:
        return dict((self.model or {}).get("modelFormat") or {})


def predictor_of(service: InferenceService) -> Predictor:
    """The predictor of a service; never raises."""
    raw = service.spec.get("predictor") or {}
    given = [name for name in ("model", *LEGACY_PREDICTORS) if raw.get(name) is not None]
    if len(given) > 1:
        return Predictor(raw, None, f"spec.predictor has {' and '.join(given)}; keep exactly one")
    if not given:
        if raw.get("containers"):
            return Predictor(raw, None)
        return Predictor(
            raw, None, "spec.predictor names neither a model nor containers; add spec.predictor.model"
        )
    model = dict(raw[given[0]])
    if given[0] != "model":
        model["modelFormat"] = {"name": given[0]}
    if not (model.get("modelFormat") or {}).get("name"):
        return Predictor(
            raw, model, "spec.predictor.model.modelFormat.name is missing; add it, for example huggingface"
        )
    return Predictor(raw, model)


def unsupported(service: InferenceService, predictor: Predictor) -> list[str]:
    """What the user wrote that Forebay does not do yet, each with its consequence; nothing is dropped in
    silence."""
    spec, raw, model = service.spec, predictor.raw, predictor.model or {}
    found = [
        f"spec.{part}: only the predictor is served"
        for part in ("transformer", "explainer")
        if spec.get(part)
    ]
    if spec.get("canary") or raw.get("canaryTrafficPercent") is not None:
        found.append("canary traffic: all traffic goes to the newest ready predictor")
    told = {
        "logger": "payloads are not logged", "batcher": "requests are not batched",
        "workerSpec": "only one node serves a replica", "containerConcurrency": "no limit is set",
    }  # fmt: skip
    found += [f"spec.predictor.{name}: {what}" for name, what in told.items() if raw.get(name)]
    if len(raw.get("storageUris") or []) > 1:
        found.append("spec.predictor.storageUris: only the first source is used")
    if (model.get("confidential") or {}).get("enabled"):
        found.append("model.confidential: encrypted models cannot be opened")
    if raw.get("minReplicas") == 0:
        found.append("spec.predictor.minReplicas: 0: one replica is kept, there is no scaling to zero")
    if raw.get("scaleMetric") in ("concurrency", "rps"):
        found.append(
            f"spec.predictor.scaleMetric: {raw['scaleMetric']}: the autoscaler only knows cpu and memory"
        )
    mode = service.annotations.get(names.DEPLOYMENT_MODE, "Standard")
    if mode not in ("Standard", "RawDeployment"):
        found.append(f"deploymentMode {mode}: served as Standard")
    return found


def stopped(service: InferenceService) -> bool:
    """Whether the user asked for no pods."""
    return service.annotations.get(names.STOP, "").lower() == "true"
