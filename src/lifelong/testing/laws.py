"""What a law is, and what its failure says."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..core.errors import LifelongError

__all__ = ["LawBroken", "holds", "line_of", "run", "same", "weights", "where"]

Subject = TypeVar("Subject")
_KNOWN = (str(Path(__file__).parents[1]), str(Path(torch.__file__).parent))


class LawBroken(LifelongError, AssertionError):  # noqa: N818 (what is broken is a law)
    """A law does not hold: the message says which, and what was found."""


def holds(condition: bool, otherwise: str) -> None:
    """Raises `LawBroken` where a condition does not hold."""
    if not condition:
        raise LawBroken(otherwise)


def run(laws: Sequence[Callable[[Subject], None]], subject: Subject, called: str) -> None:
    """Holds `subject` to each of the laws.

    Raises:
        LawBroken: some do not hold; all of them are named.
    """
    broken: dict[str, list[str]] = {}  # by what is wrong: the laws that found it
    cause: Exception | None = None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the laws are many small steps
    try:
        for law in laws:
            try:
                law(subject)
            except LawBroken as error:
                broken.setdefault(str(error), []).append(law.__name__)
            except Exception as error:  # whatever somebody's code raises
                cause = cause or error
                broken.setdefault(f"{type(error).__name__}: {error}{where(error)}", []).append(law.__name__)
    finally:
        torch.set_num_threads(threads)
    if broken:
        count = sum(map(len, broken.values()))
        found = "".join(f"\n  {', '.join(names)}: {text}" for text, names in broken.items())
        raise LawBroken(f"{called} breaks {count} of {len(laws)} laws:{found}") from cause


def where(error: BaseException) -> str:
    """The line that an error comes from, as ` (file.py:12, in gradient)`; empty: it is this package's or torch's own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return line_of(traceback.extract_tb(error.__traceback__))


def line_of(frames: Iterable[traceback.FrameSummary]) -> str:
    """The last line of code that is neither this package's nor torch's."""
    own = [f for f in frames if not f.filename.startswith(_KNOWN)]
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno}, in {own[-1].name})" if own else ""


def weights(net: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's weights and buffers."""
    return {name: p.detach().clone() for name, p in net.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether they are the same to the last bit."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
