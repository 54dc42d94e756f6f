"""LiteLLM, set up once for this process; import it from this module only."""

import os
import warnings
from typing import Any

# Without it the import fetches the price map over the network.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import litellm
from litellm.litellm_core_utils.litellm_logging import Logging
from litellm.llms.custom_httpx.aiohttp_transport import LiteLLMAiohttpTransport
from litellm.llms.custom_llm import CustomLLM
from litellm.llms.ollama.common_utils import OllamaModelInfo

__all__ = ["CustomLLM", "LiteLLMAiohttpTransport", "litellm"]

litellm.suppress_debug_info = True
litellm.set_verbose = False
litellm.drop_params = True
litellm.disable_hf_tokenizer_download = True
litellm.disable_streaming_logging = True
litellm.REPEATED_STREAMING_CHUNK_LIMIT = 10_000

# LiteLLM builds its pydantic models on first use, with types that pydantic warns about.
warnings.filterwarnings("ignore", message="Item .* on TypedDict class", category=UserWarning)


def _ollama_model(_: Any, model: str, **__: Any) -> dict[str, Any]:
    """Answer as LiteLLM's own method does when the server is silent, except for the tools."""
    return {
        "key": model,
        "litellm_provider": "ollama",
        "mode": "chat",
        "input_cost_per_token": 0.0,
        "output_cost_per_token": 0.0,
        "max_tokens": None,
        "max_input_tokens": None,
        "max_output_tokens": None,
        "supports_function_calling": True,
    }


# The original asks the Ollama server in the middle of a call, and blocks the event loop meanwhile.
OllamaModelInfo.get_runtime_model_info = _ollama_model


async def _no_callbacks(*_: Any, **__: Any) -> None:
    """Call none of LiteLLM's own callbacks."""


# Per call they price the answer twice and build a log entry: a fifth of the CPU of a short call.
Logging.dispatch_success_handlers = _no_callbacks
Logging.response_cost_calculator = lambda *_, **__: None
