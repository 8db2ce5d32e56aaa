"""Why a guard for each weight: two tasks, two weights, and everything that happens to them drawn.

The model has two weights and nothing else, p(y=1 | x) = σ(w₁x₁ + w₂x₂), so its error surfaces are
no sketches. Task 1's inputs vary along x₁: it fixes w₁ and hardly cares about w₂. Task 2's lie
along x₁ = x₂: it asks w₁ + w₂ to be small, whichever of the two gives way. From task 1's optimum θ*
full-batch gradient descent goes down

    L₂(θ) + Σ_i b_i (θ_i − θ*_i)²

with guards b = 0, b = λ (L2), or b_i = λ/2 F_i (EWC, Kirkpatrick et al. 2017, arXiv 1612.00796,
equation 3), F being the diagonal Fisher information of task 1 at θ*, exact: mean of p(1 − p)x².
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["EWC", "L2", "RATE", "STEPS", "Path", "Task", "caption", "paths", "surfaces", "tasks"]

L2 = 1.0  # λ at which L2 keeps task 1 as well as EWC does
EWC = 5.0  # λ
RATE, STEPS = 0.25, 400  # of gradient descent on task 2
_NEAR = 0.1  # a loss this little above the best counts as kept, or learnt


class Task(NamedTuple):
    """A data set of the two-weight model."""

    x: Tensor  # [N, 2]
    y: Tensor  # [N] 0. or 1.

    def loss(self, w: Tensor) -> Tensor:
        """Mean negative log-likelihood at the weights `w` ``[..., 2]``, ``[...]``."""
        logits = w @ self.x.T
        return F.binary_cross_entropy_with_logits(logits, self.y.expand_as(logits), reduction="none").mean(-1)

    def gradient(self, w: Tensor) -> Tensor:
        """Of the loss at `w` ``[2]``."""
        return ((self.x @ w).sigmoid() - self.y) @ self.x / len(self.x)

    def fisher(self, w: Tensor) -> Tensor:
        """The diagonal of the Fisher information at `w`, ``[2]``."""
        p = (self.x @ w).sigmoid()
        return (p * (1 - p)) @ self.x.square() / len(self.x)


class Path(NamedTuple):
    """The weights on their way through task 2 under the guard `b`."""

    name: str
    b: Tensor  # [2]
    w: Tensor  # [STEPS + 1, 2]
    losses: tuple[float, float]  # of tasks 1 and 2 where it ends


def tasks(n: int = 1000, seed: int = 3) -> tuple[Task, Task]:
    """The two tasks, `n` examples each, labels drawn from the model itself."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    def labels(logits: Tensor) -> Tensor:
        return torch.bernoulli(logits.sigmoid(), generator=g)

    x1 = normal(n, 2) * torch.tensor([2.0, 0.2], dtype=torch.float64)
    y1 = labels(1.5 * x1[:, 0])
    along = 2 * normal(n)
    x2 = along[:, None] + 0.15 * normal(n, 2)
    return Task(x1, y1), Task(x2, labels(-2 * along))


def paths(first: Task, second: Task) -> tuple[Tensor, list[Path]]:
    """Task 1's optimum θ* ``[2]``, and the ways from there: unconstrained, L2, EWC."""
    start = torch.zeros(2, dtype=torch.float64)
    for _ in range(2000):
        start = start - 0.5 * first.gradient(start)
    guards = {
        "no constraint": torch.zeros_like(start),
        "L2": torch.full_like(start, L2),
        "EWC": EWC / 2 * first.fisher(start),
    }
    ways = []
    for name, b in guards.items():
        w, trail = start, [start]
        for _ in range(STEPS):
            w = w - RATE * (second.gradient(w) + 2 * b * (w - start))
            trail.append(w)
        losses = float(first.loss(w)), float(second.loss(w))
        ways.append(Path(name, b, torch.stack(trail), losses))
    return start, ways


def _say(ax: Axes, text: str, at: Tensor, offset: tuple[float, float], colour: str) -> None:
    ax.annotate(
        text,
        (float(at[0]), float(at[1])),
        offset,
        textcoords="offset points",
        ha="left" if offset[0] >= 0 else "right",
        color=colour,
        fontweight="bold",
    )


def surfaces() -> tuple[Figure, dict[str, float]]:
    """Both tasks' error surfaces over (w₁, w₂) with the three paths, and the numbers of `caption`:
    for each path ``NAME/loss_1``, ``NAME/loss_2``, ``NAME/b_1``, ``NAME/b_2``; ``start/...`` at θ*.
    """
    from .look import INK, PAPER, SMALL, SOFT, drawing, new

    first, second = tasks()
    start, ways = paths(first, second)
    numbers = {"start/loss_1": float(first.loss(start)), "start/loss_2": float(second.loss(start))}
    for way in ways:
        numbers |= {f"{way.name}/loss_{i + 1}": loss for i, loss in enumerate(way.losses)}
        numbers |= {f"{way.name}/b_{i + 1}": float(b) for i, b in enumerate(way.b)}

    low = torch.stack([way.w.min(0).values for way in ways]).min(0).values - 0.9
    high = torch.stack([way.w.max(0).values for way in ways]).max(0).values + 0.9
    w1, w2 = (torch.linspace(float(low[i]), float(high[i]), 81, dtype=torch.float64) for i in (0, 1))
    plane = torch.stack(torch.meshgrid(w1, w2, indexing="xy"), -1)
    areas = ((first, "#E69F00", "task 1"), (second, "#56B4E9", "task 2"))
    colours = {"no constraint": "#CC79A7", "L2": "#0072B2", "EWC": "#009E73"}
    with drawing():
        figure = new(8.0, 5.2, hspace=0.1, wspace=0.04)
        grid = figure.add_gridspec(3, 2, width_ratios=[2, 1])
        ax = figure.add_subplot(grid[:, 0])
        for task, colour, _ in areas:
            z = task.loss(plane).numpy()
            best = float(z.min())
            levels = [best + d for d in (0.03, 0.1, 0.25, 0.5, 1.0, 1.75)]
            ax.contourf(w1, w2, z, levels=[best - 1, *levels[:3]], colors=colour, alpha=0.22)
            ax.contour(w1, w2, z, levels=levels, colors=colour, linewidths=0.9)
        for way in ways:
            ax.plot(*way.w.T.numpy(), color=PAPER, lw=5, solid_capstyle="round")
            ax.plot(*way.w.T.numpy(), color=colours[way.name], lw=2.5, solid_capstyle="round")
        for way, offset in zip(ways, [(0, -22), (-10, -2), (10, -12)]):
            end = way.w[-1].tolist()
            ax.plot(*end, "o", color=colours[way.name], ms=9, mec=PAPER, mew=1.5, zorder=5)
            _say(ax, way.name, way.w[-1], offset, colours[way.name])
        ax.plot(*start.tolist(), "*", color=INK, ms=15, mec=PAPER, zorder=5)
        _say(ax, "θ*, task 1 learnt", start, (-8, 8), INK)
        for (_, colour, name), (x, y), ha in zip(areas, [(0.97, 0.96), (0.03, 0.04)], ["right", "left"]):
            box = {"boxstyle": "round", "fc": colour, "ec": "none", "alpha": 0.35}
            said = f"low error on {name}"
            ax.text(x, y, said, ha=ha, va="center", bbox=box, transform=ax.transAxes)
        ax.set(xlabel="weight w₁", ylabel="weight w₂", aspect="equal")
        for row, way in enumerate(ways):
            ax = figure.add_subplot(grid[row, 1])
            ax.barh([1, 0], way.b.numpy(), 0.55, color=colours[way.name])
            for y, b in zip([1, 0], way.b.tolist()):
                ax.annotate(f"{b:.2g}", (b, y), (4, 0), textcoords="offset points", va="center")
            ax.set_yticks([1, 0], ["b₁", "b₂"])
            title = f"guards, {way.name}"
            ax.set_title(title, color=colours[way.name], loc="left", fontweight="bold")
            ax.set(ylim=(-0.6, 1.6), xlim=(0, L2 * 1.25), xticks=[])
            ax.tick_params(length=0)
            ax.spines["bottom"].set_visible(False)
            ax.spines["left"].set_color(SOFT)
            said = f"loss: task 1 {way.losses[0]:.2f}, task 2 {way.losses[1]:.2f}"
            ax.set_xlabel(said, loc="left", color=SOFT, fontsize=SMALL)
    return figure, numbers


def caption(numbers: Mapping[str, float]) -> str:
    """What the picture shows, said from its numbers."""
    first, second = (numbers[f"start/loss_{i}"] for i in (1, 2))
    said = [
        f"Two tasks over the same two weights, mean loss as contours. At θ* task 1 is learnt (loss "
        f"{first:.2f}) and task 2 is not ({second:.2f})."
    ]
    for name in ("no constraint", "L2", "EWC"):
        one, two = (numbers[f"{name}/loss_{i}"] for i in (1, 2))
        keeps = "keeps" if one - first < _NEAR else "forgets"
        learns = "learns" if two - numbers["no constraint/loss_2"] < _NEAR else "does not learn"
        joined = "and" if (keeps == "keeps") == (learns == "learns") else "but"
        start = name[0].upper() + name[1:]
        said.append(f"{start} {keeps} task 1 ({one:.2f}) {joined} {learns} task 2 ({two:.2f}).")
    ratio = numbers["EWC/b_1"] / numbers["EWC/b_2"]
    said.append(
        f"EWC guards w₁ {ratio:.0f} times as strongly as w₂, because task 1 hardly depends on w₂; L2 guards both alike."
    )
    return " ".join(said)
