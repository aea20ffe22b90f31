"""forebay-llama: a language model server in a pod, llama.cpp behind the OpenAI API."""

from forebay.engines.llama.command import main

__all__ = ["main"]
