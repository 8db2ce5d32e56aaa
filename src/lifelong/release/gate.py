"""Did the new model forget? Two models' answers to the same examples, before one takes the other's place.

Of n examples b were right before and are wrong now (negative flips), c were wrong and are right now. Then

    change of accuracy            (c − b) / n
    negative flip rate            b / n                              Yan et al. 2021, arXiv 2011.09161, equation 1
    p of no change                min(1, 2 Σ_{i ≤ min(b, c)} C(b + c, i) / 2^(b+c))             McNemar's exact test
    interval of the change        q − p ± z √((p + q − (q − p)²) / (n + 2)),   p = (b + 1)/(n + 2),  q = (c + 1)/(n + 2)

the last being Bonett & Price 2012 (adjusted Wald, for paired data). The interval of b / n is Clopper and Pearson's. Both models answer the
same examples, and what both get right or wrong does not blur the difference. Intervals are those of one row each: with many classes some
will miss the truth.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from ..core.errors import MethodError
from .answers import Answers

__all__ = ["Check", "Gate", "Limits", "Slice", "gate"]

Decide = Literal["point", "shown", "excluded"]
LIMITED = ("max_drop", "max_negative_flips", "worst_class", "max_error")


@final
@dataclass(frozen=True)
class Limits:
    """What a release is held to.

    Args:
        max_drop: by how much the accuracy may drop, over all and in each task; none: by anything.
        max_negative_flips: the part of the examples, over all and in each task, that may be right before and wrong now.
        worst_class: by how much the accuracy of any class (of a task) may drop.
        max_error: the part of the examples, over all and in each task, that the new model may get wrong, whatever the old one did.
        decide: on the measured number (point); on the interval, failing where more than the limit is shown (shown); or
            passing only where more than the limit is excluded (excluded).
        confidence: of the intervals.
    """

    max_drop: float | None = 0.01
    max_negative_flips: float | None = None
    worst_class: float | None = None
    max_error: float | None = None
    decide: Decide = "point"
    confidence: float = 0.95

    def __post_init__(self) -> None:
        for name in LIMITED:
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise MethodError(f"{name} {value}: expected a fraction from 0 to 1 (0.01 is one point in a hundred)")
        if not 0.5 <= self.confidence < 1:
            raise MethodError(f"confidence {self.confidence}: expected at least 0.5 and below 1 (0.95 is usual)")
        if self.decide not in ("point", "shown", "excluded"):
            raise MethodError(f"decide {self.decide!r}: expected point, shown or excluded")


@final
@dataclass(frozen=True)
class Slice:
    """Some of the examples: how many, how many each model got right, and the flips."""

    name: str
    n: int
    old: int
    new: int
    negative: int  # b
    positive: int  # c
    confidence: float = 0.95

    @property
    def change(self) -> float:
        return (self.positive - self.negative) / self.n

    @property
    def change_interval(self) -> tuple[float, float]:
        from scipy.special import ndtri

        p, q = (self.negative + 1) / (self.n + 2), (self.positive + 1) / (self.n + 2)
        half = float(ndtri((1 + self.confidence) / 2)) * math.sqrt((p + q - (q - p) ** 2) / (self.n + 2))
        return max(-1.0, q - p - half), min(1.0, q - p + half)

    @property
    def p(self) -> float:
        from scipy.special import bdtr

        b, c = self.negative, self.positive
        return min(1.0, 2 * float(bdtr(min(b, c), b + c, 0.5))) if b + c else 1.0

    @property
    def rate(self) -> float:
        return self.negative / self.n

    @property
    def rate_interval(self) -> tuple[float, float]:
        return self._part(self.negative)

    @property
    def error_interval(self) -> tuple[float, float]:
        """Of the part that the new model gets wrong."""
        return self._part(self.n - self.new)

    def _part(self, b: int) -> tuple[float, float]:
        """Clopper and Pearson's interval of b / n."""
        from scipy.special import betaincinv

        n, a = self.n, (1 - self.confidence) / 2
        low = float(betaincinv(b, n - b + 1, a)) if b else 0.0
        return low, float(betaincinv(b + 1, n - b, 1 - a)) if b < n else 1.0

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "name": self.name,
            "n": self.n,
            "accuracy_old": self.old / self.n,
            "accuracy_new": self.new / self.n,
            "change": self.change,
            "change_interval": list(self.change_interval),
            "mcnemar_p": self.p,
            "negative_flips": self.negative,
            "positive_flips": self.positive,
            "negative_flip_rate": self.rate,
            "negative_flip_rate_interval": list(self.rate_interval),
        }


@final
@dataclass(frozen=True)
class Check:
    """One thing that a release was held to."""

    what: str
    where: str
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.value <= self.limit + 1e-12


@final
@dataclass(frozen=True)
class Gate:
    """What was found, and what follows."""

    old: str
    new: str
    limits: Limits
    total: Slice
    tasks: tuple[Slice, ...]
    classes: tuple[Slice, ...]  # of each task
    flips: tuple[tuple[str, str, int], ...]  # label, what it is called now, how often; most frequent first
    checks: tuple[Check, ...] = field(default=())
    remarks: tuple[str, ...] = field(default=())  # what the limits do not see

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def worst(self) -> Slice:
        """The class whose accuracy changed for the worst; of equals the larger."""
        return min(self.classes, key=lambda s: (s.change, -s.n))

    def to_json(self) -> str:
        """As JSON."""
        checks = [{**asdict(c), "passed": c.passed} for c in self.checks]
        found = {
            "passed": self.passed,
            "old": self.old,
            "new": self.new,
            "limits": asdict(self.limits),
            "intervals": {"change": "Bonett-Price", "negative_flip_rate": "Clopper-Pearson", "test": "McNemar, exact"},
            "checks": checks,
            "total": self.total.plain(),
            "remarks": list(self.remarks),
            "worst_class": self.worst.name,
            "tasks": [s.plain() for s in self.tasks],
            "classes": [s.plain() for s in self.classes],
            "negative_flips": [{"label": a, "now": b, "count": k} for a, b, k in self.flips],
        }
        return json.dumps(found, indent=1, ensure_ascii=False)

    def to_markdown(self, most: int = 12) -> str:
        """As Markdown, for people; at most so many classes are shown, JSON has all."""
        percent = f"{100 * self.limits.confidence:g}%"
        failed = [c for c in self.checks if not c.passed]
        verdict = "failed" if failed else "passed"
        on = {
            "point": "on the measured numbers",
            "shown": f"on the {percent} intervals: fails where more than the limit is shown",
            "excluded": f"on the {percent} intervals: passes only where more than the limit is excluded",
        }[self.limits.decide]
        lines = [f"# Retention gate: {verdict}", "", f"- old: {self.old}", f"- new: {self.new}", f"- decided {on}", ""]
        lines += _table(
            ("held to", "where", "measured", "limit", ""),
            [
                (
                    c.what,
                    c.where,
                    f"{round(c.value, 4) + 0:.4f}",
                    f"{c.limit:g}",
                    "passed" if c.passed else "**failed**",
                )
                for c in sorted(self.checks, key=lambda c: (c.passed, -(c.value - c.limit)))[:most]
            ],
        )
        if not self.checks:
            lines += ["Nothing was asked for: no limit was given.", ""]
        if len(self.checks) > most:
            passed = len(self.checks) - len(failed)
            lines += [f"{len(failed)} failed, {passed} passed; the {most} nearest to failing are shown.", ""]
        lines += [line for remark in self.remarks for line in (f"Note: {remark}.", "")]
        lines += ["## Accuracy", ""]
        head = (
            "",
            "n",
            "old",
            "new",
            f"change ({percent})",
            "McNemar p",
            "negative flips",
            f"rate ({percent})",
            "positive flips",
        )
        lines += _table(head, [_row(s) for s in (self.total, *self.tasks)])
        ranked = sorted(self.classes, key=lambda s: (s.change, -s.n))
        lines += [f"## Classes, the worst first: {self.worst.name}", ""]
        lines += _table(head, [_row(s) for s in ranked[:most]])
        if len(ranked) > most:
            lines += [f"{len(ranked) - most} further classes are in the JSON.", ""]
        lines += ["## Negative flips: right before, and what they are called now", ""]
        lines += self._matrix(most) if self.flips else ["None.", ""]
        return "\n".join(lines)

    def _matrix(self, most: int) -> list[str]:
        labels = _sorted({a for a, _, _ in self.flips})
        now = _sorted({b for _, b, _ in self.flips})
        if max(len(labels), len(now)) > most:
            rows = [(a, b, str(k)) for a, b, k in self.flips[:most]]
            found = _table(("label", "now", "how often"), rows)
            return (
                found
                if len(self.flips) <= most
                else [*found, f"{len(self.flips) - most} further pairs are in the JSON.", ""]
            )
        count = {(a, b): k for a, b, k in self.flips}
        return _table(("label \\ now", *now), [(a, *(str(count.get((a, b), "·")) for b in now)) for a in labels])


def gate(old: Answers, new: Answers, limits: Limits | None = None) -> Gate:
    """Holds the answers of a new model to those of the old one.

    Raises:
        DataError: they are answers to different examples.
    """
    limits = limits if limits is not None else Limits()
    new = new.beside(old)
    label = np.asarray(old.label)
    before, now = np.asarray(old.answer) == label, np.asarray(new.answer) == label

    def part(name: str, rows: NDArray[np.bool_] | slice) -> Slice:
        b, a = before[rows], now[rows]
        old, new, negative, positive = (int(rows.sum()) for rows in (b, a, b & ~a, ~b & a))
        return Slice(name, len(b), old, new, negative, positive, limits.confidence)

    total = part("all", slice(None))
    of = None if old.task is None else np.asarray(old.task)
    tasks, classes, remarks = [], [], []
    for name in dict.fromkeys(old.task or ("",)):
        own = np.ones(len(label), dtype=bool) if of is None else of == name
        if of is not None:
            tasks.append(part(name, own))
        often = Counter(label[own].tolist()).most_common(1)[0][1] / int(own.sum())
        if before[own].mean() <= often and np.unique(label[own]).size > 1:
            remarks.append(
                f"the old model knew little{f' of {name}' if of is not None else ''} that could be forgotten: it answers {before[own].mean():.4f} "
                f"of it rightly, its most frequent label alone would {often:.4f}"
            )
        classes += [
            part(f"{name}: {c}" if of is not None else c, own & (label == c)) for c in _sorted(set(label[own].tolist()))
        ]
    wrong = before & ~now
    flips = Counter(zip(label[wrong].tolist(), np.asarray(new.answer)[wrong].tolist()))
    counted = sorted(((a, b, k) for (a, b), k in flips.items()), key=lambda f: (-f[2], f[0], f[1]))
    checks = [*_drops("drop", (total, *tasks), limits.max_drop, limits.decide)]
    if limits.max_negative_flips is not None:
        checks += [
            Check("negative flip rate", s.name, _on(limits.decide, s.rate, *s.rate_interval), limits.max_negative_flips)
            for s in (total, *tasks)
        ]
    checks += _drops("drop of a class", classes, limits.worst_class, limits.decide)
    if limits.max_error is not None:
        checks += [
            Check(
                "error of the new model",
                s.name,
                _on(limits.decide, 1 - s.new / s.n, *s.error_interval),
                limits.max_error,
            )
            for s in (total, *tasks)
        ]
    found = total, tuple(tasks), tuple(classes), tuple(counted), tuple(checks), tuple(remarks)
    return Gate(old.name, new.name, limits, *found)


def _drops(what: str, slices: Sequence[Slice], limit: float | None, decide: Decide) -> list[Check]:
    if limit is None:
        return []
    return [
        Check(what, s.name, _on(decide, -s.change, -s.change_interval[1], -s.change_interval[0]), limit) for s in slices
    ]


def _on(decide: Decide, point: float, low: float, high: float) -> float:
    """The number that is held to a limit."""
    return {"point": point, "shown": low, "excluded": high}[decide]


def _sorted(names: Iterable[str]) -> list[str]:
    """2 before 10."""
    return sorted(names, key=lambda n: (0, int(n), n) if n.isdecimal() else (1, 0, n))


def _row(s: Slice) -> tuple[str, ...]:
    (low, high), (few, many) = s.change_interval, s.rate_interval
    return (
        s.name,
        str(s.n),
        f"{s.old / s.n:.4f}",
        f"{s.new / s.n:.4f}",
        f"{s.change:+.4f} ({low:+.4f} to {high:+.4f})",
        f"{s.p:.2g}",
        str(s.negative),
        f"{s.rate:.4f} ({few:.4f} to {many:.4f})",
        str(s.positive),
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    width = [max(len(row[i]) for row in lines) for i in range(len(head))]
    made = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, width)) + " |" for row in lines]
    return [made[0], "|" + "|".join("-" * (w + 2) for w in width) + "|", *made[1:], ""]
