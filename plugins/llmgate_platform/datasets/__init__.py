"""Data sets: where they come from, the formats of their lines, and what is held out for evaluation."""
