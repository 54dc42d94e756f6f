"""What LiteLLM loads on first use, loaded by importing this module: once, for all forks."""

import asyncio

from adapters.gateway.call import warm_up
from domain.settings import Settings

asyncio.run(warm_up(Settings()))
