"""MCP: our own task server, and the client through which turns reach every tool."""
