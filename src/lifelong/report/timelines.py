"""Pictures of accuracy over the stream: a panel a task, all panels with the same limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .look import (
    GRID,
    TEXT,
    chosen,
    colours,
    cut,
    drawing,
    footnote,
    from_where,
    labels,
    limits,
    name_ends,
    new,
    spread,
    task_title,
    ticks,
    value_axis,
)
from .results import Results
from .words import drawn

__all__ = ["curves", "within"]

WIDTH = 7.6  # inches
PANELS = 24  # tasks that get a panel of their own
NAME = 120.0  # points that a method's name may take beside its line


def _columns(count: int) -> int:
    return 1 if count <= 5 else 2 if count <= 12 else 3


def _so_far(stack: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the tasks seen, ``[seeds, T]``, of R ``[seeds, T+1, T]``."""
    return np.stack([stack[:, i, :i].mean(axis=1) for i in range(1, stack.shape[2] + 1)], axis=1)


def curves(results: Results, methods: Sequence[str] | None = None) -> Figure:
    """Accuracy on each task over the stream, a panel a task with its training shaded (as in EWC,
    arXiv 1612.00796, figure 2A), and below the mean over the tasks seen. Bands are 95% intervals over
    seeds; fewer than four seeds are drawn themselves.

    All panels of tasks have the same limits, which are those of the values since each task was learnt. What
    came before is drawn, dotted, where these limits hold it. With more than 24 tasks so many, evenly
    spaced, have a panel, and the picture says which.
    """
    methods = results.methods if methods is None else methods
    style, T = colours(results.methods), results.T
    shown, some = chosen(T, PANELS)
    columns = _columns(len(shown))
    rows = math.ceil(len(shown) / columns)
    stacks = {m: results.stack(m) for m in methods}
    since = [stack[:, j + 1 :, j] for stack in stacks.values() for j in shown]
    early = limits(*since)[0] <= 0  # the axis begins at 0, and so holds what came before
    below = max(2.2, 0.21 * len(methods) + 0.4)
    above = (1.15 if columns == 1 else 1.0) * rows + 0.1 if T > 1 else 0.0  # of one task the mean is all there is
    notes = [some, drawn([len(stack) for stack in stacks.values()], "Bands", "Thin lines")]
    with drawing():
        figure = new(WIDTH, above + below + 0.2)
        parts: Any = figure.subfigures(2, 1, height_ratios=[above, below]) if above else [figure]
        if above:
            low = _tasks(parts[0], results, shown, (rows, columns), stacks, style, early)
            parts[0].supylabel(from_where("accuracy on the task", low, 72 * above), fontsize=TEXT)
            if early:
                notes.append("Dotted: before the task was learnt.")
            else:
                notes.append("Accuracy on a task before it was learnt lies below the axis: the matrix R has it.")
        title = "mean over the tasks learnt so far" if T > 1 else task_title(0, results.tasks[0], 72 * WIDTH - 50)
        notes.append(_mean_so_far(figure, parts[-1].subplots(), title, stacks, style, 72 * below - 60))
        footnote(figure, *notes)
    return figure


def _tasks(
    place: Any,
    results: Results,
    shown: Sequence[int],
    shape: tuple[int, int],
    stacks: Mapping[str, NDArray[np.float64]],
    style: Mapping[str, tuple[str, Any]],
    early: bool,
) -> float:
    """A panel for each of the tasks `shown`; returns where their axis begins."""
    T, columns = results.T, shape[1]
    after = np.arange(T + 1)
    panels = _panels(place, *shape, len(shown))
    values: list[NDArray[np.float64]] = []
    for ax, j in zip(panels, shown):
        ax.axvspan(j, j + 1, color=GRID, alpha=0.7, lw=0)
        for method, stack in stacks.items():
            column = stack[:, :, j]
            if early:
                ax.plot(after[: j + 2], column[:, : j + 2].mean(0), color=style[method][0], lw=1, ls=":", alpha=0.7)
            marker = "o" if T <= 12 else None
            values.append(spread(ax, after[j + 1 :], column[:, j + 1 :], style[method], marker=marker))
        ax.set_title(task_title(j, results.tasks[j], 72 * WIDTH / columns - 50), loc="left")
    low, high = limits(*values)
    for ax in panels:
        _over_stream(ax, T, low, high, 3)
    for ax in panels[(shape[0] - 1) * columns :]:
        ax.set_xlabel("tasks learnt")
    return low


def _panels(place: Any, rows: int, columns: int, count: int) -> list[Axes]:
    grid = place.add_gridspec(rows, columns)
    first: Axes | None = None
    made = []
    for k in range(count):
        ax = place.add_subplot(grid[k // columns, k % columns], sharex=first, sharey=first)
        first = first or ax
        ax.tick_params(labelbottom=k + columns >= count, labelleft=k % columns == 0)
        made.append(ax)
    return made


def _mean_so_far(
    figure: Figure,
    ax: Axes,
    title: str,
    stacks: Mapping[str, NDArray[np.float64]],
    style: Mapping[str, tuple[str, Any]],
    points: float,
) -> str:
    """The mean over the tasks learnt, in an axis `points` tall; returns what is to be said of methods that it could not show."""
    T = next(iter(stacks.values())).shape[2]
    after, ends, missing = np.arange(1, T + 1), [], []
    values: list[NDArray[np.float64]] = []
    names = dict(zip(stacks, labels(list(stacks), NAME)))
    for method, stack in stacks.items():
        seen = _so_far(stack)
        known = np.flatnonzero(np.isfinite(seen.mean(0)))
        if not len(known):
            missing.append(method)
            continue
        values.append(spread(ax, after, seen, style[method], marker="o" if T <= 12 else None))
        last = int(known[-1])
        mean, sofar = float(seen[:, last].mean()), "" if last == T - 1 else f" after {last + 1}"
        ends.append((float(after[last]), mean, f"{names[method]} {mean:.2f}{sofar}", style[method][0]))
    low, high = limits(*values)
    ax.set_title(title, loc="left")
    _over_stream(ax, T, low, high, 5, first=1)
    ax.set(xlabel="tasks learnt", ylabel=from_where("accuracy", low, points))
    name_ends(figure, ax, ends)
    return f"Nothing is measured yet of {', '.join(missing)}." if missing else ""


def _over_stream(ax: Axes, T: int, low: float, high: float, most: int, first: int = 0) -> None:
    ax.set_xlim(first if T > 1 else 0, T)
    ax.set_xticks(sorted({first, *ticks(T)}))
    value_axis(ax, low, high, most)
    ax.grid(axis="y")
    ax.tick_params(length=0)
    ax.spines["left"].set_visible(False)


def within(
    results: Results, x: NDArray[np.int_], task: NDArray[np.int_], found: Mapping[str, NDArray[np.float64]]
) -> Figure:
    """Accuracy on each task at moments within the tasks: a panel a task, its own training shaded, all with the same limits.

    Args:
        x: steps of the whole stream at each moment, ``[n]``.
        task: which task was being learnt, from 0, ``[n]``.
        found: of each method ``[seeds, n, T]``, NaN for tasks to come.
    """
    style, T = colours(results.methods), results.T
    shown, some = chosen(T, PANELS)
    columns = 1 if len(shown) <= 8 else 2
    rows = math.ceil(len(shown) / columns)
    missing = [m for m in results.methods if m not in found]
    with drawing():
        figure = new(WIDTH, 1.35 * rows + 0.9 + 0.2 * math.ceil(len(found) / 4))
        panels = _panels(figure, rows, columns, len(shown))
        ends = [0, *(int(x[task == t].max()) for t in range(T))]
        values: list[NDArray[np.float64]] = []
        for ax, j in zip(panels, shown):
            ax.axvspan(ends[j], ends[j + 1], color=GRID, alpha=0.7, lw=0)
            own = task >= j
            for method, stack in found.items():
                values.append(spread(ax, x[own], stack[:, own, j], style[method], lw=1.3, label=method))
            ax.set_title(task_title(j, results.tasks[j], 72 * WIDTH / columns - 50), loc="left")
        low, high = limits(*values)
        for ax in panels:
            ax.set_xlim(0, ends[-1])
            value_axis(ax, low, high, 3)
            ax.set_xticks([ends[t] for t in (0, *ticks(T))])
            ax.grid(axis="both")
            ax.tick_params(length=0)
        figure.supylabel(from_where("accuracy on the task", low, 95 * rows), fontsize=TEXT)
        for ax in panels[-columns:]:
            ax.set_xlabel("steps; a line where a task ends")
        handles, names = panels[0].get_legend_handles_labels()
        names = [cut(n, NAME, middle=True) for n in names]
        figure.legend(handles, names, loc="outside upper right", ncols=min(4, len(names)), frameon=False)
        footnote(
            figure,
            some,
            drawn([len(stack) for stack in found.values()], "Bands", "Thin lines"),
            f"{', '.join(missing)}: measured at other moments, or not within tasks; not drawn." if missing else "",
        )
    return figure
