"""Tool calls and decisions, and the to-do list with its effects."""
