"""The pictures and the page of the demo. A title claims what the claim behind it holds, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase, SubFigure
from numpy.typing import NDArray

from ..measures.matrix import interval
from ..report.look import (
    INK,
    SOFT,
    colours,
    drawing,
    from_where,
    luminance,
    name_ends,
    name_points,
    new,
    png,
    spread,
    svg,
    value_axis,
)
from ..report.page import Section
from ..report.page import page as render
from ..report.pictures import Picture, data_of
from ..runs.run import Run
from .claims import Claim, Paragraph, three_numbers

__all__ = ["matrices", "moments", "old_and_new", "page", "poster", "three_tasks", "two_corpora"]

NAMES = {"finetune": "plain SGD", "l2": "L2", "ewc": "EWC", "replay": "replay"}
CORPORA = ("#A0522D", "#8F6BC2")  # none of the methods' colours
ORDER = ("finetune", "l2", "ewc", "replay")  # of the colours
TASKS = "ABC"
TYPE = 13.0  # points


def moments(run: Run, method: str, epochs: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accuracy while the tasks are learnt: epochs since the beginning ``[n]``, and of each seed the accuracy on each task ``[seeds, n, T]``,
    NaN before its training begins."""
    x: list[float] = []
    every = []
    for seed in run.seeds(method):
        record = run.records[next(job for job in run.records if job == (method, seed))]
        trace, R = record.trace, record.accuracy
        assert trace is not None, "the run was measured within its tasks"
        x, rows = [], []
        for k in range(record.T):
            x.append(float(epochs * k))
            rows.append(R[k][: k + 1])
            here = [i for i, task in enumerate(trace.task) if task == k]
            last = trace.step[here[-1]]
            x += [epochs * (k + trace.step[i] / last) for i in here]
            rows += [trace.accuracy[i] for i in here]
        every.append([[*row, *[np.nan] * (record.T - len(row))] for row in rows])
    return np.array(x), np.array(every)


@contextmanager
def _large() -> Iterator[None]:
    with drawing(), matplotlib.rc_context({
        "font.size": TYPE,
        "axes.titlesize": TYPE + 1.5,
        "axes.titleweight": "bold",
        "axes.labelsize": TYPE,
        "xtick.labelsize": TYPE - 1,
        "ytick.labelsize": TYPE - 1,
        "axes.titlelocation": "left",
        "axes.titlepad": 9.0,
    }):  # fmt: skip
        yield


# --- panels ---------------------------------------------------------------------------------------------------------------
def _corpora(figure: Figure, ax: Axes, run: Run, epochs: int, title: str) -> None:
    """Both corpora while they are learnt in turn; at the right what training on both at once reaches."""
    x, values = moments(run, "finetune", epochs)
    both = np.stack([run.matrix("joint_once", seed).R[2] for seed in run.seeds("joint_once")])
    ax.axvline(epochs, color=SOFT, lw=1, ls=":")
    ends = []
    for j, colour in enumerate(CORPORA):
        shown = x >= epochs * j
        spread(ax, x[shown], values[:, shown, j], (colour, "-"), lw=2.6, clip_on=True)
        end, together = float(values[:, -1, j].mean()), float(both[:, j].mean())
        ax.plot([2 * epochs], [together], marker="D", color=colour, ms=8, mec="white", clip_on=False, zorder=5)
        ends += [(2.0 * epochs, end, f"corpus {j + 1}: {100 * end:.0f}%", colour)]
        ends += [(2.0 * epochs, together, f"both at once: {100 * together:.0f}%", colour)]
    least = float(np.nanmin(values[:, 1:].mean(0)))
    _axis(ax, 2 * epochs, min(0.5, math.floor(10 * least - 1) / 10), "accuracy")
    ax.set_xlabel("epochs")
    _phases(ax, ["learns corpus 1 (noisy)", "then corpus 2 (clean)"], epochs)
    ax.set_title(title)
    name_ends(figure, ax, ends, TYPE)


def _axis(ax: Axes, epochs: int, low: float, what: str) -> None:
    """Both axes of accuracies over epochs. What is below `low`, an untrained network and its first steps, is cut off."""
    ax.set_xlim(0, epochs)
    value_axis(ax, max(0.0, low), 1.0, 4)
    ax.set_ylabel(from_where(what, low, 72 * 2.6))
    ax.grid(axis="y")


def _phases(ax: Axes, said: Sequence[str], epochs: int) -> None:
    """Names what is learnt when, within the axes at their foot."""
    for k, text in enumerate(said):
        ax.annotate(
            text,
            (epochs * (k + 0.5), 0.03),
            xycoords=("data", "axes fraction"),
            ha="center",
            color=SOFT,
            fontsize=TYPE - 1,
        )


def _three(figure: Figure, axes: Sequence[Axes], run: Run, epochs: int, title: str) -> None:
    """A row a task, while A, B and C are learnt in turn: figure 2A of the EWC paper."""
    style = colours(ORDER)
    found = {m: moments(run, m, epochs) for m in ("finetune", "l2", "ewc")}
    end = {m: values[:, -1] for m, (_, values) in found.items()}
    low = max(0.0, math.floor(10 * min(float(v.mean(0).min()) for v in end.values()) - 1) / 10)
    for j, ax in enumerate(axes):
        for k in range(1, len(axes)):
            ax.axvline(epochs * k, color=SOFT, lw=1, ls=":")
        ends = []
        for method, (x, values) in found.items():
            shown = x >= epochs * j
            spread(ax, x[shown], values[:, shown, j], style[method], lw=2.4, clip_on=True)
            y = float(end[method][:, j].mean())
            ends.append((float(x[-1]), y, f"{NAMES[method]} {100 * y:.0f}%", style[method][0]))
        _axis(ax, epochs * len(axes), low, "")
        ax.set_ylabel(f"accuracy on {TASKS[j]}")
        ax.tick_params(labelbottom=j == len(axes) - 1)
        name_ends(figure, ax, ends, TYPE)
    for k in range(len(axes)):
        axes[0].annotate(
            f"{'learns' if not k else 'then'} {TASKS[k]}",
            (epochs * (k + 0.5), 0.06),
            xycoords=("data", "axes fraction"),
            ha="center",
            color=SOFT,
            fontsize=TYPE - 1,
        )
    axes[-1].set_xlabel("epochs")
    axes[0].set_title(title)


def _old_new(figure: Figure, ax: Axes, run: Run, title: str) -> None:
    """What is left of A against what is learnt of C, a point a method."""
    style = colours(ORDER)
    points, bars, all_x, all_y = [], [], [], []
    for method in ORDER:
        R = np.stack([run.matrix(method, seed).R[3] for seed in run.seeds(method)])
        a, c = interval(R[:, 0]), interval(R[:, 2])
        colour = style[method][0]
        ax.errorbar(
            a.mean, c.mean, np.nan_to_num(c.half), np.nan_to_num(a.half), fmt="o", color=colour, ms=10, elinewidth=2
        )
        points.append((a.mean, c.mean, NAMES[method], colour))
        bars += [((a.mean - a.half, a.mean + a.half), (c.mean, c.mean))] if a.half == a.half else []
        bars += [((a.mean, a.mean), (c.mean - c.half, c.mean + c.half))] if c.half == c.half else []
        all_x += [a.mean - np.nan_to_num(a.half), a.mean + np.nan_to_num(a.half)]
        all_y += [c.mean - np.nan_to_num(c.half), c.mean + np.nan_to_num(c.half)]
    for put, values in ((ax.set_xlim, all_x), (ax.set_ylim, all_y)):
        room = 0.2 * max(max(values) - min(values), 0.1)
        put(min(values) - room, max(values) + room)
    ax.set(xlabel="accuracy on A, the first task, at the end", ylabel="accuracy on C, the last")
    ax.locator_params(nbins=5)
    ax.grid()
    ax.set_title(title)
    name_points(figure, ax, points, TYPE, bars)


def _matrix(ax: Axes, run: Run, method: str) -> None:
    """R with its untrained row, and the three numbers below its name."""
    stack = np.stack([run.matrix(method, seed).R for seed in run.seeds(method)])
    R = stack.mean(0)
    image = ax.imshow(R, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(R):
        dark = luminance(image.to_rgba(np.array(value))) < 0.18
        weight = "bold" if i == j + 1 else "normal"
        ax.text(j, i, f"{100 * value:.0f}", ha="center", va="center", color="white" if dark else "black", weight=weight)
    ax.set_xticks(range(3), TASKS)
    ax.set_yticks(range(4), ["untrained", *(f"after {t}" for t in TASKS)])
    ax.set_xlabel("accuracy on task, percent")
    numbers = {k: round(100 * v.mean) for k, v in three_numbers(stack).items()}
    sums = "  ".join(f"{k} {v}" for k, v in numbers.items()).replace("-", "−")
    ax.set_title(NAMES[method], pad=2.2 * TYPE)
    ax.annotate(sums, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points", color=INK)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


# --- pictures -------------------------------------------------------------------------------------------------------------
def two_corpora(run: Run, epochs: int, title: str) -> Figure:
    with _large():
        figure = new(9.2, 4.4)
        _corpora(figure, figure.subplots(), run, epochs, title)
    return figure


def three_tasks(run: Run, epochs: int, title: str) -> Figure:
    with _large():
        figure = new(9.2, 6.6)
        _three(figure, figure.subplots(3, 1, sharex=True), run, epochs, title)
    return figure


def old_and_new(run: Run, title: str) -> Figure:
    with _large():
        figure = new(7.2, 4.8)
        _old_new(figure, figure.subplots(), run, title)
    return figure


def matrices(run: Run) -> Figure:
    with _large():
        figure = new(9.2, 3.9)
        for ax, method in zip(figure.subplots(1, 2), ("finetune", "ewc")):
            _matrix(ax, run, method)
    return figure


def _split(figure: FigureBase, rows: int, columns: int, **spacing: Any) -> list[SubFigure]:
    grid = figure.add_gridspec(rows, columns, **spacing)
    return [figure.add_subfigure(grid[i]) for i in range(rows * columns)]


def poster(corpora: Run, permuted: Run, epochs: Mapping[str, int], claims: Mapping[str, Claim]) -> bytes:
    """All of it as one PNG."""
    a, b = epochs.values()
    with _large():
        figure = new(16.0, 10.4)
        left, right = _split(figure, 1, 2, wspace=0.04)
        first, third = _split(left, 2, 1, height_ratios=[1.2, 1], hspace=0.06)
        second, fourth = _split(right, 2, 1, height_ratios=[1.5, 1], hspace=0.06)
        _corpora(figure, first.subplots(), corpora, a, claims["forgets"].title)
        _three(figure, second.subplots(3, 1, sharex=True), permuted, b, claims["ewc_keeps"].title)
        for ax, method in zip(third.subplots(1, 2), ("finetune", "ewc")):
            _matrix(ax, permuted, method)
        _old_new(figure, fourth.subplots(), permuted, claims["replay_keeps"].title)
    return png(figure, dpi=110)


# --- the page -------------------------------------------------------------------------------------------------------------
def page(
    title: str,
    varies: str,
    paragraphs: Sequence[Paragraph],
    claims: Mapping[str, Claim],
    corpora: Run,
    permuted: Run,
    epochs: Mapping[str, int],
) -> str:
    """The story as a page, with links to the reports of its parts."""
    (first, a), (second, b) = epochs.items()
    held = [claim for claim in claims.values() if claim.holds]
    drawn = {
        "corpora": two_corpora(corpora, a, claims["forgets"].title),
        "permuted": three_tasks(permuted, b, claims["ewc_keeps"].title),
        "matrix": matrices(permuted),
        "replay": old_and_new(permuted, claims["replay_keeps"].title),
    }
    sections = []
    for p in paragraphs:
        pictures = [_picture(drawn[p.figure], p)] if p.figure else []
        sections.append(Section(p.id, p.title, p.text, pictures, kind="list", data=list(p.points)))
    links = [
        (f"{first}/report.html", "two corpora", "every method, measure and cost of sections 1 and 2"),
        (f"{second}/report.html", "permuted tasks", "every method, measure and cost of sections 3 to 5"),
        ("story.json", "story.json", "the claims with their intervals and margins"),
    ]
    sections.append(Section("reports", "The reports of the parts", kind="links", data=links))
    few = [f"{len(held)} of {len(claims)} claims hold on these seeds"] if len(held) < len(claims) else []
    answer = ". ".join([*few, *(claim.says for claim in held)])
    return render(title=title, answer=f"{answer}.", subtitle=varies, story=[], sections=sections)


def _picture(figure: Figure, p: Paragraph) -> Picture:
    return Picture(
        data_of(svg(figure).encode(), "image/svg+xml"),
        f"{p.title}. {p.text}",
        "Means over the seeds; in bold, the task that was just learnt."
        if p.figure == "matrix"
        else "Lines and points are means over the seeds, bands and bars 95% intervals.",
    )
