"""LiteLLM, set up once for this process; everyone here takes it from this module."""

import os
import warnings

# Without it the import fetches the price map over the network.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import litellm
from litellm.llms.custom_httpx.aiohttp_transport import LiteLLMAiohttpTransport
from litellm.llms.custom_llm import CustomLLM

__all__ = ["CustomLLM", "LiteLLMAiohttpTransport", "introduce", "litellm"]

litellm.suppress_debug_info = True
litellm.set_verbose = False
litellm.drop_params = True
litellm.disable_hf_tokenizer_download = True
litellm.disable_streaming_logging = True
litellm.REPEATED_STREAMING_CHUNK_LIMIT = 10_000

# LiteLLM builds its pydantic models on first use, with types that pydantic warns about.
warnings.filterwarnings("ignore", message="Item .* on TypedDict class", category=UserWarning)


def introduce(model: str) -> None:
    """Tell LiteLLM about an Ollama model that its map does not know.

    Else it asks the server in the middle of a call, and blocks the event loop while it does.
    """
    provider, _, name = model.partition("/")
    if provider in ("ollama", "ollama_chat") and name:
        litellm.model_cost.setdefault(
            model,
            {
                "litellm_provider": provider,
                "mode": "chat",
                "input_cost_per_token": 0.0,
                "output_cost_per_token": 0.0,
                "supports_function_calling": True,
            },
        )
