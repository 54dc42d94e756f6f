"""Chat: threads, turns and their steps."""
