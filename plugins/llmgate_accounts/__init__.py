"""Accounts with token limits in front of completions: the "LLM User Management API" on llmgate."""
