"""`perdure mcp`, for programs that speak MCP."""
