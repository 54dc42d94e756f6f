"""The ports of the gateway, and structured output."""
