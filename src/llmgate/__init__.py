"""llmgate: a gate in front of large language models."""

__version__ = "0.1.0"
