"""Scoring: models that turn what is known of a lead into a score, without any I/O."""
