"""config.json of the Llama family: the numbers that matter, and a refusal of what is not covered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forebay.errors import Damaged, Invalid

ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM")
ADVICE = (
    f"this converter covers {' and '.join(ARCHITECTURES)} (Llama 2 and 3, Mistral 7B, SmolLM, TinyLlama "
    f"and the like); "
    "for others give a GGUF file"
)


@dataclass(frozen=True)
class Llama3Scaling:
    """Parameters of the rope_type `llama3`."""

    factor: float
    low: float
    high: float
    original_context: int


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes in elements. `rope_linear_factor` 0 means none."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    context: int
    norm_eps: float
    rope_theta: float
    tied: bool
    rope_linear_factor: float
    rope_llama3: Llama3Scaling | None
    raw: Mapping[str, Any]


def read_config(raw: Mapping[str, Any]) -> LlamaConfig:
    """Raises Invalid for another architecture or an unknown rope, Damaged for missing or senseless
    numbers.
    """
    architectures = raw.get("architectures") or []
    if not set(architectures) & set(ARCHITECTURES):
        raise Invalid(
            f"the architecture {', '.join(map(str, architectures)) or 'is not named'} is not supported: "
            f"{ADVICE}"
        )
    if "quantization_config" in raw:
        raise Invalid(
            f"the weights are quantised ({_method(raw)}): give the unquantised folder or a GGUF file"
        )
    activation = raw.get("hidden_act", "silu")
    if activation != "silu":
        raise Invalid(f"the activation {activation!r} is not supported: {ADVICE}")
    try:
        hidden, heads = int(raw["hidden_size"]), int(raw["num_attention_heads"])
        linear, llama3 = _scaling(raw)
        config = LlamaConfig(
            hidden=hidden, layers=int(raw["num_hidden_layers"]), heads=heads,
            kv_heads=int(raw.get("num_key_value_heads") or heads),
            head_dim=int(raw.get("head_dim") or hidden // heads), feed_forward=int(raw["intermediate_size"]),
            vocabulary=int(raw["vocab_size"]), context=int(raw.get("max_position_embeddings") or 2048),
            norm_eps=float(raw.get("rms_norm_eps") or 1e-6), rope_theta=_theta(raw),
            tied=bool(raw.get("tie_word_embeddings", False)), rope_linear_factor=linear,
            rope_llama3=llama3, raw=raw,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise Damaged(f"config.json lacks or garbles a number of the Llama family ({error!r})") from None
    _check(config)
    return config


def _check(config: LlamaConfig) -> None:
    numbers = (
        config.hidden,
        config.layers,
        config.heads,
        config.kv_heads,
        config.head_dim,
        config.vocabulary,
    )
    if min(numbers) <= 0 or config.heads % config.kv_heads or config.head_dim % 2:
        raise Damaged("config.json has sizes that do not fit together: check hidden_size, heads and head_dim")


def _method(raw: Mapping[str, Any]) -> str:
    settings = raw.get("quantization_config")
    return (
        str(settings.get("quant_method", "unknown method"))
        if isinstance(settings, Mapping)
        else "unknown method"
    )


def _rope(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """`rope_parameters` since transformers 5, `rope_scaling` before."""
    return raw.get("rope_parameters") or raw.get("rope_scaling") or {}


def _theta(raw: Mapping[str, Any]) -> float:
    return float(_rope(raw).get("rope_theta") or raw.get("rope_theta") or 10000.0)


def _scaling(raw: Mapping[str, Any]) -> tuple[float, Llama3Scaling | None]:
    rope = _rope(raw)
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return 0.0, None
    if kind == "linear":
        return float(rope["factor"]), None
    if kind == "llama3":
        return 0.0, Llama3Scaling(
            float(rope["factor"]), float(rope["low_freq_factor"]), float(rope["high_freq_factor"]),
            int(rope["original_max_position_embeddings"]),
        )  # fmt: skip
    raise Invalid(
        f"the rope scaling {kind!r} is not supported (default, linear and llama3 are): give a GGUF file"
    )
