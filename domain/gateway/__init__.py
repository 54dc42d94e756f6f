"""Models: completions, calls, routes, budgets, alerts, prompts. Nothing of chat or scoring."""
