"""Prompts: what the scripted provider was really asked."""

from typing import Any

import httpx

from testing.stack import Stack


def prompts(stack: Stack, text: str) -> list[list[dict[str, Any]]]:
    """The messages of the provider's latest requests whose last user message is this text."""
    bodies = httpx.get(f"{stack.provider_url}/requests", timeout=10).json()
    return [body["messages"] for body in bodies if _last_words(body["messages"]) == text]


def _last_words(messages: list[dict[str, Any]]) -> Any:
    words = [message["content"] for message in messages if message["role"] == "user"]
    return words[-1] if words else None
