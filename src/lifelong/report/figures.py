"""Pictures of results, each a function of numbers that returns a matplotlib `Figure`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ..measures.matrix import Interval, RMatrix, interval
from .look import (
    GRID,
    INK,
    PAPER,
    SMALL,
    SOFT,
    TEXT,
    colours,
    cut,
    drawing,
    footnote,
    from_where,
    labels,
    limits,
    luminance,
    name_points,
    new,
    png,
    readable,
    svg,
    ticks,
    value_axis,
    width_of,
)
from .results import Results
from .table import amount
from .timelines import curves, within
from .words import CELLS, FEW, drawn

__all__ = [
    "GRID",
    "INK",
    "PAPER",
    "SOFT",
    "colours",
    "compare",
    "costs",
    "curves",
    "drawing",
    "efficiency",
    "heat",
    "images",
    "kept",
    "new",
    "png",
    "svg",
    "within",
]

_NAME = 150.0  # points that a method's name may take at the left of a picture


def images(rows: Mapping[str, NDArray[np.float32]]) -> Figure:
    """Rows of images ``[n, H, W]`` or ``[n, C, H, W]`` with values in 0..1, each with its label."""
    n = max(len(x) for x in rows.values())
    shown = labels(list(rows), _NAME)
    with drawing():
        figure = new(0.55 * n + 0.2 + max(map(width_of, shown)) / 72, 0.55 * len(rows) + 0.1)
        axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
        for ax, label, x in zip(axes, shown, rows.values()):
            x = x if x.ndim == 3 else x.transpose(0, 2, 3, 1)
            strip = np.concatenate(list(x), axis=1).clip(0, 1)
            ax.imshow(strip.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            ax.set_ylabel(label, rotation=0, ha="right", va="center")
            ax.set(xticks=[], yticks=[])
            for spine in ax.spines.values():
                spine.set_visible(False)
    return figure


def heat(R: RMatrix, names: Sequence[str], between: tuple[float, float] = (0.0, 1.0)) -> Figure:
    """R as a map, ``[T+1, T]``: a row for each moment, a column for each task; undefined cells are
    hatched, and what had just been learnt is framed. The colours go from one end of `between` to the other, so that maps of the
    same ends compare."""
    T, few = R.T, R.T <= CELLS
    low, high = between
    after = [f"{j + 1}" if name == f"task {j + 1}" else cut(f"{j + 1}  {name}", 125.0) for j, name in enumerate(names)]
    beside = max(width_of(text) for text in ["untrained", *(after if few else [])]) / 72
    with drawing():
        side = 0.57 if few else 3.4 / T
        figure = new(beside + max(side * T, 1.2) + 1.3, 0.9 + max(0.42 if few else side, 1.5 / (T + 1)) * (T + 1))
        ax = figure.subplots()
        ax.patch.set(facecolor=GRID, hatch="////", edgecolor=SOFT)
        image = ax.imshow(np.ma.masked_invalid(R.R), cmap="cividis", vmin=low, vmax=high, aspect="auto")
        if few:
            for (i, j), value in np.ndenumerate(R.R):
                if math.isnan(value):
                    continue
                dark = luminance(image.to_rgba(np.array(value))) < 0.18
                ink = "#ffffff" if dark else "#000000"
                ax.text(j, i, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=SMALL)
                if i == j + 1:
                    frame = Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, fill=False, ec=ink, lw=1.3)
                    ax.add_patch(frame)
            ax.set_xticks(range(T), [str(j + 1) for j in range(T)])
            ax.set_yticks(range(T + 1), ["untrained", *after])
        else:
            at = ticks(T)
            ax.set_xticks([t - 1 for t in at], [str(t) for t in at])
            ax.set_yticks([0, *at], ["untrained", *(str(t) for t in at)])
        ax.set(xlabel="accuracy on task", ylabel="after learning task")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=ax, shrink=0.9, aspect=25, pad=0.02, label="accuracy")
        bar.set_ticks([low, (low + high) / 2, high], labels=[f"{v:.2g}" for v in (low, (low + high) / 2, high)])
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0)
    return figure


def kept(results: Results) -> Figure:
    """Each task's accuracy when it had just been learnt (ring) and at the end of the stream (dot); a panel a method. The line between
    them is what was forgotten. All panels have the same limits."""
    T, style, methods = results.T, colours(results.methods), results.methods
    most = 3 if T <= 6 else 2 if T <= 15 else 1
    columns = min(len(methods), most)
    columns = next((c for c in (columns, columns - 1) if c > 1 and len(methods) % c == 0), columns)  # no empty panels
    rows = math.ceil(len(methods) / columns)
    wide = 7.6 if columns > 1 or T > 6 else 4.6
    at = np.arange(1, T + 1)
    values: list[NDArray[np.float64]] = []
    with drawing():
        figure = new(wide, 1.75 * rows + 0.7, wspace=0.06, hspace=0.06)
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for ax in panels.flat[len(methods) :]:
            ax.remove()
        for ax in panels.flat[max(0, len(methods) - columns) : len(methods)]:
            ax.tick_params(labelbottom=True)
            ax.set_xlabel("task")
        for ax, method in zip(panels.flat, methods):
            stack, colour = results.stack(method), style[method][0]
            learnt, end = np.diagonal(stack[:, 1:], axis1=1, axis2=2), stack[:, -1]
            before, now = learnt.mean(0), end.mean(0)
            size = 6.5 if T <= 15 else 4.0 if T <= 50 else 2.0
            ax.vlines(at, before, now, color=colour, lw=1.6, alpha=0.55)
            ax.plot(at, before, "o", ms=size, mfc=PAPER, mec=colour, mew=1.4, clip_on=False)
            ax.plot(at, now, "o", ms=size, color=colour, mew=0, clip_on=False)
            if len(stack) >= FEW:
                half = np.array([interval(column).half for column in end.T])
                ax.errorbar(at, now, np.nan_to_num(half), fmt="none", ecolor=INK, elinewidth=1)
                values += [now - half, now + half]
            elif len(stack) > 1:
                shift = np.linspace(0.16, 0.3, len(stack))
                for move, each in zip(shift, end):
                    ax.plot(at + move, each, "o", ms=0.5 * size, color=colour, alpha=0.6, mew=0, clip_on=False)
            values += [before, *end]
            said = f"{_plain(float(learnt.mean()))} → {_plain(float(end.mean()))}"
            room = 72 * (wide - 0.6) / columns - width_of(said, TEXT) - 24
            ax.set_title(cut(method, room, TEXT + 0.5, middle=True), loc="left", color=readable(colour))
            ax.set_title(said, loc="right", color=SOFT, fontsize=TEXT)
        low, high = limits(*values)
        for ax in panels.flat[: len(methods)]:
            value_axis(ax, low, high)
            ax.set_xlim(0.4, T + 0.6)
            ax.set_xticks(ticks(T) if T > 10 else at)
            ax.grid(axis="y")
            ax.tick_params(length=0)
            ax.spines["left"].set_visible(False)
        figure.supylabel(from_where("accuracy", low, 126 * rows - 30), fontsize=TEXT)
        footnote(
            figure,
            "Ring: when just learnt. Dot: at the end of the stream. Above: their means over the tasks. "
            + drawn(results.counts, "Dark lines", "Small dots"),
        )
    return figure


def costs(results: Results) -> Figure:
    """Training time, bytes kept because of past tasks, and parameters, of each method."""
    what = {
        "train_seconds": "training time",
        "memory_bytes": "memory beside\nthe network",
        "parameters": "parameters",
    }
    style, at = colours(results.methods), range(len(results.methods))
    with drawing():
        figure = new(7.6, 0.3 * len(at) + 0.75)
        for ax, (metric, title) in zip(figure.subplots(1, 3, sharey=True), what.items()):
            found = [results.interval(method, metric) for method in results.methods]
            means = np.nan_to_num([v.mean for v in found])
            ax.barh(at, means, 0.62, color=[style[m][0] for m in results.methods])
            ends = list(means)
            for y, (method, v) in enumerate(zip(results.methods, found)):
                if v.n >= FEW and v.half > 0:
                    ends[y] += v.half
                    ax.errorbar(v.mean, y, xerr=v.half, fmt="none", ecolor=INK, elinewidth=1)
                elif 1 < v.n < FEW and not math.isnan(v.mean):
                    each = results.summary(method, metric)
                    ends[y] = max(each)
                    ax.plot(each, [y] * len(each), "|", color=INK, ms=7, mew=1)
                ax.annotate(
                    amount(v.mean, metric),
                    (ends[y], y),
                    (5, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=SMALL,
                )
            ax.set_title(title, loc="left")
            ax.set(xlim=(0, max(*ends, 1e-12) * 1.6), ylim=(len(at) - 0.4, -0.6), xticks=[])
            ax.set_yticks(at, labels(results.methods, _NAME, SMALL))
            ax.tick_params(length=0)
            ax.spines[["bottom"]].set_visible(False)
        footnote(figure, drawn(results.counts, "Lines", "Marks"))
    return figure


_AGAINST = {
    "parameters": "parameters, in those of the network at the beginning (log)",
    "compute": "examples passed forward and back in training (log)",
    "memory": "memory kept because of past tasks (log)",
}


def efficiency(results: Results, against: str = "parameters") -> Figure:
    """Mean accuracy over the tasks seen against what it took, a line a method from its first task to its last: parameters, as multiples
    of the network that the run began with, compute, or memory.

    The axis is logarithmic; a method that took nothing stands at 0, at its left. Of a method that has no such number, or no accuracy at
    the end, the picture says that it is not shown.
    """
    style, T = colours(results.methods), results.T
    shown = dict(zip(results.methods, labels(results.methods, _NAME)))
    lines, missing = {}, []
    for method in results.methods:
        spent = results.spent(method, against)[:, 1:]
        stack = results.stack(method)
        seen = np.stack([stack[:, i, :i].mean(axis=1) for i in range(1, T + 1)], axis=1)
        if math.isnan(spent[:, -1].mean()) or math.isnan(seen[:, -1].mean()):
            missing.append(method)
        else:
            lines[method] = spent, seen
    some = [spent[np.isfinite(spent) & (spent > 0)] for spent, _ in lines.values()]
    positive = np.concatenate(some) if some else np.empty(0)
    least, most = (float(positive.min()), float(positive.max())) if len(positive) else (1.0, 1.0)
    free = any((spent == 0).any() for spent, _ in lines.values())
    values, points, ways = [], [], []
    with drawing():
        figure = new(7.6, 4.2 + 0.08 * max(0, len(lines) - 8))
        ax = figure.subplots()
        for method, (spent, seen) in lines.items():
            x, y, colour = spent.mean(0), seen.mean(0), style[method][0]
            ax.plot(x, y, color=colour, lw=1, alpha=0.6)
            ways.append((x, y))
            values += [y, seen[:, -1]]
            if len(seen) >= FEW:
                wide, tall = (np.nan_to_num(interval(column).half) for column in (spent[:, -1], seen[:, -1]))
                ax.errorbar(x[-1], y[-1], tall, wide, fmt="none", ecolor=colour, elinewidth=1.4)
                values.append(np.array([y[-1] - tall, y[-1] + tall]))
            elif len(seen) > 1:
                ax.plot(spent[:, -1], seen[:, -1], "o", ms=3.5, color=colour, alpha=0.6, mew=0)
            ax.plot(x[-1], y[-1], "o", ms=7, color=colour, mec=PAPER)
            points.append((float(x[-1]), float(y[-1]), shown[method], colour))
        if free:
            ax.set_xscale("symlog", linthresh=least, linscale=max(0.5, 0.12 * math.log10(most / least)))
            ax.set_xlim(-0.25 * least, most * 2)
        else:
            ax.set_xscale("log")
            ax.set_xlim(0.8 * least, most * 2)
        marks = [0.0] * free + _round(least, most * 2, powers=against == "parameters")
        unit = "_bytes" if against == "memory" else ""
        ax.set_xticks(marks, [f"{v:g}" if against == "parameters" else amount(v, unit) for v in marks])
        ax.set_xticks([], minor=True)
        low, high = limits(*values)
        value_axis(ax, low, high, 6)
        ax.set(xlabel=_AGAINST[against], ylabel=from_where("mean accuracy over the tasks learnt", low, 240))
        ax.grid(axis="y")
        footnote(
            figure,
            "Line: from the first task to the last. "
            + drawn([len(seen) for _, seen in lines.values()], "Crosses", "Small dots"),
            f"Not shown, of unknown cost or accuracy: {', '.join(missing)}." if missing else "",
        )
        name_points(figure, ax, points, lines=ways)
    return figure


def _round(least: float, most: float, powers: bool = False) -> list[float]:
    """Few round numbers between two, for a logarithmic axis: 1, 2 and 5 times powers of ten, or powers of two."""
    if powers:
        found = [2.0**k for k in range(math.ceil(math.log2(0.99 * least)), math.floor(math.log2(most)) + 1)]
        return found[:: 1 + len(found) // 10]
    tens = range(math.floor(math.log10(least)), math.floor(math.log10(most)) + 1)
    times = (1, 2, 5) if most < 100 * least else (1,)
    found = [m * 10.0**k for k in tens for m in times if 0.99 * least <= m * 10.0**k <= most]
    return found or [least]


_COMPARED = {
    "acc": ("ACC", "accuracy at the end"),
    "bwt": ("BWT", "backward transfer"),
    "fwt": ("FWT", "forward transfer"),
}


def compare(results: Results) -> Figure:
    """ACC, BWT and FWT of each method with 95% intervals and every seed (of fewer than four seeds, those alone); below, the differences
    from the first method, paired seed by seed. A measure that is undefined for all methods has no panel, which the picture says."""
    methods, style = results.methods, colours(results.methods)
    first, others = methods[0], methods[1:]
    defined = [k for k in _COMPARED if any(not math.isnan(results.interval(m, k).mean) for m in methods)]
    undefined = [_COMPARED[k][0] for k in _COMPARED if k not in defined]
    what = defined or ["acc"]
    blocks = [methods, others] if others else [methods]
    with drawing():
        heights = [len(shown) + 2.2 for shown in blocks]
        figure = new(7.6, 0.29 * sum(heights) + 0.3)
        panels = figure.subplots(len(blocks), len(what), sharey="row", squeeze=False, height_ratios=heights)
        for row, (block, shown) in enumerate(zip(panels, blocks)):
            for ax, metric in zip(block, what):
                title, meaning = _COMPARED[metric]
                for y, method in enumerate(shown):
                    if row == 0:
                        value = results.interval(method, metric)
                        seeds = results.summary(method, metric)
                    else:
                        value = results.difference(method, first, metric)
                        seeds = _differences(results, method, first, metric)
                    _dot(ax, y, value, seeds, style[method][0])
                if row or metric != "acc":
                    ax.axvline(0, color=SOFT, lw=1, zorder=0)
                ax.set_title(f"{title}, difference" if row else title, loc="left")
                ax.set_xlabel(meaning)
                ax.set_yticks(range(len(shown)), labels(shown, _NAME, SMALL))
                ax.set(ylim=(len(shown) - 0.3, -0.6))
                ax.margins(x=0.12)
                low, high = ax.get_xlim()
                short = max(0.0, 0.05 - (high - low)) / 2  # five points at least: less is not worth an axis
                ax.set_xlim(low - short, high + short)
                ax.grid(axis="x")
                ax.locator_params(axis="x", nbins=2 if len(what) > 2 else 4, steps=[1, 2, 5, 10])
                ax.tick_params(length=0)
                ax.spines["left"].set_visible(False)
        footnote(
            figure,
            drawn(results.counts, "Lines", "Small dots")
            + (" Small dots: the seeds." if max(results.counts) >= FEW else ""),
            f"Below: difference from {first}, paired on the same seeds." if others else "",
            f"Undefined for all methods: {', '.join(undefined)}." if undefined else "",
        )
    return figure


def _differences(results: Results, a: str, b: str, metric: str) -> list[float]:
    of = dict(zip(results.seeds[b], results.summary(b, metric)))
    found = zip(results.seeds[a], results.summary(a, metric))
    return [value - of[seed] for seed, value in found if seed in of]


def _dot(ax: Axes, y: float, value: Interval, seeds: Sequence[float], colour: str) -> None:
    if math.isnan(value.mean):
        said = "undefined" if value.n else "no seed in common"
        ax.annotate(said, (0.05, y), xycoords=("axes fraction", "data"), va="center", color=SOFT, fontsize=SMALL)
        return
    if len(seeds) > 1:
        ax.plot(seeds, [y + 0.3] * len(seeds), "o", color=colour, alpha=0.5, ms=3.5, mew=0)
    if len(seeds) >= FEW:
        ax.plot([value.mean - value.half, value.mean + value.half], [y, y], color=colour, lw=2)
    ax.plot(value.mean, y, "o", color=colour, ms=7, mec=PAPER)


def _plain(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.2f}"
