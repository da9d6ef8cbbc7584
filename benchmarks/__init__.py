"""What the gate costs, against nginx in the same run: `make bench`."""
