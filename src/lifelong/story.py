"""What the numbers of the demo say: claims, each decided by an interval against a stated margin, and the text that is made of them.

Accuracies come in as 0..1; claims are in points of accuracy, 0..100.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from .matrix import Interval, RMatrix, interval

__all__ = ["Chosen", "Claim", "Paragraph", "Stacks", "claims", "percent", "story", "three_numbers"]

Stacks = Mapping[str, NDArray[np.float64]]  # R of each method, [seeds, T+1, T]
A, B, C = range(3)


class Chosen(NamedTuple):
    """A strength and the grid that it was chosen from, with the mean accuracy over all tasks that each value of it had on held-out data."""

    value: float
    grid: tuple[float, ...]
    held_out: tuple[float, ...]

    @property
    def best(self) -> float:
        """The largest held-out accuracy."""
        return max(self.held_out)


@final
@dataclass(frozen=True)
class Claim:
    """A difference of accuracies in points, with its 95% interval over seeds. It holds if the whole interval lies above the margin.

    Args:
        says: what is claimed, as a title.
        otherwise: a title that claims nothing.
        measured: what the difference is.
    """

    id: str
    says: str
    otherwise: str
    measured: str
    estimate: float
    low: float
    high: float
    margin: float

    @property
    def holds(self) -> bool:
        return bool(self.low > self.margin)  # of one seed there is no interval, and nothing holds

    @property
    def title(self) -> str:
        return self.says if self.holds else self.otherwise

    @property
    def text(self) -> str:
        found = (
            f"{self.measured} is {self.estimate:+.1f} points, 95% interval {self.low:+.1f} to {self.high:+.1f}, which "
            f"{'lies' if self.holds else 'does not lie'} above the margin of {self.margin:+g}"
        )
        return f"{self.says}: {found}." if self.holds else f'These seeds do not show that "{self.says}": {found}.'

    def as_json(self) -> dict[str, Any]:
        numbers = {k: round(v, 2) if v == v else None for k, v in asdict(self).items() if isinstance(v, float)}
        return {"id": self.id, "text": self.text, "holds": self.holds, **numbers}


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
    turn, both = corpora["finetune"], corpora["joint_once"]
    just = np.stack([turn[:, 1, 0], turn[:, 2, 1]], axis=1)  # each corpus when it was the last to be learnt
    free, l2, ewc, replay = (permuted[name][:, 3] for name in ("finetune", "l2", "ewc", "replay"))

    def claim(id: str, says: str, otherwise: str, measured: str, found: Interval, margin: float) -> Claim:
        mean, half = 100 * found.mean, 100 * found.half
        return Claim(id, says, otherwise, measured, mean, mean - half, mean + half, margin)

    made = [
        claim(
            "forgets",
            "Learning corpus 2 makes the network forget corpus 1",
            "Both corpora while they are learnt",
            "accuracy on corpus 1 before corpus 2, less that after it,",
            interval(turn[:, 1, 0] - turn[:, 2, 0]),
            2.0,
        ),
        claim(
            "capacity",
            "Trained on both corpora at once, the same network has both",
            "Both corpora at once",
            "accuracy when trained on both, less that on a corpus just learnt, on the corpus where this is less,",
            interval((both[:, 2] - just).min(axis=1)),
            -3.0,
        ),
        claim(
            "ewc_keeps",
            "EWC keeps task A, which plain SGD forgets",
            "Task A with EWC and with plain SGD",
            "EWC's accuracy on A after C, less plain SGD's,",
            interval(ewc[:, A] - free[:, A]),
            5.0,
        ),
        claim(
            "l2_stubborn",
            "L2, strong enough to keep A as EWC does, stops learning C",
            "Task C with L2 and with EWC",
            "EWC's accuracy on C, less L2's,",
            interval(ewc[:, C] - l2[:, C]),
            5.0,
        ),
        claim(
            "replay_keeps",
            "A small replay buffer keeps task A as well",
            "Task A with a small replay buffer",
            "the accuracy of replay on A after C, less plain SGD's,",
            interval(replay[:, A] - free[:, A]),
            5.0,
        ),
    ]
    return {c.id: c for c in made}


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
    turn, both = corpora["finetune"], corpora["joint_once"]
    end = {name: R[:, 3] for name, R in permuted.items()}

    def at(stack: NDArray[np.float64], after: int, on: int) -> str:
        return percent(stack[:, after, on - 1])

    def grid(name: str) -> str:
        return ", ".join(f"{value:g}" for value in sorted(chosen[name].grid))

    def after_c(name: str) -> str:
        return ", ".join(f"{percent(end[name][:, task])} of {letter}" for letter, task in zip("ABC", (A, B, C)))

    numbers = {name: three_numbers(permuted[name]) for name in ("finetune", "ewc")}

    def sums(name: str) -> str:
        return ", ".join(f"{k} {100 * v.mean:.1f} ± {100 * v.half:.1f}" for k, v in numbers[name].items())

    l2, ewc = chosen["l2"], chosen["ewc"]
    return [
        Paragraph(
            "corpora",
            "1. Two corpora, one after the other",
            f"One network, with two hidden layers of 200 units, learns corpus 1, noisy digits, and then corpus 2, the same digits clean. Untrained it reads "
            f"{at(turn, 0, 1)} of corpus 1. After corpus 1 it reads {at(turn, 1, 1)} of corpus 1, and {at(turn, 1, 2)} of corpus 2, which "
            f"it has never seen. Then it learns corpus 2, and nothing is done against forgetting: corpus 2 goes to {at(turn, 2, 2)}, "
            f"corpus 1 from {at(turn, 1, 1)} to {at(turn, 2, 1)}.",
            [found["forgets"].text],
            "corpora",
        ),
        Paragraph(
            "capacity",
            "2. Is the network too small?",
            f"Trained on both corpora at once (joint training), the same network reads {at(both, 2, 1)} of corpus 1 and {at(both, 2, 2)} of "
            "corpus 2. "
            + (
                "So capacity is not the cause. The network can hold both corpora; trained on one after the other, it does not keep the first."
                if found["capacity"].holds
                else "By these numbers capacity may be part of the cause."
            ),
            [found["capacity"].text],
        ),
        Paragraph(
            "permuted",
            "3. Three tasks: plain SGD, L2 and EWC",
            "As in figure 2A of the EWC paper (Kirkpatrick et al. 2017), each task shuffles the pixels of the digits in its own way, and tasks "
            "A, B and C are learnt in turn. L2 holds every weight alike where it was after the last task. EWC holds a weight by its Fisher "
            f"information: by how much the answers on earlier tasks depend on it. After C, plain SGD reads {after_c('finetune')}; L2 "
            f"{after_c('l2')}; EWC {after_c('ewc')}.",
            [
                found["ewc_keeps"].text,
                found["l2_stubborn"].text,
                f"The strengths were chosen beforehand by {script}, on held-out training images, with other seeds and other permutations. EWC's "
                f"is {ewc.value:g}, of {grid('ewc')} the one with the best mean accuracy over the three tasks ({100 * ewc.best:.1f} held out). "
                f"L2's is {l2.value:g}, of {grid('l2')} the smallest with which it keeps A at least as well as EWC does. Chosen by mean accuracy, "
                f"L2 would be {l2.grid[l2.held_out.index(l2.best)]:g} and reach {100 * l2.best:.1f} held out.",
            ],
            "permuted",
        ),
        Paragraph(
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
        ),
        Paragraph(
            "replay",
            "5. A small replay buffer",
            f"Another remedy keeps examples. Replay holds {slots} examples of the tasks so far, and each step learns from {mixed[0]} of them beside "
            f"{mixed[1]} new ones. After C it reads {after_c('replay')}. EWC keeps two numbers a weight, and no example.",
            [found["replay_keeps"].text],
            "replay",
        ),
        Paragraph(
            "next",
            "6. What to run next",
            "Each part above is a directory of its own, with a report, results and checkpoints.",
            [f"{command}: {what}" for command, what in commands],
        ),
    ]
