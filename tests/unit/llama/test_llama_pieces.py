"""What forebay-llama takes for a model, which foreign flags it forgives, and what its converter refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fakes.tiny_llama import Shape, write_folder

from forebay.engines.llama.convert import convert
from forebay.engines.llama.convert.config import read_config
from forebay.engines.llama.convert.safetensors import open_tensors
from forebay.engines.llama.find import find_model
from forebay.engines.llama.options import split_known
from forebay.errors import Absent, Damaged, ForebayError, Invalid


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    write_folder(folder, shape=Shape(hidden=32, layers=1, heads=2, kv_heads=1, feed_forward=32), shards=2)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def gguf(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF" + b"\0" * 20)
    return path


def test_the_only_gguf_is_the_model_also_one_folder_down(tmp_path: Path) -> None:
    deep = gguf(tmp_path / "sub" / "a.gguf")
    assert find_model(tmp_path).path == deep
    top = gguf(tmp_path / "b.gguf")
    gguf(tmp_path / "mmproj-b.gguf")
    assert find_model(tmp_path).path == find_model(top).path == top


def test_of_several_models_one_must_be_named(tmp_path: Path) -> None:
    first, second = gguf(tmp_path / "a.gguf"), gguf(tmp_path / "b.gguf")
    with pytest.raises(Invalid, match=r"a\.gguf, b\.gguf.*--gguf"):
        find_model(tmp_path)
    assert find_model(tmp_path, wanted="b.gguf").path == second != first
    with pytest.raises(Absent):
        find_model(tmp_path, wanted="../a.gguf")


def test_a_split_model_needs_all_its_parts(tmp_path: Path) -> None:
    first = gguf(tmp_path / "m-00001-of-00003.gguf")
    gguf(tmp_path / "m-00003-of-00003.gguf")
    with pytest.raises(Absent, match="m-00002-of-00003"):
        find_model(tmp_path)
    gguf(tmp_path / "m-00002-of-00003.gguf")
    assert find_model(tmp_path).path == first


def test_what_is_no_model_is_refused_with_what_is_supported(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"it is empty.*GGUF"):
        find_model(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"]}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(Invalid, match=r"BertModel.*pytorch_model"):
        find_model(tmp_path)
    (tmp_path / "x.gguf").write_bytes(b"<html>")
    with pytest.raises(Damaged, match="download it again"):
        find_model(tmp_path)


def test_foreign_flags_are_taken_out_and_named_and_ours_stay() -> None:
    argv = [
        "--model_name=m",
        "--dtype",
        "bfloat16",
        "--backend=vllm",
        "--trust-remote-code",
        "--port",
        "1",
        "--task",
    ]
    kept, warnings = split_known(argv)
    assert kept == ["--model_name=m", "--port", "1"]
    assert [line.split()[1] for line in warnings] == ["--dtype", "--backend", "--trust-remote-code", "--task"]
    assert "bfloat16" in warnings[0]


def spoil_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"architectures": ["Qwen2ForCausalLM"]}, Invalid, "Qwen2ForCausalLM.*LlamaForCausalLM"),
        ({"architectures": []}, Invalid, "not named"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2}}, Invalid, "yarn"),
        ({"quantization_config": {"quant_method": "gptq"}}, Invalid, "gptq"),
        ({"hidden_act": "gelu"}, Invalid, "gelu"),
        ({"num_attention_heads": 0}, Damaged, "config.json"),
        ({"hidden_size": "wide"}, Damaged, "config.json"),
        ({"num_hidden_layers": 2}, Damaged, "lacks"),
        ({"vocab_size": 100}, Damaged, "tokenizer has"),
        ({"intermediate_size": 48}, Damaged, "mixed up"),
    ],
)
def test_configs_that_cannot_be_converted(
    folder: Path, tmp_path: Path, changes: dict[str, Any], error: type[ForebayError], text: str
) -> None:
    spoil_json(folder / "config.json", **changes)
    with pytest.raises(error, match=text):
        convert(folder, tmp_path / "out", outtype="keep")
    assert not list((tmp_path / "out").glob("*")) or not (tmp_path / "out" / "model.gguf").exists()


def test_tokenizers_that_are_not_covered(folder: Path, tmp_path: Path) -> None:
    data = json.loads((folder / "tokenizer.json").read_text())
    for change, text in (
        ({"pre_tokenizer": {"type": "Whitespace"}}, "Whitespace"),
        ({"model": {**data["model"], "type": "Unigram"}}, "Unigram"),
    ):
        (folder / "tokenizer.json").write_text(json.dumps(data | change))
        with pytest.raises(Invalid, match=text):
            convert(folder, tmp_path / "out", outtype="keep")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(Absent, match=r"tokenizer\.json"):
        convert(folder, tmp_path / "out", outtype="keep")


def test_cut_or_garbled_weights_are_damaged(folder: Path) -> None:
    shard = folder / "model-00001-of-00002.safetensors"
    body = shard.read_bytes()
    length = int.from_bytes(body[:8], "little")
    for bad in (
        body[:-4],
        body[:40],
        b"",
        b"\xff" * 8 + body[8:],
        body[:8] + b"{" * length + body[8 + length :],
    ):
        shard.write_bytes(bad)
        with pytest.raises(Damaged, match="again"):
            open_tensors(folder)
    shard.unlink()
    with pytest.raises(Absent, match="00001-of-00002"):
        open_tensors(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../etc/passwd"}}')
    with pytest.raises(Damaged, match="no file beside it"):
        open_tensors(folder)


@pytest.mark.parametrize("outtype", ["keep", "f32", "f16", "bf16", "q8_0"])
def test_every_output_type_holds_the_same_numbers(folder: Path, tmp_path: Path, outtype: str) -> None:
    from gguf import GGUFReader, dequantize

    made = convert(folder, tmp_path / "out", outtype=outtype)
    reader = GGUFReader(made)
    by_name = {tensor.name: tensor for tensor in reader.tensors}
    found = by_name["blk.0.ffn_up.weight"]
    wanted = open_tensors(folder)["model.layers.0.mlp.up_proj.weight"].read()
    assert found.tensor_type.name == {"keep": "F32"}.get(outtype, outtype.upper())
    np.testing.assert_allclose(dequantize(found.data, found.tensor_type), wanted, atol=0.02, rtol=0.02)
    assert by_name["blk.0.attn_norm.weight"].tensor_type.name == "F32"


def test_rope_in_both_spellings_of_the_config() -> None:
    base = {
        "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_attention_heads": 4,
        "num_hidden_layers": 1,
        "intermediate_size": 8, "vocab_size": 10,
    }  # fmt: skip
    assert read_config({**base, "rope_theta": 5e5}).rope_theta == 5e5
    new = read_config({**base, "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 7.0}})
    assert (new.rope_theta, new.rope_linear_factor, new.head_dim) == (7.0, 2.0, 16)


@pytest.mark.parametrize("header", [
    b"[1]", b"5", b"null", b'{"a": 5}', b'{"a": []}', b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"a": {"dtype": "F32", "shape": [-2, -2], "data_offsets": [0, 16]}}',
    b'{"a": {"dtype": "F32", "shape": [1e999], "data_offsets": [0, 4]}}',
    b'{"a": {"dtype": "F32", "shape": [' + b"1," * 99 + b'1], "data_offsets": [0, 4]}}',
], ids=range(9))  # fmt: skip
def test_a_header_that_somebody_garbled_is_damage_and_no_bug(tmp_path: Path, header: bytes) -> None:
    body = len(header).to_bytes(8, "little") + header + bytes(64)
    (tmp_path / "model.safetensors").write_bytes(body)
    with pytest.raises(Damaged, match="download it again"):
        open_tensors(tmp_path)
