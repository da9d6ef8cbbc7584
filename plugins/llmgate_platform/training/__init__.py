"""Training: jobs in the store, workers that take them, and the trainer, a process of its own."""
