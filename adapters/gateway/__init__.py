"""Models through LiteLLM: routing, failover, caching, errors in our words."""
