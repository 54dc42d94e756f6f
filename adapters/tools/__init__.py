"""MCP: our own to-do server, and the tool box through which runs reach every tool."""
