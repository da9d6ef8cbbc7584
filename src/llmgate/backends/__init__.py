"""What differs from one backend to the next: how requests are read, models listed, context and tokens told."""
