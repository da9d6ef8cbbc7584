"""Private AI keys: teams, regions, and keys that open models, a vector database, or both, within a budget."""
