"""What runs for an image: the embedded home has programs, not containers.

A container with a `command` runs that command and needs no image. Otherwise the image's repository
(registry, tag and digest do not matter) is looked up here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from forebay.errors import Invalid

_FOREBAY = (sys.executable, "-P", "-m", "forebay.main")  # -P: a working directory must not shadow modules
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "kserve/storage-initializer": (*_FOREBAY, "storage-initializer"),
    "kserve/huggingfaceserver": (*_FOREBAY, "llama"),
    "kserve/kserve-localmodelnode-agent": (*_FOREBAY, "node"),
    "forebay/llama": (*_FOREBAY, "llama"),
    "forebay/node": (*_FOREBAY, "node"),
    "forebay/gateway": (*_FOREBAY, "gateway"),
    "forebay/pull": (*_FOREBAY, "pull"),
}


def repository(image: str) -> str:
    """`docker.io/kserve/agent:v1@sha256:ab` as `kserve/agent`: without registry, tag and digest."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    name = head + slash + last.partition(":")[0]
    registry, slash, rest = name.partition("/")
    if slash and ("." in registry or ":" in registry or registry == "localhost"):
        name = rest
    return name


_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REFERENCE = re.compile(
    rf"(?:{_HOST}(?:\.{_HOST})*(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"  # registry, repository
    r"(?::\w[\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*(?:[+._-][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)


def unreadable(image: str) -> str:
    """The message of InvalidImageName, or "" for what a registry could be asked for."""
    if _REFERENCE.fullmatch(image):
        return ""
    why = "invalid reference format"
    if _REFERENCE.fullmatch(image.lower()):
        why += f": repository name ({repository(image)}) must be lowercase"
    return f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": {why}'


def resolve(image: str, extra: Mapping[str, tuple[str, ...]] | None = None) -> list[str] | None:
    """The command line for an image, or None if the home has no program for it.

    `extra` wins over the table, and a full reference over its repository.
    """
    for table in (extra or {}, PROGRAMS):
        for name in (image, repository(image)):
            if name in table:
                return list(table[name])
    return None


def refusal(image: str) -> str:
    """The message of ErrImagePull: what is wrong and what to do."""
    return (
        f'no program stands for image "{image}": the embedded home runs processes, not container images. '
        "Give the container a `command:` that is installed on this machine, or add a line "
        f"`{repository(image)}: [program, argument]` to images.yaml in the home's data folder"
    )


def read_extra(path: Path) -> dict[str, tuple[str, ...]]:
    """images.yaml: a mapping from image (or repository) to a command line. Raises Invalid; {} without a
    file.
    """
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except FileNotFoundError:
        return {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        told = " ".join(str(error).split())
        raise Invalid(
            f"{path}: cannot be read as YAML: {told}; write lines like `image: [program]`"
        ) from error
    if not isinstance(content, dict):
        raise Invalid(f"{path}: is not a mapping; write lines like `image: [program, argument]`")
    table = {}
    for image, argv in content.items():
        words = argv.split() if isinstance(argv, str) else argv
        if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
            raise Invalid(f"{path}: {image}: is not a command line; write it as [program, argument]")
        table[str(image)] = tuple(words)
    return table
