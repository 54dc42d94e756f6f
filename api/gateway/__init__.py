"""Models over HTTP: routes, usage, budgets, prompts, alerts."""
