"""Programs beside the gate: the demo, and the comparison of a backend with the gate in front of it."""
