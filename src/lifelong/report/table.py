"""Numbers as text: the table of a terminal, and the cells of every other."""

from __future__ import annotations

import math

from ..measures.matrix import Interval
from .results import MEASURES, PEEKING, Results
from .words import count

__all__ = ["SIGNED", "amount", "as_text", "differences", "number", "rows"]

UNDEFINED = "undefined"
SIGNED = {"bwt", "fwt", "forgetting", "intransigence"}
_UNITS: dict[str, list[tuple[float, str]]] = {
    "_seconds": [(1e-3, "ms"), (1, "s"), (60, "min"), (3600, "h")],
    "_bytes": [(1, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB")],
    "": [(1, ""), (1e3, "k"), (1e6, "M"), (1e9, "G")],
}


def number(value: Interval, signed: bool = False) -> str:
    """``0.912±0.004``; without the interval for one seed; ``undefined`` for NaN."""
    if math.isnan(value.mean):
        return UNDEFINED
    text = f"{value.mean:+.3f}" if signed else f"{value.mean:.3f}"
    return text if math.isnan(value.half) else f"{text}±{value.half:.3f}"


def amount(value: float, metric: str) -> str:
    """A cost in readable units: ``2.1 MB`` of a metric in bytes, ``3.5 min`` of one in seconds."""
    if math.isnan(value):
        return UNDEFINED
    units = next(units for suffix, units in _UNITS.items() if metric.endswith(suffix))
    size, unit = max((u for u in units if u[0] <= abs(value)), default=units[0])
    scaled = value / size
    return f"{scaled:.0f} {unit}".rstrip() if scaled >= 100 else f"{scaled:.3g} {unit}".rstrip()


def rows(results: Results) -> list[tuple[str, dict[str, str], int]]:
    """Each method with its measures as text, and its number of seeds."""
    return [
        (
            method,
            {k: number(results.interval(method, k), k in SIGNED) for k in MEASURES},
            len(results.seeds[method]),
        )
        for method in results.methods
    ]


def differences(results: Results) -> list[tuple[str, dict[str, str], int]]:
    """Each method but the first with its paired differences from the first, and the number of
    seeds they share."""
    first, *others = results.methods
    table = []
    for method in others:
        found = {k: results.difference(method, first, k) for k in MEASURES}
        table.append((method, {k: number(v, True) for k, v in found.items()}, found["acc"].n))
    return table


def as_text(results: Results, paired: bool = False) -> str:
    """The methods side by side, for a terminal: mean ± half of the 95% interval over n seeds.

    Args:
        results: what was read.
        paired: add the differences from the first method, paired seed by seed.
    """
    several = max(results.counts, default=0) > 1
    blocks = [
        f"{results.stream}, scenario {results.scenario}, {count([results.T], 'task')}; mean ± 95% interval over n seeds"
        + (f"\n({results.varies})" if several else ""),
        _aligned(rows(results)),
    ]
    if paired and len(results.methods) > 1:
        blocks += [
            f"difference from {results.methods[0]}, paired on the same n seeds",
            _aligned(differences(results)),
        ]
    if sizes := results.sizes:
        said = ", ".join(f"{m} {v:.2f}" for m, v in sizes.items())
        blocks.append(f"parameters at the end, of those of one network: {said}")
    if shares := results.shares:
        said = ", ".join(f"{m} {v:.2f}" for m, v in shares.items())
        blocks.append(f"part of its steps that each took within its budget of compute: {said}")
    if any(m.endswith(PEEKING) for m in results.methods):
        blocks.append("peeking: constants chosen on the test data; a bound, and no method's result")
    return "\n\n".join(blocks) + "\n"


def _aligned(table: list[tuple[str, dict[str, str], int]]) -> str:
    lines = [["method", *MEASURES.values(), "n"]]
    lines += [[name, *cells.values(), str(n)] for name, cells, n in table]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))]) for line in lines
    )
