"""Which llmgate this is."""

import re

import llmgate
from llmgate.plugin import api
from llmgate.version import __version__


def test_there_is_one_version_and_it_is_one_of_pep_440() -> None:
    assert __version__ == llmgate.__version__ == api.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?(?:\.dev\d+)?", __version__)
