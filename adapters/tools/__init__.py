"""MCP: our own task server, and the tool box through which runs reach every tool."""
