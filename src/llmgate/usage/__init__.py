"""Reading what a request asks for and what its answer used: sans-IO, one dialect per backend family."""
