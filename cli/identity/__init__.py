"""Verbs for tenants and their API keys."""
