"""The ports of tool calls."""
