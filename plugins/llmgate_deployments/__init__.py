"""Deployments of models that admins add while the gate runs: the "BKU Platform" on llmgate."""
