"""A worker's process, started by its supervisor and by nobody else: `python -m llmgate.server DESCRIPTOR`."""

import sys

from .log import log_to_stderr
from .worker import work

log_to_stderr()
work(int(sys.argv[1]))
