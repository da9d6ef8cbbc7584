"""What pyproject.toml cannot say: `LLMGATE_COMPILED=1` compiles the modules that every byte passes.

mypyc, which comes with mypy, makes C of them, as they stand; the Python files stay beside what it makes, and are what
runs wherever nothing was compiled. `make wheel` does it; docs/decisions/0120-compiled-wheel.md says what it gains.
"""

import os

from setuptools import setup

COMPILED = [
    "src/llmgate/proxy/headers.py",
    "src/llmgate/server/connection.py",
    "src/llmgate/server/cycle.py",
    "src/llmgate/server/parser.py",
    "src/llmgate/server/protocol.py",
]
"""Synchronous, and run for each request or chunk: modules of coroutines get slower."""

if os.environ.get("LLMGATE_COMPILED"):
    from mypyc.build import mypycify

    setup(ext_modules=mypycify(COMPILED, opt_level="3"))
else:
    setup()
