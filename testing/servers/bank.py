"""A tool server that must not do a thing twice: each payment is a line in a file.

It answers only after the file beside it, `<ledger>.go`, is there: until then a caller may die.
"""

import os
import time
from pathlib import Path

import anyio.to_thread
from mcp.server.mcpserver import MCPServer

LEDGER = Path(os.environ["BANK_LEDGER"])
server = MCPServer("bank", log_level="ERROR")


@server.tool()
async def pay(to: str) -> str:
    """Pay somebody, then take a while to say so."""
    await anyio.to_thread.run_sync(_pay, to, abandon_on_cancel=True)
    return f"paid {to}"


def _pay(to: str) -> None:
    with LEDGER.open("a") as ledger:
        ledger.write(f"{to}\n")
    while not LEDGER.with_name(f"{LEDGER.name}.go").exists():
        time.sleep(0.02)


if __name__ == "__main__":
    server.run("stdio")
