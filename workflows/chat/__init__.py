"""Chat: the workflow of a turn."""
