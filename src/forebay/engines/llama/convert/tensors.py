"""Tensor by tensor: the GGUF name, the rotation's row order, the stored type."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from forebay.engines.llama.convert.config import LlamaConfig
from forebay.engines.llama.convert.safetensors import Tensor
from forebay.errors import Damaged, Invalid

Array = npt.NDArray[np.generic]

_TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_BLOCK = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
_NEEDED = (
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
    "attn_norm",
    "ffn_norm",
)
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")
_SKIPPED = re.compile(r".*rotary_emb\.inv_freq")
_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "Q8_0": np.dtype("u1"),
}
_Q8_BLOCK, _Q8_BYTES = 32, 34


@dataclass(frozen=True)
class Planned:
    """One tensor of the GGUF. `heads` > 0: its rows are reordered for that many heads. `kind` is a GGML
    type.
    """

    name: str
    source: Tensor
    kind: str
    heads: int

    @property
    def dtype(self) -> np.dtype[Any]:
        return _DTYPES[self.kind]

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """In elements of `dtype`: bytes for Q8_0."""
        if self.kind != "Q8_0":
            return self.source.shape
        return (*self.source.shape[:-1], self.source.shape[-1] // _Q8_BLOCK * _Q8_BYTES)

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.stored_shape)) * self.dtype.itemsize


def plan_tensors(tensors: dict[str, Tensor], config: LlamaConfig, outtype: str) -> list[Planned]:
    """What goes into the GGUF, in file order. Raises Invalid for unknown tensors, Damaged for missing or
    misshapen.
    """
    plan: list[Planned] = []
    for name, tensor in sorted(tensors.items(), key=lambda item: _order(item[0])):
        if _SKIPPED.fullmatch(name) or (name == "lm_head.weight" and config.tied):
            continue
        target = _target(name)
        kind = "F32" if len(tensor.shape) == 1 else _kind(tensor, outtype)
        heads = {"attn_q": config.heads, "attn_k": config.kv_heads}.get(target.split(".")[-2], 0)
        _check_shape(target, tensor, config)
        plan.append(Planned(target, tensor, kind, heads))
    _check_complete({item.name for item in plan}, config)
    return plan


def _order(name: str) -> tuple[int, str]:
    hit = _LAYER.fullmatch(name)
    return (int(hit[1]) if hit else -1, name)


def _target(name: str) -> str:
    stem, _, part = name.rpartition(".")
    if stem in _TOP and part in ("weight", "bias"):
        return f"{_TOP[stem]}.{part}"
    hit = _LAYER.fullmatch(name)
    if hit and hit[2] in _BLOCK:
        return f"blk.{hit[1]}.{_BLOCK[hit[2]]}.{hit[3]}"
    raise Invalid(f"the tensor {name} is not part of a Llama-family model: give a GGUF file")


def _kind(tensor: Tensor, outtype: str) -> str:
    if outtype == "keep":
        return tensor.kind
    if outtype == "q8_0" and tensor.shape[-1] % _Q8_BLOCK:
        return "F16"  # such rows cannot be cut into blocks
    return outtype.upper()


def _check_shape(target: str, tensor: Tensor, config: LlamaConfig) -> None:
    rows = {
        "token_embd": config.vocabulary, "output": config.vocabulary,
        "attn_q": config.heads * config.head_dim,
        "attn_k": config.kv_heads * config.head_dim, "attn_v": config.kv_heads * config.head_dim,
        "ffn_gate": config.feed_forward, "ffn_up": config.feed_forward,
    }.get(target.split(".")[-2], config.hidden)  # fmt: skip
    columns = {"attn_output": config.heads * config.head_dim, "ffn_down": config.feed_forward}
    wanted: tuple[int, ...] = (rows,)
    if len(tensor.shape) != 1:
        wanted = (rows, columns.get(target.split(".")[-2], config.hidden))
    if tensor.shape != wanted:
        raise Damaged(
            f"{tensor.name} has the shape {tensor.shape}, config.json says {wanted}: the folder is mixed up"
        )


def _check_complete(names: set[str], config: LlamaConfig) -> None:
    needed = {"token_embd.weight", "output_norm.weight"} | ({"output.weight"} if not config.tied else set())
    for layer in range(config.layers):
        needed |= {f"blk.{layer}.{part}.weight" for part in _NEEDED}
    missing = sorted(needed - names)
    if missing:
        raise Damaged(
            f"the folder lacks {len(missing)} tensors ({', '.join(missing[:3])} …): download the model again"
        )


def materialise(item: Planned) -> Array:
    """The elements as they are stored in the GGUF."""
    values: Array = item.source.read()
    if item.heads:
        values = _interleaved(values, item.heads)
    return np.ascontiguousarray(_as_kind(values, item.source.kind, item.kind))


def _interleaved(values: Array, heads: int) -> Array:
    """Rows of q and k: Hugging Face rotates halves of a head, GGUF's `llama` rotates neighbours."""
    rows = values.shape[0]
    split = values.reshape(heads, 2, rows // heads // 2, *values.shape[1:])
    return split.swapaxes(1, 2).reshape(values.shape)


def _as_kind(values: Array, have: str, want: str) -> Array:
    if have == want:
        return values
    wide = _widened(values, have)
    if want == "F32":
        return wide
    if want == "F16":
        return wide.astype(np.float16)
    if want == "BF16":
        return _narrowed(wide)
    from gguf import GGMLQuantizationType, quants

    quantised: Array = quants.quantize(wide, GGMLQuantizationType[want])
    return quantised


def _widened(values: Array, have: str) -> npt.NDArray[np.float32]:
    if have == "BF16":
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values.astype(np.float32)


def _narrowed(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """To bfloat16, nearest even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(
        np.uint16
    )


def rope_factors(config: LlamaConfig) -> npt.NDArray[np.float32] | None:
    """Divisors of the rotation's frequencies for rope_type `llama3` (Llama 3.1 model card's scaling rule)."""
    scaling = config.rope_llama3
    if scaling is None:
        return None
    frequencies = config.rope_theta ** -(np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim)
    lengths = 2 * np.pi / frequencies
    longest, shortest = scaling.original_context / scaling.low, scaling.original_context / scaling.high
    smooth = (scaling.original_context / lengths - scaling.low) / (scaling.high - scaling.low)
    between = 1.0 / ((1.0 - smooth) / scaling.factor + smooth)
    factors = np.where(lengths > longest, scaling.factor, np.where(lengths < shortest, 1.0, between))
    return factors.astype(np.float32)
