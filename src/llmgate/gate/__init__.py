"""The composition: gate.toml in, a Starlette-shaped gate out; its middleware stacks, its router, its lifetime."""
