"""Chat over HTTP: threads, messages, the todo agent."""
