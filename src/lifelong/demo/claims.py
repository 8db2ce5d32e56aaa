"""What the numbers of the demo say: claims, each decided by an interval against a stated margin, and the text that is made of them.

Accuracies come in as 0..1; claims are in points of accuracy, 0..100.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from ..measures.matrix import Interval, RMatrix, interval

__all__ = ["Chosen", "Claim", "Paragraph", "Stacks", "claims", "percent", "story", "three_numbers"]

Stacks = Mapping[str, NDArray[np.float64]]  # R of each method, [seeds, T+1, T]
A, B, C = range(3)


class Chosen(NamedTuple):
    """A strength and the grid that it was chosen from, with what each value of it had on held-out data after the last task."""

    value: float
    grid: tuple[float, ...]
    held_out: tuple[float, ...]  # mean accuracy over the tasks
    a: tuple[float, ...]  # that on A
    c: tuple[float, ...]  # that on C

    @property
    def best(self) -> float:
        """The largest held-out accuracy."""
        return max(self.held_out)

    def at(self, i: int) -> str:
        return f"{self.grid[i]:g} had {100 * self.a[i]:.1f} on A and {100 * self.c[i]:.1f} on C"


class Part(NamedTuple):
    """A difference of accuracies, or an accuracy, in points with its 95% interval over seeds. It holds if the whole interval lies above the
    margin; of one seed there is no interval, and nothing holds."""

    measured: str
    estimate: float
    low: float
    high: float
    margin: float

    @property
    def holds(self) -> bool:
        return bool(self.low > self.margin)

    @property
    def text(self) -> str:
        if self.low != self.low:
            return f"{self.measured} is {self.estimate:+.1f} points (one seed has no interval; margin {self.margin:+g})"
        return (
            f"{self.measured} is {self.estimate:+.1f} points (95% interval {self.low:+.1f} to {self.high:+.1f}, margin {self.margin:+g}"
            f"{'' if self.holds else ', not shown'})"
        )


@final
@dataclass(frozen=True)
class Claim:
    """What is claimed. It holds if each of its parts does; the first part gives its estimate.

    Args:
        says: what is claimed, as a title.
        otherwise: a title that claims nothing.
    """

    id: str
    says: str
    otherwise: str
    parts: tuple[Part, ...]

    @property
    def holds(self) -> bool:
        return all(part.holds for part in self.parts)

    @property
    def title(self) -> str:
        return self.says if self.holds else self.otherwise

    @property
    def text(self) -> str:
        found = "; ".join(part.text for part in self.parts)
        return f"{self.says}: {found}." if self.holds else f'These seeds do not show that "{self.says}": {found}.'

    def as_json(self) -> dict[str, Any]:
        parts = [{"measured": part.measured, "holds": part.holds, **_numbers(part)} for part in self.parts]
        return {"id": self.id, "text": self.text, "holds": self.holds, **_numbers(self.parts[0]), "parts": parts}


def _numbers(part: Part) -> dict[str, float | None]:
    found = {name: getattr(part, name) for name in ("estimate", "low", "high", "margin")}
    return {name: round(v, 2) if v == v else None for name, v in found.items()}


@final
@dataclass(frozen=True)
class Paragraph:
    """A part of the story: its text, the sentences that follow it, and the picture beside it by name (none: empty)."""

    id: str
    title: str
    text: str
    points: Sequence[str] = ()
    figure: str = ""


def claims(corpora: Stacks, permuted: Stacks) -> dict[str, Claim]:
    """The demo's claims by their ids.

    Args:
        corpora: R of finetune and joint_once on two corpora.
        permuted: R of finetune, l2, ewc and replay on three permuted tasks.
    """
    return {claim.id: claim for claim in (*_of_corpora(corpora), *_of_permuted(permuted))}


def _part(measured: str, values: NDArray[np.float64], margin: float) -> Part:
    """Of values ``[seeds]`` between 0 and 1."""
    found = interval(100 * values)
    return Part(measured, found.mean, found.mean - found.half, found.mean + found.half, margin)


def _of_corpora(corpora: Stacks) -> list[Claim]:
    turn, both = corpora["finetune"], corpora["joint_once"]
    just = np.stack([turn[:, 1, 0], turn[:, 2, 1]], axis=1)  # each corpus when it was the last to be learnt
    return [
        Claim(
            "forgets",
            "Learning corpus 2 makes the network forget corpus 1",
            "Both corpora while they are learnt",
            (_part("accuracy on corpus 1 before corpus 2, less that after it,", turn[:, 1, 0] - turn[:, 2, 0], 2.0),),
        ),
        Claim(
            "capacity",
            "Trained on both corpora at once, the same network learns both",
            "Both corpora at once",
            (
                _part(
                    "on the corpus where it is worse, accuracy after training on both, less that just after learning the corpus,",
                    (both[:, 2] - just).min(axis=1),
                    -3.0,
                ),
                _part("on the corpus where it is worse, accuracy after training on both", both[:, 2].min(axis=1), 50.0),
            ),
        ),
    ]


def _of_permuted(permuted: Stacks) -> list[Claim]:
    sgd, l2, ewc, replay = (permuted[name] for name in ("finetune", "l2", "ewc", "replay"))

    def since(R: NDArray[np.float64]) -> NDArray[np.float64]:
        """A at the end, less A when it had just been learnt."""
        return R[:, 3, A] - R[:, 1, A]

    return [
        Claim(
            "ewc_keeps",
            "EWC keeps task A, which plain SGD forgets",
            "Task A with EWC and with plain SGD",
            (
                _part("EWC's accuracy on A after C, less plain SGD's,", ewc[:, 3, A] - sgd[:, 3, A], 5.0),
                _part("what plain SGD loses of A", -since(sgd), 5.0),
                _part("EWC's accuracy on A after C, less that just after A,", since(ewc), -5.0),
            ),
        ),
        Claim(
            "l2_stubborn",
            "L2, strong enough to keep A as EWC does, learns C less well",
            "Task C with L2 and with EWC",
            (
                _part("EWC's accuracy on C, less L2's,", ewc[:, 3, C] - l2[:, 3, C], 5.0),
                _part("L2's accuracy on A after C, less EWC's,", l2[:, 3, A] - ewc[:, 3, A], -5.0),
            ),
        ),
        Claim(
            "replay_keeps",
            "A small replay buffer keeps most of task A",
            "Task A with a small replay buffer",
            (
                _part("the accuracy of replay on A after C, less plain SGD's,", replay[:, 3, A] - sgd[:, 3, A], 5.0),
                _part("the accuracy of replay on A after C, less that just after A,", since(replay), -10.0),
            ),
        ),
    ]


def three_numbers(stack: NDArray[np.float64]) -> dict[str, Interval]:
    """ACC, BWT and FWT of R ``[seeds, T+1, T]``."""
    each = [RMatrix(R) for R in stack]
    return {name.upper(): interval([getattr(R, name) for R in each]) for name in ("acc", "bwt", "fwt")}


def percent(values: NDArray[np.float64]) -> str:
    """The mean of accuracies ``[seeds]``: ``87.1%``."""
    return f"{100 * float(np.mean(values)):.1f}%"


def story(
    corpora: Stacks,
    permuted: Stacks,
    *,
    chosen: Mapping[str, Chosen],
    slots: int,
    mixed: tuple[int, int],
    script: str,
    commands: Sequence[tuple[str, str]],
) -> list[Paragraph]:
    """The story that the matrices tell, paragraph by paragraph.

    Args:
        corpora, permuted: as `claims` takes them.
        chosen: the strengths of l2 and ewc.
        slots: examples that replay keeps.
        mixed: how many of them stand in a batch, and beside how many new ones.
        script: where the strengths come from.
        commands: what to run next, each with what it is for.
    """
    found = claims(corpora, permuted)
    after_c = {name: _after_c(R[:, 3]) for name, R in permuted.items()}
    return [
        _two_corpora(corpora["finetune"], found),
        _capacity(corpora["joint_once"], found),
        Paragraph(
            "permuted",
            "3. Three tasks: plain SGD, L2 and EWC",
            "As in figure 2A of the EWC paper (Kirkpatrick et al. 2017), each task shuffles the pixels of the digits in its own way, and tasks "
            "A, B and C are learnt in turn. Plain SGD (with momentum; the method finetune) does nothing against forgetting. L2 holds every weight alike where it was after the last task. EWC holds a weight by its Fisher "
            f"information: by how much the answers on earlier tasks depend on it. After C, accuracy is: plain SGD {after_c['finetune']}; L2 "
            f"{after_c['l2']}; EWC {after_c['ewc']}.",
            [found["ewc_keeps"].text, found["l2_stubborn"].text, _strengths(chosen, script)],
            "permuted",
        ),
        _matrix(permuted),
        Paragraph(
            "replay",
            "5. A small replay buffer",
            f"Another remedy keeps examples. Replay holds {slots} examples of the tasks so far, and each step learns from {mixed[0]} of them beside "
            f"{mixed[1]} new ones. After C its accuracy is {after_c['replay']}. EWC keeps two numbers a weight, and no example.",
            [found["replay_keeps"].text],
            "replay",
        ),
        Paragraph(
            "next",
            "6. What to run next",
            "Each part above is a run directory of its own, with a report, results and checkpoints.",
            [f"{what}: {command}" for command, what in commands],
        ),
    ]


def _at(stack: NDArray[np.float64], after: int, on: int) -> str:
    return percent(stack[:, after, on - 1])


def _after_c(end: NDArray[np.float64]) -> str:
    """Of accuracies ``[seeds, 3]``."""
    return ", ".join(f"{percent(end[:, task])} on {letter}" for letter, task in zip("ABC", (A, B, C)))


def _two_corpora(turn: NDArray[np.float64], found: Mapping[str, Claim]) -> Paragraph:
    return Paragraph(
        "corpora",
        "1. Two corpora, one after the other",
        f"One network, with two hidden layers of 200 units, learns corpus 1, noisy digits, and then corpus 2, the same digits clean. Untrained, its "
        f"accuracy on corpus 1 is {_at(turn, 0, 1)}. After corpus 1 it is {_at(turn, 1, 1)} on corpus 1, and {_at(turn, 1, 2)} on corpus 2, which "
        f"the network has never seen. Then it learns corpus 2, and nothing is done against forgetting: accuracy on corpus 2 goes to "
        f"{_at(turn, 2, 2)}, on corpus 1 from {_at(turn, 1, 1)} to {_at(turn, 2, 1)}.",
        [found["forgets"].text],
        "corpora",
    )


def _capacity(both: NDArray[np.float64], found: Mapping[str, Claim]) -> Paragraph:
    return Paragraph(
        "capacity",
        "2. Is the network too small?",
        f"Trained on both corpora at once (joint training), the same network has {_at(both, 2, 1)} on corpus 1 and {_at(both, 2, 2)} on "
        "corpus 2. "
        + (
            "So capacity is not the cause of the forgetting: the network can hold both corpora, and trained on one after the other it does not "
            "keep the first."
            if found["capacity"].holds and found["forgets"].holds
            else "By these numbers capacity may be part of the cause."
            if found["forgets"].holds
            else "These numbers show no forgetting whose cause could be asked for."
        ),
        [found["capacity"].text],
    )


def _strengths(chosen: Mapping[str, Chosen], script: str) -> str:
    """How the strengths of l2 and ewc were chosen."""
    l2, ewc = chosen["l2"], chosen["ewc"]
    best, place = ewc.grid.index(ewc.value), l2.grid.index(l2.value)
    beside = l2.grid[max(0, place - 1) : place + 2]  # the strength that was chosen, and its neighbours
    return (
        f"The strengths were chosen beforehand by {script}, on held-out training images, with other seeds and other permutations. EWC's "
        f"is {ewc.value:g}, of {_grid(ewc)} the one with the best mean accuracy over the three tasks ({100 * ewc.best:.1f}); it had "
        f"{100 * ewc.a[best]:.1f} on A and {100 * ewc.c[best]:.1f} on C. L2's is {l2.value:g}, of {_grid(l2)} the smallest that kept A at least "
        f"as well as EWC did on those images: {'; '.join(l2.at(i) for i in range(len(l2.grid)) if l2.grid[i] in beside)}. Chosen by mean "
        f"accuracy, L2 would be {l2.grid[l2.held_out.index(l2.best)]:g} and reach {100 * l2.best:.1f}."
    )


def _grid(chosen: Chosen) -> str:
    return ", ".join(f"{value:g}" for value in sorted(chosen.grid))


def _matrix(permuted: Stacks) -> Paragraph:
    def sums(name: str) -> str:
        numbers = three_numbers(permuted[name])
        return ", ".join(f"{k} {100 * v.mean:.1f} ± {100 * v.half:.1f}" for k, v in numbers.items())

    return Paragraph(
        "matrix",
        "4. The matrix R and three numbers",
        "All of it stands in the matrix R: its first row is the untrained network, row i the accuracy on each task after i tasks. Three "
        "numbers sum R up: average accuracy at the end (ACC), backward transfer (BWT: what later tasks did to earlier ones; below 0 is "
        "forgetting), and forward transfer (FWT: what earlier tasks do for a later one before it is learnt).",
        [
            f"Plain SGD: {sums('finetune')}.",
            f"EWC: {sums('ewc')}.",
            "In points, mean ± 95% interval over the seeds.",
        ],
        "matrix",
    )
