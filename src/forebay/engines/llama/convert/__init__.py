"""A Hugging Face folder of the Llama family (safetensors) -> one GGUF file, with numpy alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from forebay.engines.llama.convert.config import LlamaConfig, read_config
from forebay.engines.llama.convert.safetensors import open_tensors
from forebay.engines.llama.convert.tensors import Planned, materialise, plan_tensors, rope_factors
from forebay.engines.llama.convert.tokenizer import Vocabulary, read_vocabulary
from forebay.errors import Absent, Damaged
from forebay.kit.foreign import parsed

__all__ = ["convert"]

MADE_NAME = "model.gguf"


def convert(source: Path, target: Path, *, outtype: str) -> Path:
    """Write `target`/model.gguf from the folder `source`; returns its path. One tensor is in memory at a
    time.

    `outtype` is keep, f32, f16, bf16 or q8_0. Raises Absent, Invalid (not supported, says what is), Damaged.
    """
    if not source.is_dir():
        raise Absent(f"there is no folder {source} to convert")
    config = read_config(_json(source / "config.json"))
    vocabulary = read_vocabulary(source, config)
    tensors = open_tensors(source)
    plan = plan_tensors(tensors, config, outtype)
    target.mkdir(parents=True, exist_ok=True)
    made, part = target / MADE_NAME, target / (MADE_NAME + ".part")
    _write(part, config, vocabulary, plan, name=source.resolve().name)
    os.replace(part, made)  # noqa: PTH105 - a crash leaves no half model under the final name
    return made


def _json(path: Path) -> dict[str, Any]:
    try:
        value = parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Absent(f"{path.parent} has no {path.name}") from None
    except ValueError as error:
        raise Damaged(f"{path} is not valid JSON ({error}): download the model again") from None
    if not isinstance(value, dict):
        raise Damaged(f"{path} is not a JSON object: download the model again")
    return value


def _write(
    path: Path, config: LlamaConfig, vocabulary: Vocabulary, plan: list[Planned], *, name: str
) -> None:
    from gguf import GGMLQuantizationType, GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_type("model")
    writer.add_name(name)
    _write_shape(writer, config)
    _write_vocabulary(writer, vocabulary)
    factors = rope_factors(config)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    for item in plan:
        kind = GGMLQuantizationType[item.kind]
        writer.add_tensor_info(item.name, item.stored_shape, item.dtype, item.nbytes, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(factors)
    for item in plan:
        writer.write_tensor_data(materialise(item))
    writer.close()


def _write_shape(writer: Any, config: LlamaConfig) -> None:
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.hidden)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.feed_forward)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_vocab_size(config.vocabulary)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    if config.rope_linear_factor:
        from gguf import RopeScalingType

        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope_linear_factor)


def _write_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    for key, token in vocabulary.special.items():
        writer.add_uint32(f"tokenizer.ggml.{key}_token_id", token)
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(vocabulary.add_eos)
    if vocabulary.model == "llama":
        writer.add_add_space_prefix(vocabulary.space_prefix)
    if vocabulary.chat_template:
        writer.add_chat_template(vocabulary.chat_template)
