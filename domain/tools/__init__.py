"""Tools: calls, the decisions about them, and the to-do list."""
