"""What forebay-llama is told, and the foreign flags it tolerates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

# Flags of KServe's huggingfaceserver and of vLLM behind it that change nothing in what a client gets from
# a CPU server.
# True: takes a value.
IGNORED: dict[str, bool] = {
    "--backend": True, "--task": True, "--dtype": True, "--max_log_len": True, "--tensor_input_names": True,
    "--return_token_type_ids": False, "--return_probabilities": False, "--disable_lower_case": False,
    "--disable_special_tokens": False, "--trust_remote_code": False, "--tokenizer_revision": True,
    "--model_revision": True, "--enable_docs_url": False, "--enable_latency_logging": True,
    "--log_config_file": True,
    "--access_log_format": True, "--predictor_host": True, "--predictor_protocol": True,
    "--predictor_use_ssl": True, "--predictor_request_timeout_seconds": True, "--grpc_port": True,
    "--enable_grpc": True, "--workers": True, "--max_threads": True, "--max_asyncio_workers": True,
    "--disable_log_requests": False, "--disable_log_stats": False, "--enforce_eager": False,
    "--gpu_memory_utilization": True, "--tensor_parallel_size": True, "--pipeline_parallel_size": True,
    "--swap_space": True, "--enable_prefix_caching": False, "--enable_chunked_prefill": False, "--seed": True,
    "--kv_cache_dtype": True, "--load_format": True, "--uvicorn_log_level": True, "--served_model_name": True,
    "--quantization": True, "--max_num_batched_tokens": True, "--generation_config": True,
    "--enable_auto_tool_choice": False, "--tool_call_parser": True, "--reasoning_parser": True,
    "--enable_reasoning": False, "--chat_template": True, "--response_role": True, "--max_logprobs": True,
    "--max_parallel_loading_workers": True, "--secure": False, "--configure_logging": True,
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """One server's settings. Sizes in tokens, times in seconds; `threads` 0 means all this process may
    use.
    """

    host: str
    port: int
    model_name: str
    model_dir: Path
    model_id: str
    ctx_size: int
    threads: int
    parallel: int
    gguf: str
    linger_s: float
    grace_s: float


def split_known(argv: list[str]) -> tuple[list[str], list[str]]:
    """(arguments for our own command line, warnings about foreign flags that were taken out)."""
    kept: list[str] = []
    warnings: list[str] = []
    position = 0
    while position < len(argv):
        flag, equals, value = argv[position].partition("=")
        name = "--" + re.sub("-", "_", flag[2:]) if flag.startswith("--") else flag
        position += 1
        if name not in IGNORED:
            kept.append(argv[position - 1])
            continue
        if (
            IGNORED[name]
            and not equals
            and argv[position : position + 1]
            and not argv[position].startswith("--")
        ):
            value = argv[position]
            position += 1
        warnings.append(
            f"warning: {flag}{f' {value}' if value else ''} has no effect with this engine and is ignored"
        )
    return kept, warnings
