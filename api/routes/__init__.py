"""Routes: parse, ask or start, answer; no logic."""
