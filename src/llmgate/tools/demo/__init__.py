"""A real small model to try the gate on: SmolLM2-135M behind llama.cpp's server, without a GPU or a model hub."""

MODEL = "smollm2"
"""The name that the model answers to."""
