"""The record of model calls, and what limits them: budgets, quotas, breakers, caches."""
