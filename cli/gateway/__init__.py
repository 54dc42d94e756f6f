"""Verbs for models, usage, budgets and alerts."""
