"""Prompts, one file each: front matter in TOML, then the text with its `{{ fields }}`."""
