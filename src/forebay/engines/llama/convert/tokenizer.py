"""tokenizer.json -> the vocabulary of a GGUF: byte-level BPE (gpt-2, llama-bpe, smollm) and
sentencepiece-like BPE.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forebay.engines.llama.convert.config import LlamaConfig
from forebay.errors import Absent, Damaged, Invalid
from forebay.kit.foreign import parsed

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")


@dataclass
class Vocabulary:
    """What llama.cpp needs to know of a tokenizer. `model` is gpt2 or llama, `pre` the way text is cut
    before merging.
    """

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    special: dict[str, int] = field(default_factory=dict)
    add_bos: bool = False
    add_eos: bool = False
    space_prefix: bool = False
    chat_template: str = ""


def read_vocabulary(folder: Path, config: LlamaConfig) -> Vocabulary:
    """Raises Absent (no tokenizer.json), Invalid (a kind that is not covered), Damaged."""
    data = _load(folder / "tokenizer.json")
    if data is None:
        raise Absent(
            f"{folder} has no tokenizer.json: only fast tokenizers can be converted; or give a GGUF file"
        )
    settings = _load(folder / "tokenizer_config.json") or {}
    model = data.get("model") or {}
    if model.get("type") != "BPE":
        raise Invalid(f"the tokenizer {model.get('type')!r} is not supported, only BPE is: give a GGUF file")
    try:
        vocabulary = _tokens(data, config.vocabulary)
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
        if model.get("byte_fallback"):
            _as_sentencepiece(vocabulary, merges, data)
        else:
            vocabulary.merges, vocabulary.pre = merges, _pre_tokenizer(data.get("pre_tokenizer") or {})
    except (KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{folder / 'tokenizer.json'} is garbled ({error!r}): download it again") from None
    _specials(vocabulary, config.raw, settings)
    vocabulary.add_bos, vocabulary.add_eos = _added(vocabulary, data, settings)
    vocabulary.chat_template = _chat_template(folder, settings)
    return vocabulary


def _load(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        value = parsed(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Damaged(f"{path} is not valid JSON ({error}): download it again") from None
    return value if isinstance(value, dict) else None


def _tokens(data: Mapping[str, Any], size: int) -> Vocabulary:
    texts: dict[int, str] = {int(number): text for text, number in data["model"]["vocab"].items()}
    kinds = {number: BYTE if _BYTE_TOKEN.fullmatch(text) and data["model"].get("byte_fallback") else NORMAL
             for number, text in texts.items()}  # fmt: skip
    for added in data.get("added_tokens") or ():
        number = int(added["id"])
        texts[number] = str(added["content"])
        kinds[number] = CONTROL if added.get("special") else USER_DEFINED
    if texts and max(texts) >= size:
        raise Damaged(
            f"the tokenizer has {max(texts) + 1} tokens, config.json says vocab_size {size}: a mixed-up "
            f"folder"
        )
    tokens = [texts.get(number, f"[PAD{number}]") for number in range(size)]
    types = [kinds.get(number, UNUSED) for number in range(size)]
    unknown = data["model"].get("unk_token")
    if unknown in tokens:
        types[tokens.index(unknown)] = UNKNOWN
    return Vocabulary("gpt2", "", tokens, types)


def _pre_tokenizer(pre: Mapping[str, Any]) -> str:
    """llama.cpp's name for the way text is cut; the same cut, or a refusal: a near miss would answer badly
    in silence.
    """
    steps = pre.get("pretokenizers") or [pre]
    kinds = [step.get("type") for step in steps]
    last = steps[-1]
    if last.get("type") == "ByteLevel" and not last.get("add_prefix_space"):
        if kinds == ["ByteLevel"] and last.get("use_regex", True):
            return "gpt-2"
        if (
            kinds == ["Digits", "ByteLevel"]
            and steps[0].get("individual_digits")
            and last.get("use_regex", True)
        ):
            return "smollm"
        regex = (steps[0].get("pattern") or {}).get("Regex")
        if kinds == ["Split", "ByteLevel"] and not last.get("use_regex", True) and regex == LLAMA3_SPLIT:
            return "llama-bpe"
    raise Invalid(
        f"the pre-tokenizer {' + '.join(map(str, kinds))} is not one of those covered (GPT-2, SmolLM, "
        f"Llama 3, "
        "sentencepiece-like): give a GGUF file"
    )


def _as_sentencepiece(vocabulary: Vocabulary, merges: list[str], data: Mapping[str, Any]) -> None:
    """Llama 2, Mistral 7B v0.1: llama.cpp merges by score, so the rank of a merge becomes the score of its
    result.
    """
    rank: dict[str, int] = {}
    for number, merge in enumerate(merges):
        rank.setdefault(merge.replace(" ", ""), number)
    vocabulary.model, vocabulary.pre = "llama", "default"
    vocabulary.scores = [-float(rank.get(token, len(merges))) for token in vocabulary.tokens]
    normalizer = json.dumps(data.get("normalizer") or {}) + json.dumps(data.get("pre_tokenizer") or {})
    vocabulary.space_prefix = '"Prepend"' in normalizer or '"prepend_scheme": "first"' in normalizer


def _specials(vocabulary: Vocabulary, config: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    places: dict[str, int] = {token: number for number, token in enumerate(vocabulary.tokens)}
    for key, name in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        token = settings.get(f"{key}_token")
        token = token.get("content") if isinstance(token, Mapping) else token
        number: Any = places.get(token) if isinstance(token, str) else None
        if number is None:
            number = config.get(f"{key}_token_id")
            number = number[0] if isinstance(number, list) and number else number
        if isinstance(number, int) and 0 <= number < len(vocabulary.tokens):
            vocabulary.special[name] = number
    if "unknown" in vocabulary.special and vocabulary.types[vocabulary.special["unknown"]] == NORMAL:
        vocabulary.types[vocabulary.special["unknown"]] = UNKNOWN


def _added(vocabulary: Vocabulary, data: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether the tokenizer puts the begin and end tokens round a text by itself."""
    processor = data.get("post_processor") or {}
    steps = processor.get("processors") or [processor]
    single = [part for step in steps for part in step.get("single") or ()]
    ids = [part["SpecialToken"]["id"] for part in single if "SpecialToken" in part]
    names = {key: vocabulary.tokens[number] for key, number in vocabulary.special.items()}
    bos, eos = settings.get("add_bos_token"), settings.get("add_eos_token")
    begins = bool(single) and "SpecialToken" in single[0] and names.get("bos") in ids
    ends = bool(single) and "SpecialToken" in single[-1] and names.get("eos") in ids
    return (begins if bos is None else bool(bos)), (ends if eos is None else bool(eos))


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> str:
    apart = folder / "chat_template.jinja"
    if apart.is_file():
        return apart.read_text(encoding="utf-8")
    template = settings.get("chat_template") or ""
    if isinstance(template, list):  # several named ones
        template = next((item["template"] for item in template if item.get("name") == "default"), "")
    return str(template)
