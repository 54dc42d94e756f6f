"""Models: requests, routes, calls, budgets, prompts. Nothing of chat or scoring."""
