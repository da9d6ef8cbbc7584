"""Tokens sold by number: quotas per provider, leaky buckets, purchases, analytics: "Leaky Tokens" on llmgate."""
