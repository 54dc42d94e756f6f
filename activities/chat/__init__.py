"""Chat: the activities of a turn."""
