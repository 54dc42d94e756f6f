"""LiteLLM, set up once for this process; everyone here takes it from this module."""

import os
import warnings

# Without it the import fetches the price map over the network.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

# LiteLLM builds its pydantic models on first use, with types that pydantic warns about.
warnings.filterwarnings("ignore", message="Item .* on TypedDict class", category=UserWarning)

import litellm
from litellm.llms.custom_httpx.aiohttp_transport import LiteLLMAiohttpTransport
from litellm.llms.custom_llm import CustomLLM

litellm.suppress_debug_info = True
litellm.set_verbose = False
litellm.drop_params = True
litellm.disable_hf_tokenizer_download = True
litellm.disable_streaming_logging = True
litellm.REPEATED_STREAMING_CHUNK_LIMIT = 10_000

__all__ = ["CustomLLM", "LiteLLMAiohttpTransport", "litellm"]
