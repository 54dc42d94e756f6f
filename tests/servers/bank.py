"""A tool server that must not do a thing twice: each payment is a line in a file.

It answers only after the file beside it, `<ledger>.go`, is there: until then a caller may die.
"""

import os
from pathlib import Path

import anyio
from mcp.server.mcpserver import MCPServer

LEDGER = Path(os.environ["BANK_LEDGER"])
server = MCPServer("bank", log_level="ERROR")


@server.tool()
async def pay(to: str) -> str:
    """Pay somebody, then take a while to say so."""
    with LEDGER.open("a") as ledger:
        ledger.write(f"{to}\n")
    while not await anyio.Path(f"{LEDGER}.go").exists():
        await anyio.sleep(0.02)
    return f"paid {to}"


if __name__ == "__main__":
    server.run("stdio")
