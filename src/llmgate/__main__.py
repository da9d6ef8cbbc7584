"""`python -m llmgate` is `llmgate`."""

from .cli import main

main(prog_name="llmgate")
