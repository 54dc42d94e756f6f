"""What tests and benchmarks share: stacks, a scriptable provider, clients. Never shipped."""
