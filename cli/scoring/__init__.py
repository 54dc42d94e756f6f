"""Verbs for scoring models, experiments and checks."""
