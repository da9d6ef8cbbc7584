"""What a run prints: the troubles, how requests ended for clients and in the ledger, and every account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from .books import spent
from .clients import End, Sighting
from .run import Result


def table(name: str, result: Result) -> Iterator[str]:
    """The lines for one run."""
    evidence = result.evidence
    yield f"== {name}"
    yield f"troubles   {_counted(result.troubles)}"
    yield f"clients    {_counted(Counter(map(_end, evidence.sightings)))}"
    yield f"ledger     {_counted(Counter(f'{r.outcome} {r.certainty}' for r in evidence.records))}"
    final = {report.id: report for report in evidence.reports if report.final}
    finished = {seen.id for seen in evidence.sightings if seen.end is End.FINISHED}
    reported = sum(final[one].input + final[one].output for one in finished & final.keys())
    recorded = sum(
        record.input_tokens + record.output_tokens
        for record in evidence.records
        if record.request_id in finished
    )
    yield f"tokens of finished responses: reported {reported:,}, in the ledger {recorded:,}"
    yield f"{'account':<12}{'unit':<10}{'limit':>8}{'used':>8}{'records':>9}"
    for quota in evidence.quotas:
        total = sum(spent(quota.unit, record) for record in evidence.records if quota.draws(record))
        yield f"{quota.name:<12}{quota.unit:<10}{quota.limit:>8}{quota.used:>8}{total:>9}"
    yield f"left over  {_counted(evidence.leftovers)}"


def _end(seen: Sighting) -> str:
    return f"{seen.end} with {seen.status}" if seen.end is End.TURNED_DOWN else seen.end


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()) if count) or "nothing"


def verdict(differences: Iterable[str]) -> Iterator[str]:
    """The lines that say whether the books are right."""
    found = list(differences)
    yield from (f"DIFFERENCE {line}" for line in found)
    yield f"{len(found)} differences" if found else "No difference: the books are right."
