"""`llmgate import`."""

from __future__ import annotations

from pathlib import Path

import click

from ..config import check_file
from ..errors import ConfigError, extra_remedy
from ..tools.imported_gate import render
from ..tools.litellm_import import convert

YAML_MISSING = f"PyYAML is needed to read YAML: {extra_remedy('import')}"


@click.group()
def command() -> None:
    """Turn the configuration of another gateway into a gate.toml."""


@command.command()
@click.argument("source", metavar="CONFIG.yaml", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--to",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write it; without, to stdout.",
)
@click.option("--force", is_flag=True, help="Overwrite what is there.")
def litellm(source: Path, target: Path | None, *, force: bool) -> None:
    """Turn LiteLLM's config.yaml (or model_list.yaml) into a gate.toml, and report what has no counterpart."""
    try:
        import yaml  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError([YAML_MISSING]) from error
    try:
        result = convert(yaml.safe_load(source.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError([f"{source}: {error}"]) from error
    text = render(result, source=source.name)
    if target is None:
        click.echo(text, nl=False)
    else:
        if target.exists() and not force:
            raise ConfigError([f"{target} is there already: name another file, or --force"])
        target.write_text(text, encoding="utf-8")
        for problem in check_file(target):
            click.echo(f"to mend: {problem}", err=True)
    for line in result.report:
        click.echo(f"not taken over: {line}", err=True)
