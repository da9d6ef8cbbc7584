"""A platform over the gate: generate, train LoRA adapters, serve and evaluate them, with daily limits per key."""
