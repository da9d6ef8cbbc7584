"""`make torture`: play every scene, print the books, and exit with 1 where they are wrong."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from .books import audit
from .hosts import Missing
from .run import Size, run
from .scenes import cluster, cluster_host, sqlite, sqlite_host
from .table import table, verdict

SCENES = {"sqlite": sqlite, "cluster": cluster, "sqlite-host": sqlite_host, "cluster-host": cluster_host}


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("--scene", choices=SCENES, action="append", help="else all")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="what all randomness is drawn from")
    parser.add_argument("--seconds", type=float, default=35.0, help="how long the load of a scene lasts")
    parser.add_argument("--clients", type=int, default=4, help="clients of each account")
    parser.add_argument("--tokens", type=int, default=9000, help="size of the largest quota")
    parser.add_argument("--keep", type=Path, help="folder that keeps logs and stores")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    size = Size(options.seconds, options.clients, options.tokens)
    sys.exit(asyncio.run(_play(options.scene or list(SCENES), options.seed, size, options.keep)))


async def _play(names: list[str], seed: str, size: Size, keep: Path | None) -> int:
    wrong = 0
    for name in names:
        with tempfile.TemporaryDirectory(prefix="llmgate-torture-") as made:
            folder = (keep or Path(made)).absolute() / name
            folder.mkdir(parents=True)
            try:
                async with SCENES[name](folder) as scene:
                    result = await run(scene, seed, size)
            except Missing as missing:
                print(f"== {name}: not played: {missing}")
                continue
        differences = audit(result.evidence)
        print("\n".join([*table(name, result), *verdict(differences)]), flush=True)
        wrong += bool(differences)
    return int(wrong > 0)


if __name__ == "__main__":
    main()
