"""Models through LiteLLM: one call, streamed, with its errors in our words."""
