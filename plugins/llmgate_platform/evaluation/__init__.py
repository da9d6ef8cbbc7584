"""Evaluation: greedy answers to held-out prompts, compared with what was expected."""
