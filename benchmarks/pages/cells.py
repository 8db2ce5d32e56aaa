"""What every table is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def percent(found: dict[str, Any], sign: bool = False) -> str:
    """A mean over seeds with its 95% interval, in percent; `over` says what varies between them."""
    mean = f"{100 * found['mean']:{'+' if sign else ''}.1f}"
    half = found["half"]
    return f"{mean} ± {100 * half:.1f}" if found["n"] > 1 and half is not None else mean


SAME = "; the stream is the same"


def over(seeds: int, stream: str, what: str = "initial weights, order of examples and draws") -> str:
    """What an interval of a page is over: what varies between the seeds, and of the stream either what is drawn anew or that it is the same."""
    if seeds < 2:
        return f"one seed ({what}), no interval"
    return f"mean ± 95% interval over {seeds} seeds ({what}{stream})"


def measured(r: dict[str, Any], command: str) -> str:
    v = r["versions"]
    return (
        f"Measured {r['date']} with torch {v['torch']}, Python {v['python']}, {r['threads']} thread(s) on {r['cores']} "
        f"cores: `{command}`. Raw numbers: `benchmarks/results/`.\n"
    )


def grid(choice: dict[str, Any]) -> str:
    tried = ", ".join(f"{g:g}: {100 * s:.1f}" for g, s in zip(choice["grid"], choice["scores"]))
    return f"{choice['value']:g} (held-out accuracy in percent by strength: {tried})"


def reduced(r: dict[str, Any], *names: str) -> str:
    """The flags that say how a run was made."""

    def plain(value: Any) -> str:
        return ",".join(map(str, value)) if isinstance(value, list) else str(value)

    return "".join(f" --{name} {plain(r[name])}" for name in names)
