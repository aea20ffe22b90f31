"""A tiny Llama-family model in a Hugging Face folder, and what it must answer,
 computed apart from the product.

The forward pass follows the published architecture (RMSNorm, rotary embedding on the halves of a head,
 grouped
attention, SwiGLU) in plain numpy; the weights are random, so that a mistake in any row order shows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

Arrays = dict[str, np.ndarray[Any, Any]]
TEXT = [
    "The capital of France is Paris, and 1234 is a number. It's 42 degrees; don't worry!",
    "Grüße aus Köln: naïve café, 東京 und 北京\n\n  indented\ttabs   spaces",
    "def answer(x):\n    return x + 100 # comment",
] * 4
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    hidden: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    feed_forward: int = 96
    tied: bool = False
    theta: float = 10000.0
    llama3: bool = False


def make_tokenizer(pre: str) -> Tokenizer:
    """`pre` is gpt-2, smollm, llama-bpe, or sentencepiece (Llama 2: merges with a fall-back to bytes)."""
    if pre == "sentencepiece":
        return _make_sentencepiece()
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre != "llama-bpe")
    steps: dict[str, Any] = {
        "gpt-2": byte_level,
        "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level]),
        "llama-bpe": pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(LLAMA3), behavior="isolated"), byte_level]
        ),
    }
    tokenizer.pre_tokenizer = steps[pre]
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def _make_sentencepiece() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    octets = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<unk>", "<|im_start|>", "<|im_end|>", *octets], show_progress=False
    )
    tokenizer.train_from_iterator([part for text in TEXT for part in text.split()], trainer)
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = data["added_tokens"][:3]  # bytes are plain entries of the vocabulary
    return Tokenizer.from_str(json.dumps(data))


def make_weights(shape: Shape, vocabulary: int, seed: int = 7) -> Arrays:
    """Random weights under Hugging Face's names, in float32."""
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> np.ndarray[Any, Any]:
        return (random.standard_normal((rows, columns)) * 1.5 / np.sqrt(columns)).astype(np.float32)

    def norm() -> np.ndarray[Any, Any]:
        return (1 + 0.1 * random.standard_normal(shape.hidden)).astype(np.float32)

    weights = {"model.embed_tokens.weight": matrix(vocabulary, shape.hidden), "model.norm.weight": norm()}
    if not shape.tied:
        weights["lm_head.weight"] = matrix(vocabulary, shape.hidden)
    wide, narrow = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    for layer in range(shape.layers):
        at = f"model.layers.{layer}."
        weights |= {
            at + "self_attn.q_proj.weight": matrix(wide, shape.hidden),
            at + "self_attn.k_proj.weight": matrix(narrow, shape.hidden),
            at + "self_attn.v_proj.weight": matrix(narrow, shape.hidden),
            at + "self_attn.o_proj.weight": matrix(shape.hidden, wide),
            at + "mlp.gate_proj.weight": matrix(shape.feed_forward, shape.hidden),
            at + "mlp.up_proj.weight": matrix(shape.feed_forward, shape.hidden),
            at + "mlp.down_proj.weight": matrix(shape.hidden, shape.feed_forward),
            at + "input_layernorm.weight": norm(),
            at + "post_attention_layernorm.weight": norm(),
        }
    return weights


def rounded(weights: Arrays, kind: str) -> Arrays:
    """The weights as they read back after being stored as F32, F16 or BF16 (matrices and norms alike)."""
    if kind == "F32":
        return weights
    if kind == "F16":
        return {name: value.astype(np.float16).astype(np.float32) for name, value in weights.items()}
    return {
        name: (value.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
        for name, value in weights.items()
    }


def write_folder(
    folder: Path, *, shape: Shape, kind: str = "F32", pre: str = "smollm", shards: int = 1
) -> Arrays:
    """Write config, tokenizer and weights; returns the weights as stored, widened to float32."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(pre)
    tokenizer.save(str(folder / "tokenizer.json"))
    size = tokenizer.get_vocab_size() + 3  # a padded embedding, as many models have
    weights = rounded(make_weights(shape, size), kind)
    (folder / "config.json").write_text(json.dumps(_config(shape, size)))
    settings = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    names = sorted(weights)
    if shards == 1:
        _save(weights, folder / "model.safetensors", kind)
        return weights
    index = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: weights[name] for name in names[shard::shards]}
        _save(part, folder / file, kind)
        index |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return weights


def _config(shape: Shape, size: int) -> dict[str, Any]:
    config: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"], "hidden_size": shape.hidden, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_dim,
        "intermediate_size": shape.feed_forward, "vocab_size": size, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5, "rope_theta": shape.theta, "hidden_act": "silu",
         "tie_word_embeddings": shape.tied,
    }  # fmt: skip
    if shape.llama3:
        config["rope_scaling"] = {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }  # fmt: skip
    return config


def _save(weights: Arrays, path: Path, kind: str) -> None:
    if kind == "F32":
        save_file(weights, path)
    elif kind == "F16":
        save_file({name: value.astype(np.float16) for name, value in weights.items()}, path)
    else:
        _save_bf16(weights, path)


def _save_bf16(weights: Arrays, path: Path) -> None:
    """numpy has no bfloat16, so the file is written by hand."""
    header, blobs, offset = {}, [], 0
    for name, value in weights.items():
        blob = (value.view(np.uint32) >> np.uint32(16)).astype("<u2").tobytes()
        header[name] = {
            "dtype": "BF16",
            "shape": list(value.shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def forward(weights: Arrays, shape: Shape, tokens: list[int]) -> np.ndarray[Any, Any]:
    """Log-probabilities of the token that follows `tokens`."""
    x = weights["model.embed_tokens.weight"][tokens].astype(np.float64)
    for layer in range(shape.layers):
        part = {
            name.removeprefix(f"model.layers.{layer}."): value
            for name, value in weights.items()
            if name.startswith(f"model.layers.{layer}.")
        }
        x = x + _attention(_norm(x, part["input_layernorm.weight"]), part, shape)
        x = x + _mlp(_norm(x, part["post_attention_layernorm.weight"]), part)
    x = _norm(x, weights["model.norm.weight"])[-1]
    logits = weights["model.embed_tokens.weight" if shape.tied else "lm_head.weight"] @ x
    return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()


def _norm(x: np.ndarray[Any, Any], weight: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight


def _mlp(x: np.ndarray[Any, Any], part: Arrays) -> np.ndarray[Any, Any]:
    gate = x @ part["mlp.gate_proj.weight"].T
    return (gate / (1 + np.exp(-gate)) * (x @ part["mlp.up_proj.weight"].T)) @ part["mlp.down_proj.weight"].T


def _frequencies(shape: Shape) -> np.ndarray[Any, Any]:
    plain = 1.0 / shape.theta ** (np.arange(0, shape.head_dim, 2) / shape.head_dim)
    if not shape.llama3:
        return plain
    out = []
    for frequency in plain:
        length = 2 * np.pi / frequency
        if length > 64 / 1.0:
            out.append(frequency / 8.0)
        elif length < 64 / 4.0:
            out.append(frequency)
        else:
            mix = (64 / length - 1.0) / (4.0 - 1.0)
            out.append((1 - mix) * frequency / 8.0 + mix * frequency)
    return np.array(out)


def _attention(x: np.ndarray[Any, Any], part: Arrays, shape: Shape) -> np.ndarray[Any, Any]:
    count, dim = len(x), shape.head_dim
    angle = np.outer(np.arange(count), _frequencies(shape))
    cos, sin = np.tile(np.cos(angle), 2), np.tile(np.sin(angle), 2)

    def heads(name: str, number: int, rotate: bool) -> np.ndarray[Any, Any]:
        value = (x @ part[f"self_attn.{name}.weight"].T).reshape(count, number, dim).swapaxes(0, 1)
        if not rotate:
            return value
        turned = np.concatenate([-value[..., dim // 2 :], value[..., : dim // 2]], -1)
        return value * cos + turned * sin

    q = heads("q_proj", shape.heads, True)
    k = np.repeat(heads("k_proj", shape.kv_heads, True), shape.heads // shape.kv_heads, 0)
    v = np.repeat(heads("v_proj", shape.kv_heads, False), shape.heads // shape.kv_heads, 0)
    score = q @ k.swapaxes(1, 2) / np.sqrt(dim) + np.triu(np.full((count, count), -np.inf), 1)
    score = np.exp(score - score.max(-1, keepdims=True))
    mixed = (score / score.sum(-1, keepdims=True)) @ v
    return mixed.swapaxes(0, 1).reshape(count, -1) @ part["self_attn.o_proj.weight"].T
