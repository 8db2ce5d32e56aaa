"""What the numbers of a page are over, in words: what varies between the seeds of a run. Every table and picture takes its words from here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["CELLS", "FEW", "UNKNOWN", "count", "drawn", "listed", "over", "varies"]

FEW = 4  # seeds from which an interval is drawn: of two, Student's t makes it 12.7 standard errors wide, of three 4.3

CELLS = 12  # tasks up to which a map of R prints its values
UNKNOWN = "what varies between them is not recorded; the stream may be among it"
_WEIGHTS = "initial weights, order of examples and draws"
_PYTHON = "order of examples and draws, and initial weights unless the network was given ready made"


def varies(notes: Mapping[str, Any], config: Mapping[str, Any] | None, made_by_fit: bool = False) -> str:
    """What varies between the seeds of a run.

    Args:
        notes: of its stream; ``stream_seed`` is the seed that all seeds' streams were drawn with, or ``"each"`` where every seed has its own.
        config: its configuration by dotted keys; None where it has none.
        made_by_fit: it was made by `lifelong.fit`, which learns one stream unless it notes that it does not.
    """
    if config is None and not made_by_fit:
        return UNKNOWN
    seed = notes.get("stream_seed", (config or {}).get("stream.seed"))
    if seed is None and config is not None and "seed" in notes:
        seed = "each"  # the configurations of before said no seed where every seed had its own stream
    stream = "and the stream itself" if seed == "each" else "the stream is the same"
    what = _PYTHON if config is None else _WEIGHTS
    return f"{what}{', ' if seed == 'each' else '; '}{stream}"


def count(numbers: Sequence[int], what: str = "seed") -> str:
    """``5 seeds``, ``2 to 5 seeds``, ``1 seed``."""
    least, most = min(numbers, default=0), max(numbers, default=0)
    return f"{least if least == most else f'{least} to {most}'} {what}{'' if most == 1 else 's'}"


def over(numbers: Sequence[int], what_varies: str, lead: str = "Mean ± 95% interval") -> str:
    """A sentence for a caption: ``Mean ± 95% interval over 5 seeds (initial weights, ...).``; `numbers` are of the seeds of each method."""
    if max(numbers, default=0) < 2:
        return "One seed, so no interval."
    return f"{lead} over {count(numbers)} ({what_varies})."


def drawn(numbers: Sequence[int], interval: str, each: str) -> str:
    """How a picture shows the seeds: from `FEW` on as an interval, below by themselves.

    Args:
        numbers: of the seeds of each method.
        interval: what shows an interval in this picture, such as "Bands".
        each: what shows a seed, such as "Thin lines".
    """
    many, few = [n for n in numbers if n >= FEW], [n for n in numbers if 1 < n < FEW]
    said = [f"{interval}: 95% intervals over the seeds."] if many else []
    if few:
        said.append(f"{each}: the {count(few)}, too few for an interval.")
    return " ".join(said)


def listed(names: Sequence[str], most: int = 4) -> str:
    """``a, b and c``; of more than `most` the first ones, and how many others."""
    shown = list(names) if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} others"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
