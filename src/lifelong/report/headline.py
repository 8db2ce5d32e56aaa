"""What a run found, in a few sentences that are made of its numbers and say nothing that a table of the page denies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, final

from ..measures.matrix import Interval, interval, paired
from .results import REFERENCES, own_name
from .table import number
from .words import count, listed

__all__ = ["headline"]

Seeds = Mapping[int, float]  # a measure by seed

_IDEAL = {  # what a reference is to the methods beside it, as long as none of them is above it
    "joint": "the upper bound",
    "joint_once": "the upper bound",
    "independent": "which cannot forget",
}


@final
class _Gap(NamedTuple):
    """How far the best method is above another, on the seeds that both were run with."""

    value: Interval

    @property
    def told(self) -> bool:
        """Whether these seeds tell the two apart."""
        return self.value.n > 1 and abs(self.value.mean) > self.value.half

    def __str__(self) -> str:
        n = self.value.n
        if n == 0:
            return "no seed in common"
        if n == 1:
            return f"a difference of {_signed(self.value)} on one seed"
        said = f"a difference of {_signed(self.value)} on the same {n} seeds"
        return said if self.told else f"{said}, which does not tell them apart"


def _signed(value: Interval) -> str:
    """Below 0 where the best over all seeds is not the best on those that both were run with."""
    return number(value).replace("-", "−")


def headline(tasks: int, accuracy: Mapping[str, Seeds], forgetting: Mapping[str, Seeds] | None = None) -> str:
    """What was found.

    References (joint training, a network for each task) are named as such and never compete. Numbers are those of the page's table of
    methods: means over all seeds of a method, with three digits. Differences are paired, seed by seed.

    Args:
        tasks: T.
        accuracy: of each method its mean accuracy over all tasks at the end (ACC), by seed. NaN where it is undefined.
        forgetting: the same of each method's forgetting; said where there is a single method.
    """
    means = {m: interval(list(of.values())) for m, of in accuracy.items()}
    known = [m for m in accuracy if not math.isnan(means[m].mean)]
    rivals = [m for m in known if own_name(m) not in REFERENCES]
    references = [m for m in known if own_name(m) in REFERENCES]
    after = f"After {count([tasks], 'task')}"
    if not known:
        return f"No method has been measured on all {count([tasks], 'task')} yet."
    said = []
    best = max(rivals, key=lambda m: means[m].mean, default=None)
    if best is None:
        said.append(f"{after}, no method is finished that could be held to a reference")
    else:
        gaps = {m: _Gap(_paired(accuracy[best], accuracy[m])) for m in known if m != best}
        others = sorted((m for m in rivals if m != best), key=lambda m: -means[m].mean)
        lead = f"{after}, {best} has "
        said.append(lead + _first(best, others, means, gaps, interval(list((forgetting or {}).get(best, {}).values()))))
        base = _base(others)
        said += _close([m for m in others if m != base], means, gaps, best)
    said += [_reference(m, best, rivals, means, None if best is None else gaps[m]) for m in references]
    if unknown := [m for m in accuracy if m not in known]:
        said.append(f"{listed(unknown)} {'has' if len(unknown) == 1 else 'have'} no mean accuracy")
    if best is not None and len(known) > 1 and all(means[m].n == 1 for m in known):
        said.append("With one seed, differences may be chance")
    return ". ".join(_capital(s) for s in said) + "."


def _base(others: Sequence[str]) -> str | None:
    """What the best is held to: fine-tuning where it was run, else the best of the others (they come in that order)."""
    return next((m for m in others if own_name(m) == "finetune"), next(iter(others), None))


def _shown(value: Interval) -> float:
    """A mean as the table has it: nothing is above another that reads the same there."""
    return float(f"{value.mean:.3f}")


def _first(
    best: str,
    others: Sequence[str],
    means: Mapping[str, Interval],
    gaps: Mapping[str, _Gap],
    forgetting: Interval,
) -> str:
    if not others:
        said = f"a mean accuracy of {number(means[best])}"
        return said if math.isnan(forgetting.mean) else f"{said} and a forgetting of {_signed(forgetting)}"
    said = f"the highest mean accuracy of {len(others) + 1} methods, {number(means[best])}"
    base = _base(others)
    if same := [m for m in others if m != base and _shown(means[m]) == _shown(means[best])]:
        said += f" (as much: {listed(same)})"
    return said if base is None else f"{said}; {base} has {number(means[base])}, {gaps[base]}"


def _close(others: Sequence[str], means: Mapping[str, Interval], gaps: Mapping[str, _Gap], best: str) -> list[str]:
    """Of which other methods the best is not told apart."""
    near = [m for m in others if gaps[m].value.n > 1 and not gaps[m].told]
    if not near:
        return []
    named = listed([f"{m} ({means[m].mean:.3f})" for m in near])
    return [f"{named} {'is' if len(near) == 1 else 'are'} not distinguishable from {best} on these seeds"]


def _reference(
    name: str, best: str | None, rivals: Sequence[str], means: Mapping[str, Interval], gap: _Gap | None
) -> str:
    """What a reference reaches, and which methods are above it."""
    own = own_name(name)
    reaches = f"reaches {number(means[name])}"
    higher = sorted((m for m in rivals if _shown(means[m]) > _shown(means[name])), key=lambda m: -means[m].mean)
    said = f"{REFERENCES[own]} ({name})"
    if not higher or best is None or gap is None:
        return f"{said}, {_IDEAL[own]}, {reaches}"
    verb = "is" if len(higher) == 1 else "are"
    of = "" if higher == [best] else f"{best}: "
    return f"{said}, a reference, {reaches}; {listed(higher)} {verb} above it ({of}{gap})"


def _paired(a: Seeds, b: Seeds) -> Interval:
    common = [s for s in a if s in b]
    return paired([a[s] for s in common], [b[s] for s in common])


def _capital(said: str) -> str:
    """A sentence begins with a capital, unless with the name of a method."""
    return (
        "J" + said[1:]
        if said.startswith("joint training")
        else "A" + said[1:]
        if said.startswith("a network")
        else said
    )
